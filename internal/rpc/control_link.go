package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

const (
	// heartbeatEvery is how often each side of a control stream says that it lives.
	heartbeatEvery = 500 * time.Millisecond
	// silenceMax ends a control stream on which the other side said nothing (rule 3).
	silenceMax = 3 * time.Second
	// ordersMax bounds the orders that an executor has received and not taken yet.
	ordersMax = 1024
)

// ErrSilent says that the other side of a control stream said nothing for 3 s.
var ErrSilent = fmt.Errorf("%w for %v", job.ErrSilent, silenceMax)

var (
	errClosed   = errors.New("control stream: closed")
	errOrders   = fmt.Errorf("control stream: %d orders were not taken in time", ordersMax)
	errProtocol = errors.New("control stream: unexpected message")
)

// remoteLink is a job.Link to another node. Its goroutines are a reader and a writer, joined by Close.
type remoteLink struct {
	conn    *grpc.ClientConn
	stream  grpc.BidiStreamingClient[clusterpb.Up, clusterpb.Down]
	cancel  context.CancelFunc
	welcome job.Welcome
	up      chan outgoing[*clusterpb.Up]
	orders  chan job.ToExecutor
	lanes   [job.Lanes]requestLane
	silence *time.Timer
	limit   int // of a message in bytes
	pieces  assembler
	workers sync.WaitGroup

	once sync.Once
	dead chan struct{} // closed after err is set
	err  error
}

type requestLane struct {
	number  uint64 // of the last request; one goroutine at a time calls a lane
	answers chan *clusterpb.Answer
}

// openLink says hello on a new connection and waits for the welcome, all within ctx; the link outlives it.
func openLink(ctx context.Context, conn *grpc.ClientConn, h job.Hello) (*remoteLink, error) {
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	l := &remoteLink{
		conn:   conn,
		cancel: cancel,
		up:     make(chan outgoing[*clusterpb.Up]),
		orders: make(chan job.ToExecutor, ordersMax),
		dead:   make(chan struct{}),
		limit:  controlMax,
		pieces: assembler{limit: controlMax},
	}
	for i := range l.lanes {
		l.lanes[i].answers = make(chan *clusterpb.Answer, 1)
	}
	if err := l.greet(streamCtx, h); err != nil {
		stop()
		cancel()
		return nil, err
	}
	if !stop() { // ctx ended in between and took the stream along
		return nil, ctx.Err()
	}
	l.silence = time.AfterFunc(silenceMax, func() { l.fail(job.ErrSilent) })
	l.workers.Go(l.read)
	l.workers.Go(func() { l.write(streamCtx) })
	return l, nil
}

func (l *remoteLink) greet(ctx context.Context, h job.Hello) error {
	stream, err := clusterpb.NewClusterClient(l.conn).Control(ctx)
	if err != nil {
		return faultOf(err)
	}
	l.stream = stream
	// The error of Send is only that the stream has ended; Recv knows why.
	_ = stream.Send(&clusterpb.Up{Body: &clusterpb.Up_Hello{Hello: helloToPB(h)}})
	m, err := stream.Recv()
	if err != nil {
		return faultOf(err)
	}
	if m.GetWelcome() == nil {
		return fmt.Errorf("%w: %T, expected welcome", errProtocol, m.GetBody())
	}
	l.welcome = welcomeOf(m.GetWelcome())
	if h.Cluster != "" && l.welcome.Cluster != "" && h.Cluster != l.welcome.Cluster {
		return fmt.Errorf("%w: the driver is of cluster %q, this executor of %q", ErrOtherCluster, l.welcome.Cluster, h.Cluster)
	}
	return nil
}

// Welcome gives the driver's answer to hello.
func (l *remoteLink) Welcome() job.Welcome { return l.welcome }

// fail ends the link; the first cause stands.
func (l *remoteLink) fail(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.dead)
		l.cancel()
	})
}

// Close ends the link and waits for its goroutines.
func (l *remoteLink) Close() error {
	l.fail(errClosed)
	err := l.conn.Close()
	l.workers.Wait()
	l.silence.Stop()
	return err
}

