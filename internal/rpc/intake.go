package rpc

import (
	"bytes"
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
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
)

const (
	// intakeMax bounds what the calls of all connections have a server hold: requests while they arrive and while they are
	// worked on, and replies until gRPC takes them. Replies that gRPC has and the other side does not read are not counted.
	// It has room for four of the longest launches.
	intakeMax = 256 << 20
	// callCost is what a call costs beside its messages: headers and goroutines.
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
	c := &caller{Conn: conn, in: in, frames: newFrames(), calls: map[uint32]*call{}}
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
	frames frames // of its one reader, as is rest
	rest   []byte // what came behind the headers of a call

	mu      sync.Mutex
	calls   map[uint32]*call // by stream: those whose data are counted
	held    int64            // by calls, part of the intake's total
	settled bool             // nothing is counted any more
}

// Read gives what came up to the end of the next headers, and counts the data. What comes behind headers is kept back until
// gRPC has taken the call to which it may belong: see tap.
func (c *caller) Read(b []byte) (int, error) {
	if len(c.rest) > 0 {
		n := c.take(b[:copy(b, c.rest)])
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	came, err := c.Conn.Read(b)
	n := c.take(b[:came])
	if n < came {
		c.rest, err = bytes.Clone(b[n:came]), nil // an error comes again
	}
	return n, err
}

// take counts the data in b, up to the end of the first headers, and gives where that is.
func (c *caller) take(b []byte) (n int) {
	for n < len(b) {
		part, data, headers := c.frames.next(b[n:])
		n += part
		if data > 0 {
			c.arrived(c.frames.stream, int64(data))
		}
		if headers {
			break
		}
	}
	return n
}

// arrived counts data of a stream. Those of a call that is over, or was refused, are held by nobody.
func (c *caller) arrived(stream uint32, bytes int64) {
	c.count(func() int64 {
		call := c.calls[stream]
		if call == nil {
			return 0
		}
		call.unread += bytes
		return bytes
	})
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

// count changes what is held by as many bytes as f says, which may be less than none.
func (c *caller) count(f func() int64) {
	c.mu.Lock()
	bytes := f()
	if c.settled {
		bytes = 0
	}
	c.held += bytes
	total := c.in.total.Add(bytes)
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

// call is a call, with what it holds; its caller's mutex guards that. Its messages are counted as they come; each is given
// back when the next one was read, for then whoever works on the stream has taken it into its own limits, or when the call
// ends, together with what nobody has read.
type call struct {
	from   *caller
	stream uint32
	begun  bool
	ended  bool
	unread int64 // bytes that came
	works  int64 // bytes that are worked on: of the message that was read last, and of the reply
}

type callKey struct{}

// tap attaches a call to its context. gRPC asks for that on the connection's reader, where it has the headers of the call,
// and has read nothing behind them.
func (*intake) tap(ctx context.Context, _ *tap.Info) (context.Context, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ctx, nil
	}
	a, ok := p.Addr.(callerAddr)
	if !ok {
		return ctx, nil
	}
	c := &call{from: a.caller, stream: a.caller.frames.stream}
	c.from.mu.Lock()
	c.from.calls[c.stream] = c
	c.from.mu.Unlock()
	context.AfterFunc(ctx, c.abort)
	return context.WithValue(ctx, callKey{}, c), nil
}

// abort forgets a call that is over and did not begin, as one of a method that there is not.
func (c *call) abort() {
	c.from.count(func() int64 {
		if c.begun {
			return 0
		}
		return c.release()
	})
}

// release gives back what the call holds; nothing is counted for it any more.
func (c *call) release() int64 {
	held := c.unread + c.works
	c.unread, c.works = 0, 0
	delete(c.from.calls, c.stream)
	return -held
}

// TagRPC attaches nothing: tap did.
func (*intake) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC follows a call.
func (*intake) HandleRPC(ctx context.Context, s stats.RPCStats) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	switch s := s.(type) {
	case *stats.Begin:
		c.from.count(c.begin)
	case *stats.InPayload:
		c.from.count(func() int64 { return c.read(int64(s.WireLength)) })
	case *stats.End:
		c.from.count(c.end)
	}
}

func (c *call) begin() int64 {
	c.begun = true
	return callCost
}

func (c *call) read(bytes int64) int64 {
	if c.ended {
		return 0 // nobody works on it
	}
	before := c.works
	c.unread, c.works = c.unread-bytes, bytes
	return -before
}

func (c *call) end() int64 {
	c.ended = true
	return c.release() - callCost
}

// replies counts the reply of a call from now to its end, which is when gRPC has taken it, sent or not.
func replies(ctx context.Context, reply any) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	if m, ok := reply.(proto.Message); ok {
		n := int64(proto.Size(m))
		c.from.count(func() int64 {
			c.works += n
			return n
		})
	}
}

// TagConn attaches nothing.
func (*intake) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing: connections are counted as they are accepted.
func (*intake) HandleConn(context.Context, stats.ConnStats) {}

// frames finds headers and data in what a client of HTTP/2 sends, by the frames' own headers alone.
type frames struct {
	head   [9]byte
	have   int // bytes of head
	left   int // bytes of the frame that are still to come
	kind   byte
	stream uint32 // that the frame is of
}

// Kinds of frames.
const (
	dataFrame         = 0
	headersFrame      = 1
	continuationFrame = 9
	prefaceFrame      = 255 // is none
)

// clientPreface is what comes before the first frame.
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func newFrames() frames { return frames{left: len(clientPreface), kind: prefaceFrame} }

// next takes what b has of one frame: b is not empty, and follows what was taken before. It gives how much that is, how much
// of it is data, and whether headers end there.
func (f *frames) next(b []byte) (n, data int, headers bool) {
	if f.left > 0 {
		n = min(f.left, len(b))
		f.left -= n
		if f.kind == dataFrame {
			data = n
		}
		return n, data, f.endsHeaders()
	}
	n = copy(f.head[f.have:], b)
	if f.have += n; f.have < len(f.head) {
		return n, 0, false
	}
	f.have = 0
	f.left = int(binary.BigEndian.Uint32(f.head[:4]) >> 8)
	f.kind = f.head[3]
	f.stream = binary.BigEndian.Uint32(f.head[5:]) &^ (1 << 31)
	return n, 0, f.endsHeaders()
}

func (f *frames) endsHeaders() bool {
	return f.left == 0 && (f.kind == headersFrame || f.kind == continuationFrame)
}
