package rpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"
)

const (
	// intakeMax bounds what the calls of all connections have a server hold: requests while they arrive and while they are
	// worked on, and replies until they are sent. It has room for four of the longest launches.
	intakeMax = 256 << 20
	// callCost is what a call costs beside its messages: headers, goroutine, and what arrives before it is known to run.
	callCost = 64 << 10
	// headersMax bounds the headers of a call, decoded.
	headersMax = 16 << 10
)

// intake counts what the connections of a server have it hold. When it is too much the connection that holds the most is
// broken off, so that nobody who holds little is shut out by one who holds much. Its calls fail as on any connection that
// breaks, and are repeated.
//
// gRPC does not bound this: every call of every connection may bring a message of the greatest length, or most of one.
type intake struct {
	limit int64 // intakeMax; tests make it smaller
	log   *slog.Logger
	total atomic.Int64

	mu      sync.Mutex // taken before that of a caller
	callers map[*caller]struct{}
	broken  refusals
}

func newIntake(log *slog.Logger) *intake {
	return &intake{limit: intakeMax, log: log, callers: map[*caller]struct{}{}}
}

// counting is a listener whose connections are counted.
type counting struct {
	net.Listener
	in *intake
}

// Accept waits for the next connection.
func (l counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.in.enter(c), nil
}

func (in *intake) enter(conn net.Conn) *caller {
	c := &caller{Conn: conn, in: in, frames: newFrames()}
	in.mu.Lock()
	in.callers[c] = struct{}{}
	in.mu.Unlock()
	return c
}

// shed breaks off connections, those that hold the most first, until the rest holds no more than the limit.
func (in *intake) shed() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.total.Load() > in.limit {
		var worst *caller
		var most int64
		for c := range in.callers {
			if n := c.holds(); n > most {
				worst, most = c, n
			}
		}
		if worst == nil {
			return // those who held it are leaving
		}
		delete(in.callers, worst)
		worst.settle()
		in.broken.tell(in.log, worst.RemoteAddr(), fmt.Errorf(
			"broken off: its calls held %d bytes, the most of all connections, which together may hold %d", most, in.limit))
		_ = worst.SetDeadline(time.Unix(1, 0)) // gRPC closes what it cannot read; to close it here might wait for a peer
	}
}

// caller is a connection whose calls are counted.
type caller struct {
	net.Conn
	in     *intake
	frames frames // of its one reader

	mu      sync.Mutex
	calls   int   // that run
	held    int64 // by them, part of the intake's total
	settled bool  // nothing is counted any more
}

// Read counts the data that came.
func (c *caller) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if d := c.frames.data(b[:n]); d > 0 {
		c.add(int64(d), 0)
	}
	return n, err
}

// Close closes the connection and gives back what it held.
func (c *caller) Close() error {
	c.in.mu.Lock()
	delete(c.in.callers, c)
	c.in.mu.Unlock()
	c.settle()
	return c.Conn.Close()
}

// RemoteAddr is the address by which a call finds its connection again.
func (c *caller) RemoteAddr() net.Addr { return callerAddr{c.Conn.RemoteAddr(), c} }

type callerAddr struct {
	net.Addr
	caller *caller
}

func (c *caller) holds() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// add counts bytes, which may be negative, and how many more calls run. What an aborted call left unread is known only
// together with the rest: it is forgotten when no call runs.
func (c *caller) add(bytes int64, more int) {
	c.mu.Lock()
	if c.settled {
		c.mu.Unlock()
		return
	}
	c.calls += more
	held := max(c.held+bytes, 0)
	if c.calls == 0 && more < 0 {
		held = 0
	}
	total := c.in.total.Add(held - c.held)
	c.held = held
	c.mu.Unlock()
	if bytes > 0 && total > c.in.limit {
		c.in.shed()
	}
}

func (c *caller) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = true
	c.in.total.Add(-c.held)
	c.held = 0
}

// call is a call that runs. Its messages were counted as they came; each is given back when the next one was read, for
// then whoever works on the stream has taken it into its own limits, or when the call ends.
type call struct {
	from *caller

	mu    sync.Mutex
	holds int64
	ended bool
}

type callKey struct{}

// TagRPC attaches the call to its context.
func (*intake) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(callerAddr); ok {
			return context.WithValue(ctx, callKey{}, &call{from: a.caller})
		}
	}
	return ctx
}

// HandleRPC follows a call.
func (*intake) HandleRPC(ctx context.Context, s stats.RPCStats) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	switch s := s.(type) {
	case *stats.Begin:
		c.from.add(callCost, 1)
	case *stats.InPayload:
		c.read(int64(s.WireLength))
	case *stats.End:
		c.end()
	}
}

func (c *call) read(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		bytes, c.holds = 0, bytes // nobody works on it
	}
	c.from.add(-c.holds, 0)
	c.holds = bytes
}

func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.from.add(-c.holds-callCost, -1)
	c.holds = 0
}

// replies counts the reply of a call from now to its end.
func replies(ctx context.Context, reply any) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	if m, ok := reply.(proto.Message); ok {
		n := int64(proto.Size(m))
		c.mu.Lock()
		c.holds += n
		c.mu.Unlock()
		c.from.add(n, 0)
	}
}

// TagConn attaches nothing.
func (*intake) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing: connections are counted as they are accepted.
func (*intake) HandleConn(context.Context, stats.ConnStats) {}

// frames finds the data in what a client of HTTP/2 sends: by the frames' headers alone, as frames of any length hold memory.
type frames struct {
	head   [9]byte
	have   int // bytes of head
	left   int // bytes of the frame that are still to come
	isData bool
}

// clientPreface is what comes before the first frame.
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func newFrames() frames { return frames{left: len(clientPreface)} }

// data gives how many bytes of b, which follows what was given before, are the payload of data frames.
func (f *frames) data(b []byte) (n int) {
	for len(b) > 0 {
		if f.left == 0 {
			k := copy(f.head[f.have:], b)
			b = b[k:]
			if f.have += k; f.have == len(f.head) {
				f.have = 0
				f.left = int(binary.BigEndian.Uint32(f.head[:4]) >> 8)
				f.isData = f.head[3] == 0
			}
			continue
		}
		k := min(f.left, len(b))
		if f.isData {
			n += k
		}
		f.left -= k
		b = b[k:]
	}
	return n
}
