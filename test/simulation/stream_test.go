package simulation_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// streams are Raft's listeners by address.
type streams struct {
	net *network

	mu     sync.Mutex
	listen map[string]*stream
}

// stream carries Raft's connections of one process.
type stream struct {
	all        *streams
	name, addr string
	incoming   chan net.Conn
	once       sync.Once
	closed     chan struct{}

	mu    sync.Mutex
	conns map[*conn]bool
	dead  bool
}

// Address of Raft.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func (s *streams) open(name, addr string) *stream {
	n := &stream{
		all: s, name: name, addr: addr, incoming: make(chan net.Conn), closed: make(chan struct{}), conns: map[*conn]bool{},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listen[addr] = n
	return n
}

func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.incoming:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close stops listening.
func (s *stream) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.all.mu.Lock()
		defer s.all.mu.Unlock()
		if s.all.listen[s.addr] == s {
			delete(s.all.listen, s.addr)
		}
	})
	return nil
}

// die ends the process's connections, as the kernel does.
func (s *stream) die() {
	_ = s.Close()
	s.mu.Lock()
	s.dead = true
	s.mu.Unlock()
	for _, c := range s.connections() {
		_ = c.Close()
	}
}

func (s *stream) connections() (all []*conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// Addr gives the address.
func (s *stream) Addr() net.Addr { return address(s.addr) }

// Dial connects to whoever listens at an address.
func (s *stream) Dial(to string, timeout time.Duration) (net.Conn, error) {
	end := time.NewTimer(timeout)
	defer end.Stop()
	name := nameOf(to)
	there, back := s.all.net.line(raftPlane, s.name, name), s.all.net.line(raftPlane, name, s.name)
	for _, way := range []*line{there, back} {
		for open, turned := way.state(); !open; open, turned = way.state() {
			select {
			case <-turned:
			case <-end.C:
				return nil, fmt.Errorf("dial %s: %w", to, os.ErrDeadlineExceeded)
			case <-s.closed:
				return nil, net.ErrClosed
			}
		}
	}
	s.all.mu.Lock()
	peer := s.all.listen[to]
	s.all.mu.Unlock()
	if peer == nil {
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	up, down := newHalf(there), newHalf(back)
	here := &conn{owner: s, peer: peer, in: down, out: up}
	far := &conn{owner: peer, peer: s, in: up, out: down}
	if !s.keep(here) { // the process is over: nothing of it goes out
		return nil, net.ErrClosed
	}
	if !peer.keep(far) {
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	select {
	case peer.incoming <- far:
		return here, nil
	case <-peer.closed:
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	case <-s.closed:
		return nil, net.ErrClosed
	case <-end.C:
		return nil, fmt.Errorf("dial %s: %w", to, os.ErrDeadlineExceeded)
	}
}

func (s *stream) keep(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return false
	}
	s.conns[c] = true
	return true
}

// half is the bytes on their way in one direction of a connection.
type half struct {
	line *line
	wake chan struct{} // holds one: look again

	mu       sync.Mutex
	chunks   []chunk
	at       time.Time // when the last one arrives
	ended    bool      // nothing more is sent
	reset    bool      // what was on its way is gone
	deaf     bool      // nobody reads any more
	deadline time.Time // of reading
}

type chunk struct {
	data []byte
	at   time.Time
}

func newHalf(l *line) *half { return &half{line: l, wake: make(chan struct{}, 1)} }

func (h *half) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *half) write(b []byte) (int, error) {
	d, broken := h.line.takes()
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.poke()
	switch {
	case h.ended, h.reset:
		return 0, io.ErrClosedPipe
	case h.deaf:
		if open, _ := h.line.state(); open {
			return 0, io.ErrClosedPipe
		}
		return len(b), nil // the other side has no way to say so
	case broken:
		h.reset, h.chunks = true, nil
		return len(b), nil
	}
	if at := time.Now().Add(d); at.After(h.at) {
		h.at = at
	}
	h.chunks = append(h.chunks, chunk{append([]byte(nil), b...), h.at})
	return len(b), nil
}

func (h *half) end(reset bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.poke()
	h.ended = true
	if reset {
		h.reset, h.chunks = true, nil
	}
}

// close says that nobody reads any more.
func (h *half) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deaf, h.chunks = true, nil
	h.poke()
}

// read gives what has arrived, or what to wait for: the line's next turn, and a time.
func (h *half) read(b []byte) (n int, turned <-chan struct{}, wait time.Duration, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	open, turned := h.line.state()
	wait = time.Hour
	switch {
	case h.deaf:
		return 0, nil, 0, net.ErrClosed
	case h.reset:
		return 0, nil, 0, syscall.ECONNRESET
	case !h.deadline.IsZero() && !now.Before(h.deadline):
		return 0, nil, 0, os.ErrDeadlineExceeded
	case !open && len(h.chunks) > 0:
		h.line.bite()
	case !open:
	case len(h.chunks) > 0 && !now.Before(h.chunks[0].at):
		n = copy(b, h.chunks[0].data)
		if h.chunks[0].data = h.chunks[0].data[n:]; len(h.chunks[0].data) == 0 {
			h.chunks = h.chunks[1:]
		}
		return n, nil, 0, nil
	case len(h.chunks) > 0:
		wait = h.chunks[0].at.Sub(now)
	case h.ended:
		return 0, nil, 0, io.EOF
	}
	if !h.deadline.IsZero() {
		wait = min(wait, h.deadline.Sub(now))
	}
	return 0, turned, wait, nil
}

// conn is one end of a connection.
type conn struct {
	owner, peer *stream
	in, out     *half
	once        sync.Once
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	for {
		n, turned, wait, err := c.in.read(b)
		if n > 0 || err != nil {
			return n, err
		}
		t := time.NewTimer(wait)
		select {
		case <-c.in.wake:
		case <-turned:
		case <-t.C:
		}
		t.Stop()
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close implements net.Conn. The other end learns of it when the line lets it.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.owner.mu.Lock()
		delete(c.owner.conns, c)
		c.owner.mu.Unlock()
		c.out.end(false)
		c.in.close()
	})
	return nil
}

// reset resets both directions.
func (c *conn) reset() {
	c.in.end(true)
	c.out.end(true)
}

func (c *conn) LocalAddr() net.Addr  { return address(c.owner.addr) }
func (c *conn) RemoteAddr() net.Addr { return address(c.peer.addr) }

// SetDeadline implements net.Conn; writing never waits.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.deadline = t
	c.in.poke()
	return nil
}

// SetWriteDeadline implements net.Conn: writing never waits.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
