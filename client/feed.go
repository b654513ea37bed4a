package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

// feed carries an ingester's pushes over one stream after the other. One goroutine uses it.
type feed struct {
	ingester *Ingester
	tour     tour
	app      uint64 // id of the application, 0 before the first opening
	at       *raftstreamv1.Problem
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
	patience := time.AfterFunc(attemptTime, cancel)
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
	f.app, f.stream, f.hangUp = reply.GetOpened().GetAppId(), stream, cancel
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
