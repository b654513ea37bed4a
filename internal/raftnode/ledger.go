package raftnode

import (
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/failpoint"
)

// ledger is the state machine as raft drives it: one goroutine of raft's applies, snapshots and restores.
type ledger struct {
	machine *fsm.Machine
	fatal   func(error) error
	witness func(fsm.View, []byte, []fsm.Result) // Config.Applied; nil for none
	stopped error                                // set when an entry or a snapshot was unreadable: nothing is applied after it

	mu      sync.RWMutex
	view    fsm.View
	waiters map[uint64]chan struct{} // by index: closed when the view is above it. One entry per index asked for.
}

// applied is raft's answer to an entry.
type applied struct {
	results []fsm.Result
	err     error
}

func newLedger(fatal func(error) error) *ledger {
	m := fsm.New()
	return &ledger{machine: m, fatal: fatal, view: m.View(), waiters: map[uint64]chan struct{}{}}
}

// Apply applies one entry.
func (l *ledger) Apply(e *raft.Log) any { return l.ApplyBatch([]*raft.Log{e})[0] }

// ApplyBatch applies committed entries and then publishes one view of them all.
func (l *ledger) ApplyBatch(entries []*raft.Log) []any {
	answers := make([]any, len(entries))
	for i, e := range entries {
		if e.Type == raft.LogCommand {
			answers[i] = l.apply(e)
		}
	}
	failpoint.Hit(failpoint.LedgerApplied)
	l.publish()
	return answers
}

func (l *ledger) apply(e *raft.Log) applied {
	if l.stopped != nil {
		return applied{err: l.stopped}
	}
	results, err := l.machine.Apply(e.Index, e.Data)
	if err != nil {
		// An entry that cannot be read on one node only would make it differ from the others: it stops (rule 15).
		l.stopped = fmt.Errorf("apply entry %d: %w", e.Index, err)
		return applied{err: l.fatal(l.stopped)}
	}
	if l.witness != nil {
		l.witness(l.machine.View(), e.Data, results)
	}
	return applied{results: results}
}

func (l *ledger) publish() {
	v := l.machine.View()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view = v
	for after, c := range l.waiters {
		if after < v.Index() {
			close(c)
			delete(l.waiters, after)
		}
	}
}

func (l *ledger) current() fsm.View {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.view
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (l *ledger) changed(after uint64) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view.Index() > after {
		return closedChannel
	}
	c, ok := l.waiters[after]
	if !ok {
		c = make(chan struct{})
		l.waiters[after] = c
	}
	return c
}

// Snapshot takes the view; it is encoded elsewhere while entries go on being applied.
func (l *ledger) Snapshot() (raft.FSMSnapshot, error) {
	if l.stopped != nil {
		return nil, l.stopped
	}
	return ledgerSnapshot{l.machine.View()}, nil
}

// Restore replaces the state by a snapshot's. It is tried once: raft would go on with an older snapshot, which is not
// the state that this node promised to have.
func (l *ledger) Restore(r io.ReadCloser) error {
	if l.stopped != nil {
		return l.stopped
	}
	failpoint.Hit(failpoint.SnapshotRestore)
	if err := l.machine.Restore(r); err != nil {
		l.stopped = damaged("snapshot", "%v", err)
		return l.fatal(l.stopped)
	}
	l.publish()
	if l.witness != nil {
		l.witness(l.machine.View(), nil, nil)
	}
	return nil
}

type ledgerSnapshot struct{ view fsm.View }

// Persist writes the snapshot; raft closes or cancels the sink.
func (s ledgerSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.view.WriteSnapshot(sink); err != nil {
		return fmt.Errorf("write snapshot of index %d: %w", s.view.Index(), err)
	}
	return nil
}

// Release has nothing to give back.
func (ledgerSnapshot) Release() {}