// Request sends r and waits for its reply. One call per lane at a time.
func (l *remoteLink) Request(ctx context.Context, lane job.Lane, r job.ToDriver) (job.Reply, error) {
	if lane >= job.Lanes {
		return job.Reply{}, fmt.Errorf("lane %d, expected below %d", lane, job.Lanes)
	}
	m, err := requestToPB(r)
	if err != nil {
		return job.Reply{}, err
	}
	if n := proto.Size(m); n > l.limit {
		return job.Reply{Outcome: job.Refused, Reason: tooLarge(fmt.Sprintf("request %T", r), n, l.limit).Error()}, nil
	}
	q := &l.lanes[lane]
	q.number++
	m.Lane, m.Number = uint32(lane), q.number
	o, err := prepare(&clusterpb.Up{Body: &clusterpb.Up_Request{Request: m}})
	if err != nil {
		l.fail(err)
		return job.Reply{}, l.err
	}
	select {
	case l.up <- o:
	case <-l.dead:
		return job.Reply{}, l.err
	case <-ctx.Done():
		l.fail(fmt.Errorf("control stream: request given up: %w", ctx.Err()))
		return job.Reply{}, ctx.Err()
	}
	select {
	case a := <-q.answers:
		if a.GetNumber() != q.number {
			l.fail(fmt.Errorf("%w: answer %d in lane %d, expected %d", errProtocol, a.GetNumber(), lane, q.number))
			return job.Reply{}, l.err
		}
		return replyOf(a.GetReply()), nil
	case <-l.dead:
		return job.Reply{}, l.err
	case <-ctx.Done():
		l.fail(fmt.Errorf("control stream: request given up: %w", ctx.Err()))
		return job.Reply{}, ctx.Err()
	}
}

// Recv gives the next order.
func (l *remoteLink) Recv() (job.ToExecutor, error) {
	select {
	case o := <-l.orders:
		return o, nil
	case <-l.dead:
		return nil, l.err
	}
}

func (l *remoteLink) read() {
	for {
		m, err := l.stream.Recv()
		if err != nil {
			l.fail(fmt.Errorf("control stream: %w", faultOf(err)))
			return
		}
		l.silence.Stop() // what came may be long: to decode it is no silence of the other side
		if err := l.take(m); err != nil {
			l.fail(err)
			return
		}
		l.silence.Reset(silenceMax)
	}
}

// take never blocks: heartbeats and answers of one lane must not wait for orders or another lane.
func (l *remoteLink) take(m *clusterpb.Down) error {
	switch b := m.GetBody().(type) {
	case *clusterpb.Down_Heartbeat:
		return nil
	case *clusterpb.Down_Fragment:
		whole := &clusterpb.Down{}
		if done, err := l.pieces.add(b.Fragment, whole); err != nil || !done {
			return err
		}
		if whole.GetFragment() != nil {
			return fmt.Errorf("%w: fragment in a fragment", errProtocol)
		}
		return l.take(whole)
	case *clusterpb.Down_Answer:
		if b.Answer.GetLane() >= uint32(job.Lanes) {
			return fmt.Errorf("%w: answer in lane %d", errProtocol, b.Answer.GetLane())
		}
		select {
		case l.lanes[b.Answer.GetLane()].answers <- b.Answer:
			return nil
		default:
			return fmt.Errorf("%w: second answer in lane %d", errProtocol, b.Answer.GetLane())
		}
	case *clusterpb.Down_Order:
		o, err := orderOf(b.Order)
		if err != nil {
			return err
		}
		select {
		case l.orders <- o:
			return nil
		default:
			return errOrders
		}
	}
	return fmt.Errorf("%w: %T", errProtocol, m.GetBody())
}

func (l *remoteLink) write(ctx context.Context) {
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		var o outgoing[*clusterpb.Up]
		select {
		case <-ctx.Done():
			return
		case o = <-l.up:
		case <-beat.C:
			o.message = &clusterpb.Up{Body: &clusterpb.Up_Heartbeat{Heartbeat: &clusterpb.Heartbeat{}}}
		}
		if err := sendUp(o, l.stream.Send); err != nil {
			if !errors.Is(err, io.EOF) { // Recv tells why the stream has ended
				l.fail(fmt.Errorf("control stream: send: %w", err))
			}
			return
		}
	}
}
