package raftnode

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/raftstream/raftstream/fsm"
)

// Limits of a node.
const (
	// QueueSize is how many proposals wait for an entry; more get ErrOverloaded.
	QueueSize = 8192
	// MaxBatch and MaxBatchBytes bound the commands of one entry. A larger single command has an entry of its own.
	MaxBatch      = 256
	MaxBatchBytes = 64 << 10
	// MaxCommand is the most bytes that one encoded command may have: a larger entry would hold up all others.
	MaxCommand = 1 << 20
	// InFlight is how many entries are given to raft before the first one is answered.
	InFlight = 4
	// MaxVoters is how many voters the membership loop makes; more drivers stay non-voters.
	MaxVoters = 9

	cacheBytes   = 64 << 20
	cacheEntries = 8192
	notifyCap    = 64 // changes of leadership that raft may report before the drainer runs
	maxWaiting   = 64 // barriers and membership changes that wait at a time
)

// Stream carries raft's connections: the shared rpc port in production, MemoryNetwork in tests.
type Stream interface {
	Accept() (net.Conn, error)
	Close() error
	Addr() net.Addr
	Dial(addr string, timeout time.Duration) (net.Conn, error)
}

// Config is what a node is opened with. Zero durations and numbers mean the defaults.
type Config struct {
	Dir    string // holds raft.db and snapshots/; nobody else writes there
	ID     string // of the data directory: raft's server id
	Name   string // for people
	Addr   string // advertised rpc address, host:port
	Expect int    // drivers to bootstrap a new cluster with; 0: never bootstrap, only join
	// Cluster is the cluster id stamped into the data directory, "" for none. Candidates of others are ignored.
	Cluster string
	Stream  Stream
	// HasState says that raft's state was made in Dir before: if it is missing now, Open refuses, because the node would
	// vote a second time under its id (rule 2). StampState makes HasState true from the next start on, durably. It is
	// called by Open when the first state is synced and nothing can have been voted yet; nil: nothing is recorded.
	HasState   bool
	StampState func() error

	HeartbeatTimeout time.Duration // 500 ms
	ElectionTimeout  time.Duration // 500 ms
	LeaseTimeout     time.Duration // 500 ms: nothing is decided by the lease alone, and a leader on a busy machine is silent for longer than half of it
	CommitTimeout    time.Duration // 50 ms
	WriteDeadline    time.Duration // 5 s: a write that takes longer is a failed disk

	SnapshotThreshold uint64        // 8192 entries
	SnapshotInterval  time.Duration // 60 s
	TrailingLogs      uint64        // 10240 entries
	QueueSize         int           // QueueSize

	// Free gives the bytes left on the disk of Dir. With less than ReserveBytes of them this node proposes nothing
	// (rule 10). nil: there is no reserve.
	Free         func() (uint64, error)
	ReserveBytes uint64

	// Candidates lists the drivers that gossip sees alive, with or without this node. It must not block.
	Candidates func() []Candidate
	// CandidatesChanged is closed at their next change; nil: they are looked at every half second.
	CandidatesChanged func() <-chan struct{}

	Logger *slog.Logger
	// Fatal is told of a failed write or of unreadable data, at most once, and must end the process without calling
	// the Node: the goroutine that found it is raft's. If it returns, the operation fails and raft may panic.
	Fatal func(error)

	// Applied is told, for tests, of every entry that was applied here: its data, what it answered and the ledger after
	// it; and of every snapshot that took its place, without data. It runs on the goroutine that applies. nil: nobody is.
	Applied func(v fsm.View, data []byte, results []fsm.Result)
	// Disk keeps everything in memory instead of in Dir, for tests. It survives Close.
	Disk *MemoryDisk
}

func (c *Config) setDefaults() {
	setDefault(&c.HeartbeatTimeout, 500*time.Millisecond)
	setDefault(&c.ElectionTimeout, 500*time.Millisecond)
	setDefault(&c.LeaseTimeout, 500*time.Millisecond)
	setDefault(&c.CommitTimeout, 50*time.Millisecond)
	setDefault(&c.WriteDeadline, 5*time.Second)
	setDefault(&c.SnapshotThreshold, 8192)
	setDefault(&c.SnapshotInterval, time.Minute)
	setDefault(&c.TrailingLogs, 10240)
	setDefault(&c.QueueSize, QueueSize)
	if c.Candidates == nil {
		c.Candidates = func() []Candidate { return nil }
	}
	if c.CandidatesChanged == nil {
		c.CandidatesChanged = func() <-chan struct{} { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](at *T, value T) {
	var zero T
	if *at == zero {
		*at = value
	}
}

func (c *Config) check() error {
	switch {
	case c.ID == "":
		return errors.New("raft: the node's id is empty")
	case c.Addr == "":
		return errors.New("raft: the advertised address is empty, expected host:port")
	case c.Dir == "" && c.Disk == nil:
		return errors.New("raft: no directory is given")
	case c.Stream == nil:
		return errors.New("raft: no stream layer is given")
	case c.Fatal == nil:
		return errors.New("raft: no function for fatal errors is given")
	case c.Expect < 0:
		return fmt.Errorf("raft: bootstrap-expect is %d, expected 0 or more", c.Expect)
	case c.QueueSize < 1:
		return fmt.Errorf("raft: queue size is %d, expected 1 or more", c.QueueSize)
	case c.LeaseTimeout > c.HeartbeatTimeout:
		return fmt.Errorf("raft: lease timeout %v is above heartbeat timeout %v", c.LeaseTimeout, c.HeartbeatTimeout)
	case c.ElectionTimeout < c.HeartbeatTimeout:
		return fmt.Errorf("raft: election timeout %v is below heartbeat timeout %v", c.ElectionTimeout, c.HeartbeatTimeout)
	}
	return nil
}

func (c *Config) file() string { return filepath.Join(c.Dir, "raft.db") }
