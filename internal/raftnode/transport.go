package raftnode

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
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
	// voteAgain is the pause in between: a server that refuses connections meant for another one is not asked in a loop.
	voteAgain = 5 * time.Millisecond
)

// transport is raft's network transport with eight differences. A connection names the server that it is for, and another
// one that listens at the same address refuses it: raft's messages name only their sender, so that a node that was wiped
// would vote and acknowledge entries in the name of the voter that it was (rule 2). A peer is called where gossip sees it now, else where
// raft's configuration has it: raft's own way to ask for addresses warns at every call to a peer that is away. A vote request that meets a pooled connection to a
// peer restarted since is repeated at once: it would otherwise cost an election timeout. Entries are never pipelined,
// which avoids a known wedge of the library and costs nothing measurable. What followers acknowledge is
// remembered, so that the membership loop knows who has caught up. And what others ask of raft passes through a hand of
// ours, so that the succession sees vote requests and can put in a word of its own; only heartbeats that change nothing
// pass beside it. That hand also answers or mends what raft would take amiss: see known.
type transport struct {
	*raft.NetworkTransport
	config  *Config
	follows func(term uint64) bool // whether this server follows a leader of the term
	known   *known

	handed  chan raft.RPC // to raft's main loop; nobody closes it
	stop    chan struct{} // closed by Close
	workers sync.WaitGroup

	mu       sync.Mutex
	progress map[raft.ServerID]progress
	answers  map[raft.ServerID]answer
	round    uint64    // of proofs of the leadership, see newRound
	closed   bool      // no worker begins any more
	heard    time.Time // a leader's last word on what is committed
	back     time.Time // the first one after a silence
	missed   uint64    // see Node.Missed
	leader   authority // the newest that was heard of
	offered  uint64    // the index of the snapshot that was handed to raft last
}

// progress is what a follower acknowledged last.
type progress struct {
	match uint64
	at    time.Time
}

// answer is the last word of a follower that this server leads.
type answer struct {
	term  uint64
	round uint64 // in which it was asked for
}

// newTransport makes a transport; voteAsked is told of every request for a vote, after raft got it. For follows see the
// transport.
func newTransport(c *Config, voteAsked func(*raft.RequestVoteRequest), follows func(uint64) bool, k *known) *transport {
	layer := &streamLayer{stream: c.Stream, self: c.ID, addr: address(c.Addr), conns: map[net.Conn]bool{}}
	t := &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Logger:          newLogger(c.Logger).ResetNamed("raft-net"),
			Stream:          layer,
			MaxPool:         transportPool,
			MaxRPCsInFlight: 1,
			Timeout:         transportTimeout,
		}),
		config:   c,
		follows:  follows,
		known:    k,
		handed:   make(chan raft.RPC),
		stop:     make(chan struct{}),
		progress: map[raft.ServerID]progress{},
		answers:  map[raft.ServerID]answer{},
	}
	t.workers.Go(func() { t.forward(voteAsked) })
	return t
}

// SetHeartbeatHandler takes raft's handler of heartbeats, which runs beside raft's main loop. It is for those of the
// leader that this node follows already, which change nothing. Others store a term, which main may be doing too: the
// older of the two could be the last one, and the node would vote a second time in the newer. They go the way of
// everything else. What is left is a heartbeat that meets the very moment in which this node stands for election: then
// the term that comes back is the one before its own, in which it has voted for nobody else.
func (t *transport) SetHeartbeatHandler(fast func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if q, ok := rpc.Command.(*raft.AppendEntriesRequest); ok && t.follows(q.Term) {
			fast(rpc)
			return
		}
		select {
		case t.handed <- rpc:
		case <-t.stop:
		}
	})
}

// Consumer gives what others ask of raft, but for heartbeats.
func (t *transport) Consumer() <-chan raft.RPC { return t.handed }

// forward hands on what others ask, in order, until Close.
func (t *transport) forward(voteAsked func(*raft.RequestVoteRequest)) {
	for {
		var rpc raft.RPC
		select {
		case rpc = <-t.NetworkTransport.Consumer():
		case <-t.stop:
			return
		}
		t.note(rpc.Command)
		if t.settle(rpc) {
			continue
		}
		select {
		case t.handed <- rpc:
		case <-t.stop:
			return
		}
		if q, ok := rpc.Command.(*raft.RequestVoteRequest); ok {
			voteAsked(q)
		}
	}
}

