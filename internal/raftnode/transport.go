package raftnode

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

const (
	transportTimeout = 5 * time.Second
	transportPool    = 3
	// voteRetry is how long a vote request is repeated on broken connections.
	voteRetry = 100 * time.Millisecond
)

// transport is raft's network transport with four differences. A peer is called where gossip sees it now, else where
// raft's configuration has it: raft's own way to ask for addresses warns at every call to a peer that is away. A vote request that meets a pooled connection to a
// peer restarted since is repeated at once: it would otherwise cost an election timeout. Entries are never pipelined,
// which avoids a known wedge of the library and costs nothing measurable. And what followers acknowledge is
// remembered, so that the membership loop knows who has caught up.
type transport struct {
	*raft.NetworkTransport
	config *Config

	mu       sync.Mutex
	progress map[raft.ServerID]progress
}

// progress is what a follower acknowledged last.
type progress struct {
	match uint64
	at    time.Time
}

func newTransport(c *Config) *transport {
	layer := &streamLayer{stream: c.Stream, addr: address(c.Addr), conns: map[net.Conn]bool{}}
	return &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Logger:          newLogger(c.Logger).ResetNamed("raft-net"),
			Stream:          layer,
			MaxPool:         transportPool,
			MaxRPCsInFlight: 1,
			Timeout:         transportTimeout,
		}),
		config:   c,
		progress: map[raft.ServerID]progress{},
	}
}

// again repeats an idempotent request while connections turn out to be stale.
func again(request func() error) error {
	end := time.Now().Add(voteRetry)
	for {
		err := request()
		if err == nil || !stale(err) || time.Now().After(end) {
			return err
		}
	}
}

func stale(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrClosedPipe)
}

// RequestVote asks for a vote; the request is idempotent.
func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest,
	r *raft.RequestVoteResponse,
) error {
	return again(func() error {
		*r = raft.RequestVoteResponse{}
		return t.NetworkTransport.RequestVote(id, t.where(id, to), q, r)
	})
}

// RequestPreVote asks whether a vote would be given; the request is idempotent.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest,
	r *raft.RequestPreVoteResponse,
) error {
	return again(func() error {
		*r = raft.RequestPreVoteResponse{}
		return t.NetworkTransport.RequestPreVote(id, t.where(id, to), q, r)
	})
}

// AppendEntries sends entries and remembers what the follower holds.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest,
	r *raft.AppendEntriesResponse,
) error {
	err := t.NetworkTransport.AppendEntries(id, t.where(id, to), q, r)
	if err == nil && r.Success && q.PrevLogEntry+uint64(len(q.Entries)) > 0 {
		t.mu.Lock()
		t.progress[id] = progress{q.PrevLogEntry + uint64(len(q.Entries)), time.Now()}
		t.mu.Unlock()
	}
	return err
}

// InstallSnapshot sends a snapshot.
func (t *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest,
	r *raft.InstallSnapshotResponse, data io.Reader,
) error {
	return t.NetworkTransport.InstallSnapshot(id, t.where(id, to), q, r, data)
}

// TimeoutNow lets a follower stand for election at once.
func (t *transport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, q *raft.TimeoutNowRequest,
	r *raft.TimeoutNowResponse,
) error {
	return t.NetworkTransport.TimeoutNow(id, t.where(id, to), q, r)
}

// where gives the address at which gossip sees a server, else the one that raft knows.
func (t *transport) where(id raft.ServerID, to raft.ServerAddress) raft.ServerAddress {
	for _, c := range t.config.Candidates() {
		if c.ID == string(id) && c.Addr != "" {
			return raft.ServerAddress(c.Addr)
		}
	}
	return to
}

// of gives what a follower acknowledged last.
func (t *transport) of(id raft.ServerID) (progress, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.progress[id]
	return p, ok
}

// keep forgets everyone but the servers given.
func (t *transport) keep(servers []raft.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := make(map[raft.ServerID]progress, len(servers))
	for _, s := range servers {
		if p, ok := t.progress[s.ID]; ok {
			kept[s.ID] = p
		}
	}
	t.progress = kept
}

// Close stops listening and closes every connection, accepted or dialled.
func (t *transport) Close() error {
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	return err
}

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// streamLayer is the stream as raft wants it. It owns the connections: Close closes them, because raft's handlers
// would otherwise wait for the peers to do so.
type streamLayer struct {
	stream Stream
	addr   address

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// Accept waits for a connection.
func (s *streamLayer) Accept() (net.Conn, error) { return s.own(s.stream.Accept()) }

// Dial connects to a peer.
func (s *streamLayer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.own(s.stream.Dial(string(to), timeout))
}

func (s *streamLayer) own(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	o := &ownedConn{Conn: c, layer: s}
	s.mu.Lock()
	if closed := s.closed; closed {
		s.mu.Unlock()
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	s.conns[o] = true
	s.mu.Unlock()
	return o, nil
}

// Close stops the stream and closes its connections.
func (s *streamLayer) Close() error {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = map[net.Conn]bool{}
	s.mu.Unlock()
	errs := []error{s.stream.Close()}
	for c := range conns {
		errs = append(errs, c.(*ownedConn).Conn.Close())
	}
	return errors.Join(errs...)
}

// Addr gives the advertised address: peers learn the leader's from it.
func (s *streamLayer) Addr() net.Addr { return s.addr }

type ownedConn struct {
	net.Conn
	layer *streamLayer
}

// Close closes the connection and gives it back.
func (c *ownedConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}
