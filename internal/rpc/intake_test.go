package rpc

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/rpc/clusterpb"
)

// script is a connection that gives what it was made with, in pieces.
type script struct {
	quiet
	next func(most int) []byte
}

func (s script) Read(b []byte) (int, error) {
	piece := s.next(len(b))
	if len(piece) == 0 {
		return 0, io.EOF
	}
	return copy(b, piece), nil
}

// However what comes is cut, nothing is lost or changed, whoever reads gets nothing behind headers before he comes again, and
// the data of every stream are found.
func TestHeadersEndAReadAndDataAreFoundHoweverTheyAreCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent, ends := []byte(clientPreface), map[int]uint32{}
		want, streams := map[uint32]int64{}, map[uint32]*call{}
		for range rapid.IntRange(0, 20).Draw(t, "frames") {
			kind := rapid.ByteRange(0, 9).Draw(t, "kind")
			stream := rapid.Uint32Range(0, 3).Draw(t, "stream")
			n := rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 20), rapid.Just(70_000)).Draw(t, "length")
			sent = append(sent, byte(n>>16), byte(n>>8), byte(n), kind, 0, 0x80, 0, 0, byte(stream))
			sent = append(sent, bytes.Repeat([]byte{0}, n)...) // as headers of data would look
			switch kind {
			case dataFrame:
				want[stream] += int64(n)
			case headersFrame, continuationFrame:
				ends[len(sent)] = stream
			}
		}
		in := newIntake(slog.New(slog.DiscardHandler))
		left := sent
		c := in.enter(script{next: func(most int) []byte {
			n := min(rapid.OneOf(rapid.IntRange(1, 12), rapid.Just(1<<16)).Draw(t, "cut"), len(left), most)
			piece := left[:n]
			left = left[n:]
			return piece
		}})
		for stream := range uint32(4) {
			streams[stream] = &call{from: c, stream: stream}
		}
		c.calls = maps.Clone(streams)
		var got []byte
		for buffer := make([]byte, 1<<16); ; {
			n, err := c.Read(buffer[:rapid.SampledFrom([]int{1, 9, 100, 1 << 16}).Draw(t, "buffer")])
			for i := range n {
				if _, ok := ends[len(got)+i]; ok && i > 0 {
					t.Fatalf("a read goes on behind the headers that end at %d", len(got)+i)
				}
			}
			got = append(got, buffer[:n]...)
			if stream, ok := ends[len(got)]; ok && c.frames.left == 0 && c.frames.have == 0 && c.frames.stream != stream {
				t.Fatalf("the headers that end at %d are of stream %d, expected %d", len(got), c.frames.stream, stream)
			}
			if err != nil {
				break
			}
		}
		if !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes are read, which are not the %d that were sent", len(got), len(sent))
		}
		total := int64(0)
		for stream, call := range streams {
			if call.unread != want[stream] {
				t.Fatalf("%d bytes of data of stream %d, expected %d", call.unread, stream, want[stream])
			}
			total += want[stream]
		}
		if got := in.total.Load(); got != total {
			t.Fatalf("%d bytes are counted, expected %d", got, total)
		}
	})
}

// quiet is a connection without another side.
type quiet struct{ net.Conn }

func (quiet) Close() error                { return nil }
func (quiet) SetDeadline(time.Time) error { return nil }
func (quiet) RemoteAddr() net.Addr        { return address("quiet") }

// made is a call of a test, with what it holds.
type made struct {
	ctx            context.Context
	cancel         func()
	from           *caller
	stream         uint32
	begun          bool
	cost           int64 // once it has begun
	unread, worked int64
}

// Whatever calls do and in whatever order, what is counted is the sum of what they hold, and never more than the limit.
func TestWhatIsCountedIsWhatCallsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := newIntake(slog.New(slog.DiscardHandler))
		in.limit = 10 * callCost
		callers := []*caller{in.enter(quiet{}), in.enter(quiet{}), in.enter(quiet{})}
		var calls []*made
		stream := uint32(0)
		pick := func(t *rapid.T, begun bool) (int, *made) {
			var of []int
			for i, c := range calls {
				if c.begun == begun {
					of = append(of, i)
				}
			}
			if len(of) == 0 {
				t.Skip("there is no such call")
			}
			i := rapid.SampledFrom(of).Draw(t, "call")
			return i, calls[i]
		}
		t.Repeat(map[string]func(*rapid.T){
			"headers": func(t *rapid.T) {
				c := rapid.SampledFrom(callers).Draw(t, "caller")
				stream += 2
				c.frames.stream = stream
				ctx, cancel := context.WithCancel(peer.NewContext(t.Context(), &peer.Peer{Addr: c.RemoteAddr()}))
				ctx, err := in.tap(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				calls = append(calls, &made{ctx: ctx, cancel: cancel, from: c, stream: stream})
			},
			"begin": func(t *rapid.T) {
				_, call := pick(t, false)
				in.HandleRPC(call.ctx, &stats.Begin{})
				call.begun, call.cost = true, callCost
			},
			"data": func(t *rapid.T) {
				_, call := pick(t, rapid.Bool().Draw(t, "begun"))
				n := rapid.Int64Range(5, 3*callCost).Draw(t, "bytes")
				call.from.arrived(call.stream, n)
				call.unread += n
			},
			"message": func(t *rapid.T) { // the one before is given back when it is read
				_, call := pick(t, true)
				n := rapid.Int64Range(0, call.unread).Draw(t, "bytes")
				in.HandleRPC(call.ctx, &stats.InPayload{WireLength: int(n)})
				call.unread, call.worked = call.unread-n, n
			},
			"end": func(t *rapid.T) {
				i, call := pick(t, true)
				in.HandleRPC(call.ctx, &stats.End{})
				call.cancel()
				call.from.arrived(call.stream, 100) // of which nobody knows any more
				calls = slices.Delete(calls, i, i+1)
			},
			"abort": func(t *rapid.T) { // as of a method that there is not
				i, call := pick(t, false)
				call.cancel()
				for open := true; open; {
					call.from.mu.Lock()
					open = call.from.calls[call.stream] != nil
					call.from.mu.Unlock()
					runtime.Gosched()
				}
				calls = slices.Delete(calls, i, i+1)
			},
			"close": func(t *rapid.T) {
				i := rapid.IntRange(0, len(callers)-1).Draw(t, "caller")
				_ = callers[i].Close() // it cannot fail
				callers[i] = in.enter(quiet{})
			},
			"": func(t *rapid.T) {
				var want int64
				for _, call := range calls {
					if !call.from.settled {
						want += call.cost + call.unread + call.worked
					}
				}
				if got := in.total.Load(); got != want || got > in.limit {
					t.Fatalf("%d bytes are counted, expected %d and at most %d", got, want, in.limit)
				}
			},
		})
		for _, call := range calls {
			call.cancel()
		}
	})
}

