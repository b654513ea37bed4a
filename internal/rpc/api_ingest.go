package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// Limits of an ingest stream. Beyond the pushes in flight the server stops reading, and the sender's window fills.
const (
	pushMax         = 2 << 20 // bytes of the records of one push
	pushRecordsMax  = 64 << 10
	pushesInFlight  = 256
	openTime        = 5 * time.Second // for the first message
	positionTimeout = 10 * time.Second
)

// Ingest takes a producer's records for one stream.
func (a applications) Ingest(stream grpc.BidiStreamingServer[raftstreamv1.IngestRequest, raftstreamv1.IngestReply]) error {
	in := &ingest{
		api: a.apiServer, stream: stream,
		acks:  make(chan ack, pushesInFlight+1),
		slots: make(chan struct{}, pushesInFlight),
	}
	return in.run()
}

// ingest is one open ingest stream. Its goroutines, which end with the stream, are counted by the server.
type ingest struct {
	api      *apiServer
	stream   grpc.BidiStreamingServer[raftstreamv1.IngestRequest, raftstreamv1.IngestReply]
	app      id.App
	input    id.Stream
	producer string
	acks     chan ack      // Invariant: has room for every push in flight, so that Reply never blocks
	slots    chan struct{} // one per push in flight
}

type ack struct {
	last, index uint64
	err         error
}

type incoming struct {
	m   *raftstreamv1.IngestRequest
	err error
}

