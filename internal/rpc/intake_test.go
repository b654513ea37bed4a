package rpc

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/test/bufconn"
	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

func TestDataIsFoundHoweverItIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := []byte(clientPreface)
		want := 0
		for range rapid.IntRange(0, 20).Draw(t, "frames") {
			kind := rapid.ByteRange(0, 9).Draw(t, "kind")
			n := rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 20), rapid.Just(70_000)).Draw(t, "length")
			sent = append(sent, byte(n>>16), byte(n>>8), byte(n), kind, 0, 0, 0, 0, 1)
			sent = append(sent, bytes.Repeat([]byte{0}, n)...) // as headers of data would look
			if kind == 0 {
				want += n
			}
		}
		f, got := newFrames(), 0
		for len(sent) > 0 {
			n := min(rapid.OneOf(rapid.IntRange(1, 12), rapid.Just(1<<16)).Draw(t, "cut"), len(sent))
			got += f.data(sent[:n])
			sent = sent[n:]
		}
		if got != want {
			t.Fatalf("%d bytes of data, expected %d", got, want)
		}
	})
}

// quiet is a connection without another side.
type quiet struct{ net.Conn }

func (quiet) Close() error                { return nil }
func (quiet) SetDeadline(time.Time) error { return nil }
func (quiet) RemoteAddr() net.Addr        { return address("quiet") }

// began is a call of a test, with what it holds.
type began struct {
	ctx   context.Context
	from  *caller
	holds int64
}

// Whatever calls do and in whatever order, what is counted is the sum of what they hold, and never more than the limit.
func TestWhatIsCountedIsWhatCallsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := newIntake(slog.New(slog.DiscardHandler))
		in.limit = 10 * callCost
		callers := []*caller{in.enter(quiet{}), in.enter(quiet{}), in.enter(quiet{})}
		var calls []*began
		open := func(c *caller) bool { return !c.settled }
		pick := func(t *rapid.T) (int, *began) {
			if len(calls) == 0 {
				t.Skip("no call runs")
			}
			i := rapid.IntRange(0, len(calls)-1).Draw(t, "call")
			return i, calls[i]
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				c := rapid.SampledFrom(callers).Draw(t, "caller")
				ctx := in.TagRPC(peer.NewContext(t.Context(), &peer.Peer{Addr: c.RemoteAddr()}), nil)
				in.HandleRPC(ctx, &stats.Begin{})
				calls = append(calls, &began{ctx: ctx, from: c, holds: callCost})
			},
			"message": func(t *rapid.T) { // it comes, and the one before is given back when it is read
				_, call := pick(t)
				n := rapid.Int64Range(5, 3*callCost).Draw(t, "bytes")
				call.from.add(n, 0)
				in.HandleRPC(call.ctx, &stats.InPayload{WireLength: int(n)})
				call.holds = callCost + n
			},
			"end": func(t *rapid.T) {
				i, call := pick(t)
				in.HandleRPC(call.ctx, &stats.End{})
				calls = append(calls[:i], calls[i+1:]...)
			},
			"close": func(t *rapid.T) {
				i := rapid.IntRange(0, len(callers)-1).Draw(t, "caller")
				_ = callers[i].Close() // it cannot fail
				callers[i] = in.enter(quiet{})
			},
			"": func(t *rapid.T) {
				var want int64
				for _, call := range calls {
					if open(call.from) {
						want += call.holds
					}
				}
				if got := in.total.Load(); got != want || got > in.limit {
					t.Fatalf("%d bytes are counted, expected %d and at most %d", got, want, in.limit)
				}
			},
		})
	})
}

// intakeOf serves e in memory with a limit; x makes a pool of connections that stop sending after so many bytes.
func intakeOf(t *testing.T, e *fakeExecutor, limit int64) (s *Server, said *lockedLog, x func(stall int) *Executors) {
	t.Helper()
	e.blocks = map[id.Block]job.BlockData{}
	said = &lockedLog{}
	l := bufconn.Listen(1 << 20)
	s = NewServer(ServerConfig{Executor: e, Logger: slog.New(slog.NewTextHandler(said, nil))})
	s.intake.limit = limit
	serve(t, s, l)
	return s, said, func(stall int) *Executors {
		x := pool(t)
		x.dial = func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := l.DialContext(ctx)
			return &stalling{Conn: c, left: stall, closed: make(chan struct{})}, err
		}
		return x
	}
}

// stalling is a connection that sends so many bytes and then hangs until it is closed.
type stalling struct {
	net.Conn
	left   int
	closed chan struct{}
}

func (c *stalling) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b[:min(c.left, len(b))])
	if c.left -= n; err == nil && n < len(b) {
		<-c.closed
		err = net.ErrClosed
	}
	return n, err
}

func (c *stalling) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return c.Conn.Close()
}

const never = 1 << 40

func block(n uint64, size int) job.BlockData {
	return job.BlockData{ID: id.Block{App: 1, Instance: 2, Number: n}, Data: make([]byte, size)}
}

func TestWhoHoldsTheMostIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, said, connect := intakeOf(t, &fakeExecutor{}, 12<<20)
		hang := func(bytes int, n uint64) <-chan error {
			x, done := connect(bytes), make(chan error, 1)
			go func() { done <- x.Put(t.Context(), job.Peer{Addr: "n1"}, block(n, 10<<20)) }()
			synctest.Wait()
			return done
		}
		little := hang(2<<20, 1)
		much := hang(7<<20, 2)
		if got := s.intake.total.Load(); got < 8<<20 || got > 10<<20 {
			t.Errorf("%d bytes are counted of two that hang with 2 and 7 MiB", got)
		}
		healthy := connect(never)
		for i := range 5 {
			if err := healthy.Put(t.Context(), job.Peer{Addr: "n1"}, block(uint64(3+i), 8<<20)); err != nil {
				t.Errorf("whoever sends what he announced is broken off: %v", err)
			}
		}
		if err := <-much; code(err) != codes.Unavailable {
			t.Errorf("%v, expected that the connection broke", err)
		}
		select {
		case err := <-little:
			t.Errorf("who holds little is broken off: %v", err)
		default:
		}
		if text := said.String(); strings.Count(text, "broken off: its calls held") != 1 {
			t.Errorf("the log does not tell of one connection: %s", text)
		}
	})
}

func TestNothingStaysCountedWhenCallsEnd(t *testing.T) {
	size := 1 << 20
	for name, run := range map[string]func(ctx context.Context, x *Executors) error{
		"put": func(ctx context.Context, x *Executors) error { return x.Put(ctx, job.Peer{}, block(1, size)) },
		"get": func(ctx context.Context, x *Executors) error {
			return second(x.Get(ctx, job.Peer{}, block(7, size).ID))
		},
		"fault": func(ctx context.Context, x *Executors) error { return second(x.Get(ctx, job.Peer{}, block(8, 0).ID)) },
		"fetch": func(ctx context.Context, x *Executors) error {
			return x.Fetch(ctx, job.Peer{}, &job.Fetch{MapParts: []int{0}}, func(int, []byte) error { return nil })
		},
		"launch": func(ctx context.Context, x *Executors) error {
			return second(x.Launch(ctx, job.Peer{}, &job.Launch{Time: 1, Parts: make([]int, size)}))
		},
		"panic": func(ctx context.Context, x *Executors) error {
			return second(x.Launch(ctx, job.Peer{}, &job.Launch{Time: 2}))
		},
		"given up": func(ctx context.Context, x *Executors) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return second(x.Launch(ctx, job.Peer{}, &job.Launch{Time: 3}))
		},
		"another store": func(ctx context.Context, x *Executors) error {
			return x.Put(ctx, job.Peer{Store: "other"}, block(9, size))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s *Server
				e := &fakeExecutor{buckets: [][]byte{make([]byte, 3*frameMax)}}
				e.launch = func(ctx context.Context, l *job.Launch) (*job.LaunchResult, error) {
					if got := s.intake.total.Load(); got < int64(callCost+len(l.Parts)) {
						t.Errorf("%d bytes are counted while it runs", got)
					}
					switch l.Time {
					case 2:
						panic("broken")
					case 3:
						<-ctx.Done()
					}
					return &job.LaunchResult{}, nil
				}
				var connect func(int) *Executors
				s, _, connect = intakeOf(t, e, intakeMax)
				e.blocks[block(7, 0).ID] = block(7, size)
				x := connect(never)
				err := run(t.Context(), x)
				synctest.Wait()
				if got := s.intake.total.Load(); got != 0 {
					t.Errorf("%d bytes are counted after it ended with %v", got, err)
				}
			})
		})
	}
}

func TestCallsAndRepliesCountToo(t *testing.T) {
	for name, run := range map[string]func(ctx context.Context, x *Executors) error{
		"calls without messages": func(ctx context.Context, x *Executors) (err error) {
			ctx, cancel := context.WithCancel(ctx)
			done := make(chan error)
			const calls = 20
			for range calls {
				go func() { done <- second(x.Launch(ctx, job.Peer{}, &job.Launch{})) }()
			}
			err = <-done // of the connection, as no launch of this test ends by itself
			cancel()
			for range calls - 1 {
				<-done
			}
			return err
		},
		"replies": func(ctx context.Context, x *Executors) error { return second(x.Get(ctx, job.Peer{}, block(7, 0).ID)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &fakeExecutor{launch: func(ctx context.Context, _ *job.Launch) (*job.LaunchResult, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}}
				_, said, connect := intakeOf(t, e, 10*callCost)
				e.blocks[block(7, 0).ID] = block(7, 10*callCost)
				err := run(t.Context(), connect(never)) // the end of the connection may come after the reply
				if text := said.String(); !strings.Contains(text, "broken off: its calls held") {
					t.Errorf("the log does not tell of it: %s, %v", text, err)
				}
			})
		})
	}
}