// A connection may have a call that never ends, as of one who follows events. What others on it leave unread is not counted
// when they are over: it would add up until a healthy connection is broken off.
func TestWhatAbortedCallsLeaveUnreadDoesNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fakeExecutor{launch: func(ctx context.Context, _ *job.Launch) (*job.LaunchResult, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		s, said, connect := intakeOf(t, e, 10<<20)
		x := connect(never)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- second(x.Launch(ctx, job.Peer{Addr: "n1"}, &job.Launch{})) }()
		synctest.Wait()
		before := s.intake.total.Load()
		pooled, err := x.take("n1")
		if err != nil {
			t.Fatal(err)
		}
		long := &clusterpb.Up{Body: &clusterpb.Up_Fragment{Fragment: &clusterpb.Fragment{Data: make([]byte, 1<<20)}}}
		for i := range 30 {
			var err error
			if i%2 == 0 { // refused before it is read: there is no driver
				var up clusterpb.Cluster_ControlClient
				if up, err = clusterpb.NewClusterClient(pooled.conn).Control(ctx); err == nil {
					_ = up.Send(long)
					_, err = up.Recv()
				}
			} else { // there is no such method
				err = pooled.conn.Invoke(ctx, "/raftstream.Cluster/Nothing", long, &clusterpb.Down{})
			}
			if c := code(err); err == nil || c == codes.Unavailable {
				t.Fatalf("%v, expected that the call is refused", err)
			}
			synctest.Wait()
		}
		x.give(pooled)
		if got := s.intake.total.Load(); got != before {
			t.Errorf("%d bytes are counted, expected %d as before: %s", got, before, said.String())
		}
		cancel()
		<-done
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

// full takes no records.
type full struct{}

func (full) Push(ctx context.Context, _ id.App, _ id.Stream, p connector.Push) error {
	if len(p.Records) == 0 { // the position is asked for
		p.Reply(0, 1, nil)
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// Producers that are slowed down send as far as they are let: that alone breaks nothing off.
func TestManyProducersThatAreSlowedDownAreNotBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said, l := &lockedLog{}, bufconn.Listen(1<<20)
		s := NewServer(ServerConfig{API: &API{Pushes: full{}}, Logger: slog.New(slog.NewTextHandler(said, nil))})
		serve(t, s, l)
		cc, err := connect("n1", Security{}, func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })
		if err != nil {
			t.Fatal(err)
		}
		const producers = 40
		var senders sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range producers {
			in, err := raftstreamv1.NewApplicationsClient(cc).Ingest(ctx)
			if err != nil {
				t.Fatal(err)
			}
			open := &raftstreamv1.IngestOpen{AppId: 1, Stream: proto.Int32(0), Producer: "p"}
			if err := in.Send(&raftstreamv1.IngestRequest{Body: &raftstreamv1.IngestRequest_Open{Open: open}}); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Recv(); err != nil {
				t.Fatal(err)
			}
			senders.Go(func() {
				p := &raftstreamv1.IngestPush{First: 1, Records: [][]byte{make([]byte, 256<<10)}}
				for in.Send(&raftstreamv1.IngestRequest{Body: &raftstreamv1.IngestRequest_Push{Push: p}}) == nil {
				}
			})
		}
		synctest.Wait()
		if got := s.intake.total.Load(); got < producers*serverWindow/2 || got > intakeMax/2 {
			t.Errorf("%d bytes are counted, expected %d to %d: %s", got, producers*serverWindow/2, intakeMax/2, said.String())
		}
		cancel()
		senders.Wait()
		if err := cc.Close(); err != nil {
			t.Error(err)
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
