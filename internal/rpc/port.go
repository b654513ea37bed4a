package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// handshakeTime is how long a new connection may take to say what it is for.
	handshakeTime = 5 * time.Second
	// pendingMax bounds the connections that have not said it yet: for a further one the oldest of them has to go.
	pendingMax = 256
	// grpcMax and raftMax bound the connections that are open; further ones are refused. Each costs its buffers: 64 KiB of
	// gRPC's, half a mebibyte of Raft's. The election watch bounds its own.
	grpcMax  = 2048
	raftMax  = 64
	watchMax = 2048
)

// ErrPortInUse says that another process listens on the address.
var ErrPortInUse = errors.New("address is in use")

// PortConfig says where to listen.
type PortConfig struct {
	// Bind is host:port; port 0 takes a free one.
	Bind string
	// Advertise is the address that other nodes reach the port by: what Raft knows this node by. "": the address
	// that is listened on.
	Advertise string
	Security  Security
	Logger    *slog.Logger // nil: none
}

// A Port is one TCP listener that gRPC, Raft and the election watch share. With TLS the protocol is negotiated by ALPN,
// without it the first byte tells: gRPC starts with 'P', the dialers of the others with a magic byte each.
type Port struct {
	listener net.Listener
	security Security
	log      *slog.Logger
	grpc     *lane
	raft     *RaftStream
	watch    *WatchStream
	slots    chan struct{}
	done     chan struct{}
	close    func() error
	workers  sync.WaitGroup
	cluster  atomic.Pointer[string]

	mu      sync.Mutex
	pending []net.Conn // connections that have not said what they are for, the oldest first
	closed  bool       // no connection is added to pending any more

	refusals refusals
}

// Listen opens the port. The error is an ErrPortInUse when another process has the address.
func Listen(cfg PortConfig) (*Port, error) {
	if err := cfg.Security.check(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", cfg.Bind)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on rpc port %s: %w: stop the process that has it or choose another port", cfg.Bind, ErrPortInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on rpc port %s: %w", cfg.Bind, err)
	}
	return newPort(l, cfg), nil
}

// newPort makes a port of any listener.
func newPort(l net.Listener, cfg PortConfig) *Port {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	addr := l.Addr()
	if cfg.Advertise != "" {
		addr = address(cfg.Advertise)
	}
	p := &Port{
		listener: l,
		security: cfg.Security,
		log:      cfg.Logger,
		slots:    make(chan struct{}, pendingMax),
		done:     make(chan struct{}),
	}
	p.grpc = newLane(l.Addr(), grpcMax)
	p.raft = &RaftStream{&rawStream{newLane(addr, raftMax), p, "raft", raftMagic, protoRaft}}
	p.watch = &WatchStream{&rawStream{newLane(addr, watchMax), p, "election watch", watchMagic, protoWatch}}
	p.close = sync.OnceValue(p.shut)
	p.workers.Go(p.accept)
	return p
}

// Addr is the address that is listened on.
func (p *Port) Addr() string { return p.listener.Addr().String() }

// GRPC gives the listener of gRPC's connections; Close of it refuses further ones.
func (p *Port) GRPC() net.Listener { return p.grpc }

// Raft gives Raft's end of the port.
func (p *Port) Raft() *RaftStream { return p.raft }

// Watch gives the election watch's end of the port.
func (p *Port) Watch() *WatchStream { return p.watch }

// JoinCluster sets the id of the cluster that this node belongs to: from now on connections from and to nodes of another
// one are refused, but gRPC's, which say it themselves (rule 2). Without it every node is let in.
func (p *Port) JoinCluster(id string) { p.cluster.Store(&id) }

func (p *Port) clusterID() string {
	if c := p.cluster.Load(); c != nil {
		return *c
	}
	return ""
}

// Close stops listening, drops connections that have not been handed over and waits for the port's goroutines.
// Connections that were handed over belong to those who accepted them.
func (p *Port) Close() error { return p.close() }

func (p *Port) shut() error {
	close(p.done)
	err := p.listener.Close()
	p.mu.Lock()
	for _, c := range p.pending {
		_ = c.Close() // only interrupts its handshake, whose error is logged
	}
	p.pending, p.closed = nil, true
	p.mu.Unlock()
	_ = p.grpc.Close()
	_ = p.raft.Close()
	_ = p.watch.Close()
	p.workers.Wait()
	return err
}

