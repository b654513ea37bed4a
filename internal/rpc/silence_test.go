package rpc

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/raftstream/raftstream/executor/job"
)

// freezing is a connection that says nothing any more once it is frozen, as that of a stopped process.
type freezing struct {
	net.Conn
	frozen *atomic.Bool
	thaw   chan struct{}
}

func (c *freezing) Write(b []byte) (int, error) {
	if c.frozen.Load() {
		<-c.thaw
	}
	return c.Conn.Write(b)
}

func (c *freezing) Close() error {
	select {
	case <-c.thaw:
	default:
		close(c.thaw)
	}
	return c.Conn.Close()
}

// stream opens a control stream in memory; the freezers stop one side's words.
func stream(t *testing.T, hub *fakeHub) (link job.Link, far *fakeLink, freezeClient, freezeServer *atomic.Bool, stop func()) {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	freezeClient, freezeServer = &atomic.Bool{}, &atomic.Bool{}
	s := NewServer(ServerConfig{Drivers: hub})
	s.dial = func(context.Context, string) (net.Conn, error) { return nil, errors.New("not to be dialled") }
	served := make(chan error, 1)
	go func() { served <- s.Serve(&freezingListener{l, freezeServer}) }()
	d := dialer("driver")
	d.dial = func(ctx context.Context, _ string) (net.Conn, error) {
		c, err := l.DialContext(ctx)
		return &freezing{Conn: c, frozen: freezeClient, thaw: make(chan struct{})}, err
	}
	link, err := d.Dial(t.Context(), job.Hello{})
	if err != nil {
		t.Fatal(err)
	}
	return link, <-hub.links, freezeClient, freezeServer, func() {
		_ = link.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Stop(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

type freezingListener struct {
	net.Listener
	frozen *atomic.Bool
}

func (l *freezingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &freezing{Conn: c, frozen: l.frozen, thaw: make(chan struct{})}, nil
}

// Rule 3: silence for 3 s ends a session.
func TestDriverEndsASilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(1)
		_, far, freezeClient, _, stop := stream(t, hub)
		defer stop()
		freezeClient.Store(true)
		start := time.Now()
		if cause := <-far.cause; !errors.Is(cause, job.ErrSilent) {
			t.Errorf("the driver was told %v, expected ErrSilent", cause)
		}
		if took := time.Since(start); took < silenceMax-heartbeatEvery || took > silenceMax {
			t.Errorf("after %v, expected %v after the last word", took, silenceMax)
		}
	})
}

func TestExecutorEndsASilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(1)
		link, _, _, freezeServer, stop := stream(t, hub)
		defer stop()
		freezeServer.Store(true)
		start := time.Now()
		if _, err := link.Recv(); !errors.Is(err, job.ErrSilent) {
			t.Errorf("%v, expected ErrSilent", err)
		}
		if took := time.Since(start); took < silenceMax-heartbeatEvery || took > silenceMax {
			t.Errorf("after %v, expected %v after the last word", took, silenceMax)
		}
	})
}

func TestIdleStreamLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(1)
		hub.answer = func(context.Context, job.Lane, job.ToDriver) (job.Reply, error) { return job.Reply{Index: 5}, nil }
		link, _, _, _, stop := stream(t, hub)
		defer stop()
		<-time.After(10 * time.Minute)
		if r, err := link.Request(t.Context(), job.ControlLane, &job.Inventory{}); err != nil || r.Index != 5 {
			t.Errorf("after ten minutes: %+v, %v", r, err)
		}
	})
}

// A driver whose ledger stalls is not silent: its streams stay.
func TestSlowAnswerIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(1)
		hub.answer = func(ctx context.Context, _ job.Lane, _ job.ToDriver) (job.Reply, error) {
			select {
			case <-time.After(time.Minute):
				return job.Reply{Index: 9}, nil
			case <-ctx.Done():
				return job.Reply{}, ctx.Err()
			}
		}
		link, _, _, _, stop := stream(t, hub)
		defer stop()
		if r, err := link.Request(t.Context(), job.BlockLane, &job.BlocksReport{}); err != nil || r.Index != 9 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestGivingUpARequestEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(1)
		hub.answer = func(ctx context.Context, _ job.Lane, _ job.ToDriver) (job.Reply, error) {
			<-ctx.Done()
			return job.Reply{}, ctx.Err()
		}
		link, _, _, _, stop := stream(t, hub)
		defer stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := link.Request(ctx, job.ControlLane, &job.Inventory{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, expected the deadline", err)
		}
		if _, err := link.Recv(); err == nil {
			t.Error("the link goes on: the lane would get two requests at a time")
		}
	})
}