// settle answers what needs nothing of raft, and mends what raft would take amiss. It reports whether it answered.
func (t *transport) settle(rpc raft.RPC) bool {
	switch q := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		t.known.trim(q)
	case *raft.InstallSnapshotRequest:
		if !t.follows(q.Term) || !t.known.has(q.LastLogIndex, q.LastLogTerm) {
			t.mu.Lock()
			t.offered = q.LastLogIndex
			t.mu.Unlock()
			return false
		}
		t.workers.Go(func() { // reading may take as long as the leader's connection lives, which Close ends
			_, err := io.Copy(io.Discard, rpc.Reader)
			rpc.Respond(&raft.InstallSnapshotResponse{Term: q.Term, Success: err == nil}, err)
		})
		return true
	case *raft.RequestVoteRequest:
		q.LastLogIndex, q.LastLogTerm = t.known.compare(q.LastLogIndex, q.LastLogTerm)
		q.ID = t.known.candidate(q.ID, q.LastLogIndex, q.LastLogTerm)
	case *raft.RequestPreVoteRequest:
		q.LastLogIndex, q.LastLogTerm = t.known.compare(q.LastLogIndex, q.LastLogTerm)
		q.ID = t.known.candidate(q.ID, q.LastLogIndex, q.LastLogTerm)
	}
	return false
}

// note sees what was committed while nobody told this node. Idle leaders tell it every CommitTimeout or so.
func (t *transport) note(command any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch q := command.(type) {
	case *raft.AppendEntriesRequest:
		t.leader.hear(q.Term, q.ID)
		now := time.Now()
		if now.Sub(t.heard) > recent {
			t.back = now
		}
		if t.heard = now; now.Sub(t.back) < recent { // the first ones may be old: a paused process finds them in its sockets
			t.missed = max(t.missed, q.LeaderCommitIndex)
		}
	case *raft.InstallSnapshotRequest:
		t.leader.hear(q.Term, q.ID)
		t.missed = max(t.missed, q.LastLogIndex)
	}
}

// authority is a leader and its term.
type authority struct {
	term uint64
	id   raft.ServerID
}

// hear takes what leads in a newer term.
func (a *authority) hear(term uint64, id []byte) {
	if term > a.term {
		*a = authority{term, raft.ServerID(id)}
	}
}

// leads reports whether the newest leader that was heard of is this one, in this term.
func (t *transport) leads(id raft.ServerID, term uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leader == authority{term, id}
}

// again repeats an idempotent request while connections turn out to be stale.
func again(request func() error) error {
	end := time.Now().Add(voteRetry)
	for {
		err := request()
		if err == nil || !stale(err) || time.Now().After(end) {
			return err
		}
		<-time.After(voteAgain) // on one of raft's goroutines for votes, which has nothing else to do
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

// AppendEntries sends entries and remembers what the follower holds, and in which round it was asked.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest,
	r *raft.AppendEntriesResponse,
) error {
	t.mu.Lock()
	round := t.round
	t.mu.Unlock()
	err := t.NetworkTransport.AppendEntries(id, t.where(id, to), q, r)
	if err != nil || !r.Success {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.answers[id]; q.Term > old.term || q.Term == old.term && round > old.round {
		t.answers[id] = answer{q.Term, round}
	}
	if match := q.PrevLogEntry + uint64(len(q.Entries)); match > 0 {
		t.progress[id] = progress{match, time.Now()}
	}
	return nil
}

// newRound begins a proof of the leadership: what is asked from now on is of this round or a later one.
func (t *transport) newRound() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.round++
	return t.round
}

// answered reports whether a server was asked in a round or later whether this one leads in a term, and said so.
func (t *transport) answered(id raft.ServerID, term, round uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.answers[id]
	return a.term == term && a.round >= round
}

// InstallSnapshot sends a snapshot.
func (t *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest,
	r *raft.InstallSnapshotResponse, data io.Reader,
) error {
	return t.NetworkTransport.InstallSnapshot(id, t.where(id, to), q, r, data)
}

// TimeoutNow lets a follower stand for election at once. Raft takes no proposals until it returns, which is after an
// election timeout at most: a process that is paused answers nothing.
func (t *transport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, q *raft.TimeoutNowRequest,
	r *raft.TimeoutNowResponse,
) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return raft.ErrTransportShutdown
	}
	answer, late := make(chan error, 1), &raft.TimeoutNowResponse{}
	t.workers.Go(func() { answer <- t.NetworkTransport.TimeoutNow(id, t.where(id, to), q, late) })
	t.mu.Unlock()
	limit := time.NewTimer(t.config.ElectionTimeout)
	defer limit.Stop()
	select {
	case err := <-answer:
		*r = *late
		return err
	case <-limit.C:
		return fmt.Errorf("tell server %s to stand for election: %w within %v", id, ErrSilent, t.config.ElectionTimeout)
	}
}

