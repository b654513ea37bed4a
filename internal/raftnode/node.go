package raftnode

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// Node is this process's member of the raft cluster. Its methods may be called from any goroutine.
type Node struct {
	config    Config
	log       *slog.Logger
	fatalOnce sync.Once
	opening   atomic.Bool // Open returns what is damaged, instead of ending the process

	disk      *guarded
	stable    *stable
	snapshots *snapshots
	transport *transport
	ledger    *ledger
	raft      *raft.Raft

	succession *succession
	running    atomic.Bool // raft is set, and reads may ask it

	notify     chan bool // raft's changes of leadership, drained by watch
	leadership chan id.Leadership
	barriered  atomic.Uint64 // highest term whose barrier has passed here

	queue    chan *proposal
	slots    chan struct{} // one for each entry given to raft and not answered
	inflight chan batch
	reads    chan *reading
	waiting  chan struct{} // one for each barrier and membership change that waits
	reserve  reserve

	mu      sync.RWMutex // guards closed: no proposal, read or wait begins after it is set
	closed  bool
	stop    chan struct{} // closed by Close, after closed is set
	stopped chan struct{} // closed when raft has stopped
	work    sync.WaitGroup
	watcher sync.WaitGroup
	counts  counters
}

// counters are of this process.
type counters struct{ commands, entries atomic.Uint64 }

// Open opens or creates the node's state and starts it. A node without state waits to be bootstrapped or to be added
// by a leader: see Bootstrap. What is damaged is a DamageError here.
func Open(c Config) (*Node, error) {
	c.setDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	n := &Node{
		config:     c,
		log:        c.Logger,
		notify:     make(chan bool, notifyCap),
		leadership: make(chan id.Leadership, 1),
		queue:      make(chan *proposal, c.QueueSize),
		slots:      make(chan struct{}, InFlight),
		inflight:   make(chan batch, InFlight),
		reads:      make(chan *reading, c.QueueSize),
		waiting:    make(chan struct{}, maxWaiting),
		succession: newSuccession(),
		stop:       make(chan struct{}),
		stopped:    make(chan struct{}),
	}
	n.opening.Store(true)
	if err := n.start(); err != nil {
		return nil, fmt.Errorf("open raft node %s: %w", c.ID, err)
	}
	n.opening.Store(false)
	n.running.Store(true)
	n.watcher.Go(n.watch)
	n.work.Go(n.commit)
	n.work.Go(n.complete)
	n.work.Go(n.verify)
	if c.Free != nil && c.ReserveBytes > 0 {
		n.checkDisk() // before anything is proposed
		n.work.Go(n.watchDisk)
	}
	return n, nil
}

// start opens what a node consists of, from the disk up; what it opened it closes when a later step fails.
func (n *Node) start() (err error) {
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; err != nil && i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	lowest, err := n.openDisk()
	if err != nil {
		return err
	}
	n.disk = newGuarded(lowest, n.config.file(), n.config.WriteDeadline, n.fatal)
	undo = append(undo, n.disk.Close)
	if n.snapshots, err = n.openSnapshots(); err != nil {
		return err
	}
	log := &checked{disk: n.disk, file: n.config.file(), fatal: n.fatal, snapshots: n.snapshots}
	if n.stable, err = n.verifyDisk(log); err != nil {
		return err
	}
	if stamp := n.config.StampState; stamp != nil && !n.config.HasState {
		if err := stamp(); err != nil {
			return err
		}
	}
	n.ledger = newLedger(n.fatal)
	n.ledger.witness = n.config.Applied
	entries := newCache(log, cacheBytes, cacheEntries)
	n.transport = newTransport(&n.config, n.voteAsked, n.follows,
		&known{applied: func() uint64 { return n.raft.AppliedIndex() }, voters: n.voters, log: entries, snapshots: n.snapshots})
	n.snapshots.late = n.late
	undo = append(undo, n.transport.Close)
	return n.startRaft(entries)
}

func (n *Node) openDisk() (disk, error) {
	if n.config.Disk != nil {
		return n.config.Disk, nil
	}
	if n.config.HasState { // else the file is made here
		info, err := os.Stat(n.config.file())
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
			return nil, forgotten(n.config.file(), n.config.ID)
		}
	}
	return openBolt(n.config.file())
}

func (n *Node) openSnapshots() (*snapshots, error) {
	if n.config.Disk != nil {
		return &snapshots{store: n.config.Disk.snapshots(), dir: "memory", fatal: n.fatal}, nil
	}
	return openSnapshots(n.config.Dir, newLogger(n.log), n.fatal)
}