func (s *ingest) run() error {
	ctx, cancel := context.WithCancel(s.stream.Context())
	defer cancel()
	server := s.api.server
	in := make(chan incoming)
	server.workers.Go(func() { s.read(ctx, in) }) // a blocked Recv ends when the handler returns
	if err := s.open(ctx, in, server.stopping); err != nil {
		return err
	}
	failed := make(chan error, 1)
	server.workers.Go(func() { failed <- s.take(ctx, in) })
	for pending := failed; ; {
		select {
		case a := <-s.acks:
			<-s.slots
			if a.err != nil {
				return s.refusal(a.err)
			}
			if err := s.stream.Send(&raftstreamv1.IngestReply{Acked: a.last, RaftIndex: a.index}); err != nil {
				return err
			}
			if pending == nil && len(s.slots) == 0 {
				return nil
			}
		case err := <-pending:
			if err != nil {
				return s.refusal(err)
			}
			if len(s.slots) == 0 {
				return nil
			}
			pending = nil // the sender is done; what is in flight is still answered
		case <-server.stopping:
			return errStopping
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

func (s *ingest) read(ctx context.Context, in chan<- incoming) {
	for {
		m, err := s.stream.Recv()
		select {
		case in <- incoming{m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// open finds the stream's receiver here and answers with the producer's position.
func (s *ingest) open(ctx context.Context, in <-chan incoming, stopping <-chan struct{}) error {
	t := time.NewTimer(openTime)
	defer t.Stop()
	var first incoming
	select {
	case first = <-in:
	case <-t.C:
		return status.Errorf(codes.DeadlineExceeded, "no open within %v", openTime)
	case <-stopping:
		return errStopping
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	if first.err != nil {
		return first.err
	}
	o := first.m.GetOpen()
	if o == nil {
		return invalid("first message", fmt.Sprintf("%T", first.m.GetBody()), "open")
	}
	if o.GetProducer() == "" || len(o.GetProducer()) > nameMax {
		return invalid("producer", o.GetProducer(), fmt.Sprintf("1 to %d bytes", nameMax))
	}
	s.producer = o.GetProducer()
	position, err := s.find(ctx, o, stopping)
	if err != nil {
		return s.refusal(err)
	}
	return s.stream.Send(&raftstreamv1.IngestReply{
		Opened: &raftstreamv1.IngestOpened{AppId: uint64(s.app), Stream: int32(s.input)},
		Acked:  position.last, RaftIndex: position.index,
	})
}

// find gives the producer's position if the stream's receiver runs here. A client that was redirected here names the
// application and stream by number: then no ledger is needed. Otherwise the ledger says where the receiver runs.
func (s *ingest) find(ctx context.Context, o *raftstreamv1.IngestOpen, stopping <-chan struct{}) (ack, error) {
	if o.GetAppId() != 0 && o.Stream != nil {
		s.app, s.input = id.App(o.GetAppId()), id.Stream(o.GetStream())
		if position, err := s.position(ctx, stopping); !errors.Is(err, job.ErrNoReceiver) {
			return position, err
		}
	}
	if err := s.locate(ctx, o); err != nil {
		return ack{}, err
	}
	return s.position(ctx, stopping)
}

// locate says which stream is meant, and redirects if its receiver runs elsewhere.
func (s *ingest) locate(ctx context.Context, o *raftstreamv1.IngestOpen) error {
	v, err := s.api.view(ctx, false)
	if err != nil {
		return err
	}
	app, err := find(v, o.GetApp(), o.GetAppId())
	if err != nil {
		return err
	}
	if app.State == fsm.Stopped || app.Draining {
		return refused("application", app.Name, "it takes no more records: it is "+app.State.String())
	}
	if s.input, err = pushed(app, o.Stream); err != nil {
		return err
	}
	s.app = app.ID
	r, ok := v.Receiver(app.ID, s.input)
	if !ok || r.State != tracker.Active {
		return s.noReceiver()
	}
	on, ok := v.Session(r.Session)
	if !ok {
		return s.noReceiver()
	}
	if on.Addr == s.api.Addr {
		return nil
	}
	return problem(codes.FailedPrecondition, &raftstreamv1.Problem{
		Kind: raftstreamv1.Problem_KIND_NOT_HERE, Thing: "receiver", Got: s.api.Name, Addr: on.Addr, AppId: uint64(s.app),
		Stream: int32(s.input),
	}, "stream %d of application %s is received on node %s at %s", s.input, app.Name, on.Name, on.Addr)
}

func (s *ingest) noReceiver() error {
	return problem(codes.Unavailable, &raftstreamv1.Problem{
		Kind: raftstreamv1.Problem_KIND_NO_RECEIVER, Thing: "receiver", AppId: uint64(s.app), Stream: int32(s.input),
		RetryMs: retryReceiver.Milliseconds(),
	}, "stream %d of application %d has no receiver at node %s at present", s.input, s.app, s.api.Name)
}

// position asks the receiver up to where the producer's records are committed.
func (s *ingest) position(ctx context.Context, stopping <-chan struct{}) (ack, error) {
	ctx, cancel := context.WithTimeout(ctx, positionTimeout)
	defer cancel()
	if err := s.push(ctx, connector.Push{Producer: s.producer}); err != nil {
		return ack{}, err
	}
	select {
	case a := <-s.acks:
		<-s.slots
		return a, a.err
	case <-stopping:
		return ack{}, errStopping
	case <-ctx.Done():
		return ack{}, s.noReceiver()
	}
}

// take reads pushes until the sender is done (nil) or something fails.
func (s *ingest) take(ctx context.Context, in <-chan incoming) error {
	for {
		var next incoming
		select {
		case next = <-in:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
		if errors.Is(next.err, io.EOF) {
			return nil
		}
		if next.err != nil {
			return next.err
		}
		p := next.m.GetPush()
		if err := check(p); err != nil {
			return err
		}
		if err := s.push(ctx, connector.Push{Producer: s.producer, First: p.GetFirst(), Records: p.GetRecords()}); err != nil {
			return err
		}
	}
}

func check(p *raftstreamv1.IngestPush) error {
	if p == nil {
		return invalid("message", "", "a push")
	}
	bytes := 0
	for _, r := range p.GetRecords() {
		bytes += len(r)
	}
	switch n := len(p.GetRecords()); {
	case n == 0 || n > pushRecordsMax:
		return invalid("records of a push", fmt.Sprint(n), fmt.Sprintf("1 to %d", pushRecordsMax))
	case bytes > pushMax:
		return invalid("size of a push", fmt.Sprint(bytes, " bytes"), fmt.Sprintf("%d bytes at most", pushMax))
	case p.GetFirst() == 0:
		return invalid("first", "0", "a sequence number from 1")
	}
	return nil
}

// push hands p over, with room for its answer.
func (s *ingest) push(ctx context.Context, p connector.Push) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	p.Reply = func(last, index uint64, err error) { s.acks <- ack{last, index, err} }
	if err := s.hand(ctx, p); err != nil {
		<-s.slots
		return err
	}
	return nil
}

func (s *ingest) hand(ctx context.Context, p connector.Push) error {
	if s.api.Pushes == nil {
		return job.ErrNoReceiver
	}
	return s.api.Pushes.Push(ctx, s.app, s.input, p)
}

// refusal says why a push was not taken. What is not the records' fault passes: the client sends them again.
func (s *ingest) refusal(err error) error {
	var at *connector.PositionError
	switch _, ok := status.FromError(err); {
	case ok:
		return err // of this package
	case errors.Is(err, job.ErrNoReceiver):
		return s.noReceiver()
	case s.stream.Context().Err() != nil:
		return status.FromContextError(s.stream.Context().Err()).Err()
	case errors.As(err, &at):
		return problem(codes.FailedPrecondition, &raftstreamv1.Problem{
			Kind: raftstreamv1.Problem_KIND_POSITION, Thing: "producer", Got: fmt.Sprint(at.Got), Expected: fmt.Sprint(at.Want),
			AppId: uint64(s.app), Stream: int32(s.input),
		}, "producer %q: records start at sequence number %d, expected %d", s.producer, at.Got, at.Want)
	case errors.Is(err, connector.ErrRecord):
		return problem(codes.InvalidArgument, &raftstreamv1.Problem{
			Kind: raftstreamv1.Problem_KIND_INVALID, Thing: "record", Expected: err.Error(),
		}, "%v", err)
	}
	s.api.server.log.Debug("push not taken", "app", s.app, "stream", s.input, "producer", s.producer, "error", err)
	return problem(codes.Unavailable, &raftstreamv1.Problem{
		Kind: raftstreamv1.Problem_KIND_NO_RECEIVER, Thing: "receiver", AppId: uint64(s.app), Stream: int32(s.input),
		RetryMs: retryReceiver.Milliseconds(),
	}, "the receiver did not take the records: %v", err)
}