// where gives the address at which gossip sees a server, else the one that raft knows, behind the server's id: raft keeps
// connections by this name, so that one is never used for another server.
func (t *transport) where(id raft.ServerID, to raft.ServerAddress) raft.ServerAddress {
	for _, c := range t.config.Candidates() {
		if c.ID == string(id) && c.Addr != "" {
			to = raft.ServerAddress(c.Addr)
		}
	}
	return raft.ServerAddress(id) + "@" + to
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
	gone := func(id raft.ServerID) bool {
		return !slices.ContainsFunc(servers, func(s raft.Server) bool { return s.ID == id })
	}
	maps.DeleteFunc(t.progress, func(id raft.ServerID, _ progress) bool { return gone(id) })
	maps.DeleteFunc(t.answers, func(id raft.ServerID, _ answer) bool { return gone(id) })
}

// Close stops listening and closes every connection, accepted or dialled.
func (t *transport) Close() error {
	t.mu.Lock()
	if !t.closed {
		close(t.stop)
	}
	t.closed = true
	t.mu.Unlock()
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	t.workers.Wait()
	return err
}

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// streamLayer is the stream as raft wants it. It owns the connections: Close closes them, because raft's handlers
// would otherwise wait for the peers to do so.
type streamLayer struct {
	stream Stream
	self   string // this server's id
	addr   address

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// Accept waits for a connection. Whom it is for is read with its first byte, by raft's goroutine of the connection.
func (s *streamLayer) Accept() (net.Conn, error) {
	c, err := s.stream.Accept()
	return s.own(c, err, true)
}

var errUnnamed = errors.New("the connection is for no server")

// Dial connects to a server, named as where does, and says for whom the connection is: the length of the id in a byte,
// and the id.
func (s *streamLayer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	server, addr, ok := strings.Cut(string(to), "@")
	if !ok || server == "" || len(server) > 255 {
		return nil, fmt.Errorf("dial %s: %w", to, errUnnamed)
	}
	c, err := s.stream.Dial(addr, timeout)
	if err != nil {
		return nil, err
	}
	err = c.SetWriteDeadline(time.Now().Add(timeout))
	if err == nil {
		_, err = c.Write(append([]byte{byte(len(server))}, server...))
	}
	if err == nil {
		err = c.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("greet server %s at %s: %w", server, addr, err), c.Close())
	}
	return s.own(c, nil, false)
}

// own takes a connection; one that was accepted must say that it is for this server.
func (s *streamLayer) own(c net.Conn, err error, accepted bool) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	o := &ownedConn{Conn: c, layer: s, unnamed: accepted}
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
	layer   *streamLayer
	unnamed bool // it has not said yet for whom it is; only the one goroutine that reads looks
}

// Read reads, after it has checked for whom the connection is.
func (c *ownedConn) Read(b []byte) (int, error) {
	if c.unnamed {
		if err := c.greeted(); err != nil {
			return 0, err
		}
		c.unnamed = false
	}
	return c.Conn.Read(b)
}

func (c *ownedConn) greeted() error {
	if err := c.SetReadDeadline(time.Now().Add(transportTimeout)); err != nil {
		return err
	}
	var length [1]byte
	if _, err := io.ReadFull(c.Conn, length[:]); err != nil {
		return err
	}
	server := make([]byte, length[0])
	if _, err := io.ReadFull(c.Conn, server); err != nil {
		return err
	}
	if string(server) != c.layer.self {
		return fmt.Errorf("the connection is for server %q, this is %s (rule 2)", server, c.layer.self)
	}
	return c.SetReadDeadline(time.Time{})
}

// Close closes the connection and gives it back.
func (c *ownedConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}