// verifyDisk reads everything that raft may need: the newest snapshot, term and vote, and every entry. Entries must be
// without gap from the snapshot on, or from 1.
func (n *Node) verifyDisk(log *checked) (*stable, error) {
	snapshot, err := n.snapshots.verify()
	if err != nil {
		return nil, err
	}
	first, err := log.FirstIndex()
	if err != nil {
		return nil, damaged(n.config.file(), "%v", err)
	}
	last, err := log.LastIndex()
	if err != nil {
		return nil, damaged(n.config.file(), "%v", err)
	}
	s, err := openStable(n.disk, n.config.file(), n.config.ID, last == 0 && snapshot == 0, n.config.HasState)
	if err != nil {
		return nil, err
	}
	term, err := s.GetUint64([]byte("CurrentTerm"))
	if err != nil && !errors.Is(err, errNotFound) {
		return nil, err
	}
	return s, verifyEntries(log, first, last, snapshot, term)
}

func verifyEntries(log *checked, first, last, snapshot, term uint64) error {
	if last > 0 && first > snapshot+1 {
		return damaged(log.thing(snapshot+1), "is missing, the first one is %d", first)
	}
	lastTerm := uint64(0)
	for i := first; i <= last && last > 0; i++ {
		var e raft.Log
		err := log.read(i, &e)
		switch {
		case errors.Is(err, raft.ErrLogNotFound) && i <= snapshot:
			// A crash after a snapshot of the leader's was installed, before the entries it replaces were removed.
			continue
		case errors.Is(err, raft.ErrLogNotFound):
			return damaged(log.thing(i), "is missing, the last one is %d", last)
		case err != nil:
			return err
		case e.Term < lastTerm || e.Term > term:
			return damaged(log.thing(i), "is of term %d, expected %d to %d", e.Term, lastTerm, term)
		}
		lastTerm = e.Term
	}
	return nil
}

func (n *Node) startRaft(log raft.LogStore) error {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.config.ID)
	c.HeartbeatTimeout = n.config.HeartbeatTimeout
	c.ElectionTimeout = n.config.ElectionTimeout
	c.LeaderLeaseTimeout = n.config.LeaseTimeout
	c.CommitTimeout = n.config.CommitTimeout
	c.BatchApplyCh = true
	c.MaxAppendEntries = 512
	c.TrailingLogs = n.config.TrailingLogs
	c.SnapshotThreshold = n.config.SnapshotThreshold
	c.SnapshotInterval = n.config.SnapshotInterval
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	c.NotifyCh = n.notify
	c.Logger = newLogger(n.log)
	err := protect(func() (err error) {
		n.raft, err = raft.NewRaft(c, n.ledger, log, n.stable, n.snapshots, n.transport)
		return err
	})
	if n.ledger.stopped != nil {
		return n.ledger.stopped // more exact than raft's
	}
	if err != nil {
		return err
	}
	n.raft.RegisterObserver(raft.NewObserver(nil, false, n.succession.observe))
	if _, leader := n.raft.LeaderWithID(); leader != "" {
		n.succession.led(leader) // known before anybody observed
	}
	return nil
}

// follows reports whether this node follows a leader of the term.
func (n *Node) follows(term uint64) bool {
	return n.running.Load() && n.raft.State() == raft.Follower && n.raft.CurrentTerm() == term
}

// errLate says that a snapshot is older than what was applied.
var errLate = errors.New("it is older than what is applied here")

// late reports whether a snapshot that is about to be created is one of a leader's that ends before what is applied here.
// The transport answers such ones: this is for what was applied since it looked, or of a leader that was not followed yet,
// who sends it again.
func (n *Node) late(index uint64) bool {
	n.transport.mu.Lock()
	defer n.transport.mu.Unlock()
	return index == n.transport.offered && n.running.Load() && index < n.raft.AppliedIndex()
}

// fatal ends the process by way of Config.Fatal. While the node opens, the error is returned by Open instead.
func (n *Node) fatal(err error) error {
	if n.opening.Load() {
		return err
	}
	n.fatalOnce.Do(func() {
		n.log.Error("raft: this node must stop", "error", err)
		n.config.Fatal(err)
	})
	return err
}

