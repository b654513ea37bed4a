package client

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

const (
	// openTime bounds one opening of a stream.
	openTime = 3 * time.Second
	// stallTime is how long nothing may be acknowledged, though something was sent, before the leader is asked whether
	// the receiver has moved: a process that is stopped keeps its connections.
	stallTime = 1500 * time.Millisecond
)

// feed carries an ingester's pushes over one stream after the other. One goroutine uses it.
type feed struct {
	ingester *Ingester
	tour     tour
	app      uint64                // id of the application, 0 before the first opening
	at       *raftstreamv1.Problem // where the receiver is said to be, nil where nobody said so
	addr     string                // of the node at the other end of stream
	opened   *raftstreamv1.IngestOpened
	stream   grpc.BidiStreamingClient[raftstreamv1.IngestRequest, raftstreamv1.IngestReply]
	hangUp   context.CancelFunc
}

// run sends until ctx ends or the cluster refuses; it reopens the stream whenever it breaks.
func (f *feed) run(ctx context.Context) {
	i := f.ingester
	defer close(i.done)
	for {
		err := f.pump(ctx)
		f.close()
		if ctx.Err() != nil {
			i.end(context.Cause(ctx))
			return
		}
		v := judge(err)
		if f.at != nil {
			v = verdict{reason: err} // the stream was given up: the receiver is elsewhere
			f.tour.queue = []string{f.at.GetAddr()}
		}
		if v.final == nil {
			f.tour.last = v.reason
			v.final = f.tour.pause(ctx, max(v.wait, retryAfter))
		}
		if v.final == nil {
			v.final = f.open(ctx)
		}
		if v.final != nil {
			i.end(v.final)
			return
		}
	}
}

// open finds the receiver and hears from it what is committed already.
func (f *feed) open(ctx context.Context) error {
	for {
		addr, err := f.tour.next(ctx)
		if err != nil {
			return err
		}
		err = f.openAt(ctx, addr)
		if err == nil {
			f.tour.queue = nil
			return nil
		}
		var own *Error
		if errors.As(err, &own) || errors.Is(err, ErrClosed) {
			return err
		}
		v := judge(err)
		f.at = nil
		if v.here != nil {
			f.at = v.here
		} else if v.wait > 0 {
			f.tour.queue = nil // the receiver moves: ask the leader again, after a while
			f.tour.last = v.reason
			if err := f.tour.pause(ctx, v.wait); err != nil {
				return err
			}
			continue
		}
		if err := f.tour.follow(ctx, addr, v); err != nil {
			return err
		}
	}
}

// openAt opens a stream at one node. Its errors are gRPC's, or final ones.
func (f *feed) openAt(ctx context.Context, addr string) error {
	i := f.ingester
	conn, err := i.client.conn(addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	patience := time.AfterFunc(openTime, cancel)
	reply, stream, err := f.greet(ctx, conn, addr)
	if !patience.Stop() && err == nil {
		err = status.FromContextError(context.DeadlineExceeded).Err()
	}
	if err != nil {
		cancel()
		i.client.discard(addr, conn)
		return err
	}
	if err := i.opened(reply.GetAcked(), reply.GetRaftIndex()); err != nil {
		cancel()
		return err
	}
	f.app, f.opened, f.at, f.addr = reply.GetOpened().GetAppId(), reply.GetOpened(), nil, addr
	f.stream, f.hangUp = stream, cancel
	i.client.learnFrom(addr)
	return nil
}

func (f *feed) greet(ctx context.Context, conn *grpc.ClientConn, addr string) (
	*raftstreamv1.IngestReply, grpc.BidiStreamingClient[raftstreamv1.IngestRequest, raftstreamv1.IngestReply], error,
) {
	i := f.ingester
	open := &raftstreamv1.IngestOpen{App: i.app, AppId: f.app, Stream: i.opts.Stream, Producer: i.producer}
	if f.at != nil && f.at.GetAddr() == addr {
		open.AppId, open.Stream = f.at.GetAppId(), &f.at.Stream
	}
	stream, err := raftstreamv1.NewApplicationsClient(conn).Ingest(ctx)
	if err != nil {
		return nil, nil, err
	}
	// The error of Send is only that the stream has ended; Recv knows why.
	_ = stream.Send(&raftstreamv1.IngestRequest{Body: &raftstreamv1.IngestRequest_Open{Open: open}})
	reply, err := stream.Recv()
	if err == nil && reply.GetOpened() == nil {
		err = errors.New("node did not answer the opening of an ingest stream as expected")
	}
	return reply, stream, err
}

func (f *feed) close() { f.hangUp() }

// pump sends what is queued and takes acknowledgements until the stream ends; its error says why.
func (f *feed) pump(ctx context.Context) error {
	var sender sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	sender.Go(func() { f.send(ctx) })
	sender.Go(func() { f.watch(ctx) })
	defer sender.Wait()
	defer f.hangUp() // releases a Send that waits for the window
	defer cancel()
	for {
		r, err := f.stream.Recv()
		if err != nil {
			return err
		}
		f.tour.waited, f.tour.hops = 0, 0 // it works: the next failure is a new one
		f.ingester.ack(r.GetAcked(), r.GetRaftIndex())
	}
}

// watch hangs up when nothing is acknowledged and the leader says that the receiver is elsewhere; f.at says where then.
func (f *feed) watch(ctx context.Context) {
	tick := time.NewTicker(stallTime)
	defer tick.Stop()
	before := f.ingester.Acked()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, waits := f.ingester.progress()
		if stalled := waits && now == before; stalled && f.moved(ctx) {
			f.hangUp()
			return
		}
		before = now
	}
}

// moved asks the other nodes where the receiver is. That nobody knows is no reason to give the stream up.
func (f *feed) moved(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	c := f.ingester.client
	others := func() []string {
		return slices.DeleteFunc(c.round(), func(a string) bool { return a == f.addr })
	}
	if len(others()) == 0 {
		return false
	}
	r, err := callAt(ctx, &tour{client: c, round: others}, func(ctx context.Context, cc *grpc.ClientConn) (*raftstreamv1.ListReceiversReply, error) {
		return raftstreamv1.NewApplicationsClient(cc).ListReceivers(ctx, &raftstreamv1.ListReceiversRequest{Id: f.app})
	})
	if err != nil {
		return false
	}
	for _, at := range r.GetReceivers() {
		if at.GetStream() == f.opened.GetStream() && at.GetAddr() != "" && at.GetAddr() != f.addr {
			f.at = &raftstreamv1.Problem{Addr: at.GetAddr(), AppId: f.app, Stream: at.GetStream()}
			return true
		}
	}
	return false
}

func (f *feed) send(ctx context.Context) {
	for {
		for m := f.ingester.unsent(); m != nil; m = f.ingester.unsent() {
			if err := f.stream.Send(m); err != nil {
				if !errors.Is(err, io.EOF) { // else Recv tells why the stream has ended
					f.hangUp()
				}
				return
			}
		}
		select {
		case <-f.ingester.wake:
		case <-ctx.Done():
			return
		}
	}
}
