package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// helloTime bounds the wait for a new control stream's first message.
const helloTime = 3 * time.Second

// errStopping ends streams when the server stops.
var errStopping = status.Error(codes.Unavailable, "this node is stopping")

// upward is a message of the other side, or the end of what it says.
type upward struct {
	m   *clusterpb.Up
	err error
}

// Control serves the driver's end of a link to a remote executor.
func (s *Server) Control(stream grpc.BidiStreamingServer[clusterpb.Up, clusterpb.Down]) error {
	if s.cfg.Drivers == nil {
		return faultToStatus(&job.NotLeaderError{})
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	// A blocked Recv or Send of a server's stream ends when the handler returns, so whoever blocks in one is joined
	// by Stop and not here.
	in := make(chan upward)
	s.workers.Go(func() { readUp(ctx, stream, in) })
	hello, err := s.awaitHello(ctx, in)
	if err != nil {
		return err
	}
	link, err := s.cfg.Drivers.Dial(ctx, hello)
	if err != nil {
		return faultToStatus(err)
	}
	c := newCarrier(link, s.controlLimit, s.log.With("executor", hello.Name))
	s.workers.Go(func() { c.write(ctx, stream) })
	s.workers.Go(func() { c.orders(ctx) })
	for i := range c.lanes {
		s.workers.Go(func() { c.serve(ctx, job.Lane(i)) })
	}
	err = c.run(ctx, in, s.stopping)
	cancel()
	if e := s.part(ctx, link, hello, err); e != nil {
		s.log.Warn("control stream: closing the link failed", "executor", hello.Name, "error", e)
	}
	s.log.Info("control stream ended", "executor", hello.Name, "addr", hello.Addr, "cause", err)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return faultToStatus(err)
}

// part closes the link and says why. A stream that broke off may be a death: the executor's port tells.
func (s *Server) part(ctx context.Context, link job.Link, h job.Hello, cause error) error {
	var broken *brokenError
	if errors.As(cause, &broken) && gone(ctx, h.Addr, s.dial) {
		cause = fmt.Errorf("executor %s at %s: %w", h.Name, h.Addr, job.ErrPeerDead)
	}
	if c, ok := link.(job.CauseCloser); ok && cause != nil {
		return c.CloseCause(cause)
	}
	return link.Close()
}

// brokenError says that the stream broke off without an end.
type brokenError struct{ err error }

// Error tells what gRPC said.
func (e *brokenError) Error() string { return "control stream: broken off: " + e.err.Error() }

// Unwrap gives the cause.
func (e *brokenError) Unwrap() error { return e.err }

func readUp(ctx context.Context, stream grpc.BidiStreamingServer[clusterpb.Up, clusterpb.Down], in chan<- upward) {
	for {
		m, err := stream.Recv()
		if err != nil && !errors.Is(err, io.EOF) {
			err = &brokenError{err}
		}
		select {
		case in <- upward{m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *Server) awaitHello(ctx context.Context, in <-chan upward) (job.Hello, error) {
	t := time.NewTimer(helloTime)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return job.Hello{}, status.FromContextError(ctx.Err()).Err()
	case <-s.stopping:
		return job.Hello{}, errStopping
	case <-t.C:
		return job.Hello{}, status.Errorf(codes.DeadlineExceeded, "no hello within %v", helloTime)
	case u := <-in:
		if u.err != nil {
			return job.Hello{}, u.err
		}
		if u.m.GetHello() == nil {
			return job.Hello{}, status.Errorf(codes.InvalidArgument, "first message is %T, expected hello", u.m.GetBody())
		}
		return helloOf(u.m.GetHello()), nil
	}
}

// carrier carries one local link over a stream.
type carrier struct {
	link   job.Link
	down   chan outgoing[*clusterpb.Down]
	lanes  [job.Lanes]chan *clusterpb.Request
	failed chan error // the first failure of a worker
	pieces assembler  // of what comes up
	limit  int        // of a message down in bytes
	log    *slog.Logger
}

func newCarrier(link job.Link, limit int, log *slog.Logger) *carrier {
	c := &carrier{
		link: link, down: make(chan outgoing[*clusterpb.Down]), failed: make(chan error, 1),
		pieces: assembler{limit: limit}, limit: limit, log: log,
	}
	for i := range c.lanes {
		c.lanes[i] = make(chan *clusterpb.Request, 1)
	}
	return c
}

func (c *carrier) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}

func (c *carrier) send(ctx context.Context, m *clusterpb.Down) bool {
	o, err := prepare(m)
	if err != nil {
		c.fail(err)
		return false
	}
	select {
	case c.down <- o:
		return true
	case <-ctx.Done():
		return false
	}
}

// run takes what comes up until the stream ends, breaks or is silent, or the link fails.
func (c *carrier) run(ctx context.Context, in <-chan upward, stopping <-chan struct{}) error {
	if !c.send(ctx, &clusterpb.Down{Body: &clusterpb.Down_Welcome{Welcome: welcomeToPB(c.link.Welcome())}}) {
		return &brokenError{context.Cause(ctx)}
	}
	silence := time.NewTimer(silenceMax)
	defer silence.Stop()
	for {
		select {
		case u := <-in:
			if u.err != nil {
				return u.err
			}
			if err := c.take(u.m); err != nil {
				return err
			}
			silence.Reset(silenceMax) // what came may be long: to decode it is no silence of the other side
		case <-silence.C:
			return job.ErrSilent
		case err := <-c.failed:
			return err
		case <-stopping:
			return errStopping
		case <-ctx.Done():
			return &brokenError{context.Cause(ctx)}
		}
	}
}

func (c *carrier) take(m *clusterpb.Up) error {
	switch b := m.GetBody().(type) {
	case *clusterpb.Up_Heartbeat:
		return nil
	case *clusterpb.Up_Fragment:
		whole := &clusterpb.Up{}
		if done, err := c.pieces.add(b.Fragment, whole); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		} else if !done {
			return nil
		}
		if whole.GetFragment() != nil {
			return status.Error(codes.InvalidArgument, "fragment in a fragment")
		}
		return c.take(whole)
	case *clusterpb.Up_Request:
		if b.Request.GetLane() >= uint32(job.Lanes) {
			return status.Errorf(codes.InvalidArgument, "request in lane %d, expected below %d", b.Request.GetLane(), job.Lanes)
		}
		select {
		case c.lanes[b.Request.GetLane()] <- b.Request:
			return nil
		default:
			return status.Errorf(codes.InvalidArgument, "two requests at a time in lane %d", b.Request.GetLane())
		}
	}
	return status.Errorf(codes.InvalidArgument, "message %T, expected a request or heartbeat", m.GetBody())
}

// serve answers the requests of one lane in order.
func (c *carrier) serve(ctx context.Context, lane job.Lane) {
	for {
		var m *clusterpb.Request
		select {
		case m = <-c.lanes[lane]:
		case <-ctx.Done():
			return
		}
		r, err := requestOf(m)
		if err != nil {
			c.fail(status.Error(codes.InvalidArgument, err.Error()))
			return
		}
		reply, err := c.link.Request(ctx, lane, r)
		if err != nil {
			c.fail(err)
			return
		}
		if !c.send(ctx, c.answer(m, reply)) {
			return
		}
	}
}

// answer makes the answer to a request. One that is too long to be sent is a refusal that says so.
func (c *carrier) answer(to *clusterpb.Request, reply job.Reply) *clusterpb.Down {
	a := &clusterpb.Answer{Lane: to.GetLane(), Number: to.GetNumber(), Reply: replyToPB(reply)}
	if n := proto.Size(a); n > c.limit {
		err := tooLarge(fmt.Sprintf("answer to %T", to.GetBody()), n, c.limit)
		c.log.Error("control stream: an answer cannot be sent and is refused", "error", err)
		a.Reply = replyToPB(job.Reply{Outcome: job.Refused, Reason: err.Error()})
	}
	return &clusterpb.Down{Body: &clusterpb.Down_Answer{Answer: a}}
}

// orders carries what the driver orders; it ends when the link is closed.
func (c *carrier) orders(ctx context.Context) {
	for {
		o, err := c.link.Recv()
		if err != nil {
			c.fail(err)
			return
		}
		m, err := orderToPB(o)
		if err != nil {
			c.fail(err)
			return
		}
		if n := proto.Size(m); n > c.limit { // to end the stream would only bring it again
			c.log.Error("control stream: an order cannot be sent and is left out", "order", fmt.Sprintf("%T", o),
				"error", tooLarge("order", n, c.limit))
			continue
		}
		if !c.send(ctx, &clusterpb.Down{Body: &clusterpb.Down_Order{Order: m}}) {
			return
		}
	}
}

// write is the only one who sends.
func (c *carrier) write(ctx context.Context, stream grpc.BidiStreamingServer[clusterpb.Up, clusterpb.Down]) {
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		var o outgoing[*clusterpb.Down]
		select {
		case o = <-c.down:
		case <-beat.C:
			o.message = &clusterpb.Down{Body: &clusterpb.Down_Heartbeat{Heartbeat: &clusterpb.Heartbeat{}}}
		case <-ctx.Done():
			return
		}
		if err := sendDown(o, stream.Send); err != nil {
			c.fail(&brokenError{err})
			return
		}
	}
}