// Close stops the node in order: proposals that wait are refused, entries in flight are answered, raft stops, files
// are closed. It takes at most about the write deadline and the lease timeout. Call it once its users have stopped;
// hand the leadership over before with Transfer.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		<-n.stopped
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	close(n.stop)
	n.work.Wait() // raft still runs: it answers everything it was given
	err := n.raft.Shutdown().Error()
	err = errors.Join(err, n.transport.Close())
	close(n.stopped)
	n.watcher.Wait()
	if err := errors.Join(err, n.disk.Close()); err != nil {
		return fmt.Errorf("close raft node: %w", err)
	}
	return nil
}

// View gives the ledger after the last entries applied here. It can be behind the leader's: see Linearizable.
func (n *Node) View() fsm.View { return n.ledger.current() }

// Changed gives a channel that is closed when the view's index is above after.
func (n *Node) Changed(after uint64) <-chan struct{} { return n.ledger.changed(after) }

// Missed gives the index up to which entries were committed while this node was not told, as when it was down, paused or
// cut off: it applies them late. What a view contains of them is known before the view is.
func (n *Node) Missed() uint64 {
	n.transport.mu.Lock()
	defer n.transport.mu.Unlock()
	return n.transport.missed
}

// Term is raft's current term.
func (n *Node) Term() uint64 { return n.raft.CurrentTerm() }

// IsLeader reports whether this node leads in the term, as far as it knows: another one may lead already.
func (n *Node) IsLeader(term uint64) bool {
	return n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term
}

// leading gives the term in which this node leads.
func (n *Node) leading() (uint64, bool) {
	term := n.raft.CurrentTerm()
	return term, n.IsLeader(term)
}

// Leader gives the leader's raft id and rpc address, both empty if none is known. It may be stale.
func (n *Node) Leader() (leader, addr string) {
	a, i := n.raft.LeaderWithID()
	return string(i), string(a)
}

// Standing gives raft's current term and the raft id of the leader of that very term, "" if none is known. It may be stale.
//
// Leader may name one of an older term: while raft stores a new term, as a voter or a candidate, a heartbeat of the leader
// of the old one is handled beside it, and raft names that leader until it hears of another.
func (n *Node) Standing() (term uint64, leader string) {
	for {
		term = n.Term()
		_, id := n.raft.LeaderWithID()
		knows := id != "" && n.transport.leads(id, term)
		if string(id) == n.config.ID {
			knows = n.IsLeader(term)
		}
		switch {
		case n.Term() != term:
			// It changed meanwhile.
		case knows:
			return term, string(id)
		default:
			return term, ""
		}
	}
}

func (n *Node) notLeader() error {
	leader, addr := n.Leader()
	if leader == n.config.ID {
		leader, addr = "", "" // deposed, or leading in another term than the one asked for
	}
	return &NotLeaderError{ID: leader, Addr: addr}
}

// HasState reports whether this node has taken part in a cluster: it has a term, a vote or entries. Gossip tells it to
// the others, so that no second cluster is bootstrapped.
func (n *Node) HasState() bool { return n.raft.CurrentTerm() > 0 || n.raft.LastIndex() > 0 }

// Stats are numbers for status, metrics and tests.
type Stats struct {
	State        string // follower, candidate, leader, shutdown
	Term         uint64
	LastIndex    uint64
	CommitIndex  uint64
	AppliedIndex uint64
	LastContact  time.Duration // since the leader was heard of; 0 on the leader, below 0 for never
	Queued       int           // proposals that wait for an entry
	InFlight     int           // entries given to raft and not answered
	Commands     uint64        // proposed by this process
	Entries      uint64        // that they made: Commands/Entries is what group commit saves
}

// Stats gives the numbers of this moment.
func (n *Node) Stats() Stats {
	s := Stats{
		State:        stateName(n.raft.State()),
		Term:         n.raft.CurrentTerm(),
		LastIndex:    n.raft.LastIndex(),
		CommitIndex:  n.raft.CommitIndex(),
		AppliedIndex: n.raft.AppliedIndex(),
		Queued:       len(n.queue),
		InFlight:     len(n.slots),
		Commands:     n.counts.commands.Load(),
		Entries:      n.counts.entries.Load(),
	}
	if at := n.raft.LastContact(); at.IsZero() {
		s.LastContact = -1
	} else if n.raft.State() != raft.Leader {
		s.LastContact = time.Since(at)
	}
	return s
}

func stateName(s raft.RaftState) string {
	switch s {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	case raft.Shutdown:
		return "shutdown"
	}
	return "follower"
}