func (p *Port) accept() {
	for {
		if !p.place() {
			return
		}
		c, err := p.listener.Accept()
		if err != nil {
			<-p.slots
			if p.closing() {
				return
			}
			// Out of descriptors, or a connection that went before it was taken: others must still be accepted.
			p.log.Warn("rpc port: accept failed", "error", err)
			if !p.pause(50 * time.Millisecond) {
				return
			}
			continue
		}
		p.workers.Go(func() {
			defer func() { <-p.slots }()
			p.sort(c)
		})
	}
}

// place takes a place for a connection that is about to come; false: the port is being closed. Where all are taken, the
// connection that has been silent for the longest time loses its own: silence keeps nobody out.
func (p *Port) place() bool {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
	}
	p.mu.Lock()
	if len(p.pending) > 0 {
		oldest := p.pending[0]
		p.pending = p.pending[1:]
		_ = oldest.Close() // ends its handshake, which gives the place back
		p.refusals.tell(p.log, oldest.RemoteAddr(), errSilent)
	}
	p.mu.Unlock()
	select {
	case p.slots <- struct{}{}:
		return true
	case <-p.done:
		return false
	}
}

func (p *Port) closing() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *Port) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.done:
		return false
	}
}

// sort finds out what a connection is for and hands it over, or closes it.
func (p *Port) sort(c net.Conn) {
	if !p.hold(c) {
		_ = c.Close()
		return
	}
	to, out, err := p.handshake(c)
	p.release(c)
	if err == nil {
		err = to.hand(out, p.done)
	}
	if err != nil {
		_ = c.Close()
		// EOF: somebody looked whether the port is open; closed: the one whom it is for is leaving.
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !p.closing() {
			p.refusals.tell(p.log, c.RemoteAddr(), err)
		}
	}
}

func (p *Port) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.pending = append(p.pending, c)
	return true
}

func (p *Port) release(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.pending, c); i >= 0 {
		p.pending = slices.Delete(p.pending, i, i+1)
	}
}

func (p *Port) handshake(c net.Conn) (*lane, net.Conn, error) {
	if err := c.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return nil, nil, err
	}
	to, out, err := p.negotiate(c)
	if err != nil {
		return nil, nil, err
	}
	return to, out, c.SetDeadline(time.Time{})
}

func (p *Port) negotiate(c net.Conn) (*lane, net.Conn, error) {
	if !p.security.Enabled() {
		var first [1]byte
		if _, err := io.ReadFull(c, first[:]); err != nil {
			return nil, nil, err
		}
		switch first[0] {
		case 'P':
			return p.grpc, &peeked{Conn: c, first: first[:]}, nil
		case raftMagic:
			return p.raft.lane, c, p.raft.greet(c)
		case watchMagic:
			return p.watch.lane, c, p.watch.greet(c)
		case 0x16:
			return nil, nil, errors.New("the other side speaks TLS, this port does not: configure both alike")
		}
		return nil, nil, fmt.Errorf("first byte is %#x, expected that of gRPC, Raft or the election watch", first[0])
	}
	t := tls.Server(c, p.security.server())
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, nil, fmt.Errorf("TLS handshake: %w", err)
	}
	switch proto := t.ConnectionState().NegotiatedProtocol; proto {
	case protoGRPC:
		return p.grpc, t, nil
	case protoRaft:
		return p.raft.lane, t, p.raft.greetAll(t)
	case protoWatch:
		return p.watch.lane, t, p.watch.greetAll(t)
	default:
		return nil, nil, fmt.Errorf("protocol %q was negotiated, expected %q, %q or %q", proto, protoGRPC, protoRaft, protoWatch)
	}
}

// peeked is a connection whose first byte was read already.
type peeked struct {
	net.Conn
	first []byte
}

// Read gives the first byte, then the rest. One goroutine calls it.
func (c *peeked) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// address is a net.Addr of TCP by name.
type address string

// Network gives tcp.
func (address) Network() string { return "tcp" }

// String gives the address.
func (a address) String() string { return string(a) }
