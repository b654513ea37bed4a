// Package drivertest owns what tests of the driver and its duties need: a Raft of one node whose leadership the test
// turns on and off, and executors that do what the test says. It must not be used outside of tests.
package drivertest

import (
	"context"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

// Node is the raft id of the node that Raft is of.
const Node = "node-1"

// Raft is a driver.Raft of one node over a real state machine: what is proposed is applied at once.
type Raft struct {
	// Before is asked before each step: "barrier", or a command to be proposed. It may block until ctx ends, and its
	// error is the step's. Set it before the driver runs. May be nil.
	Before func(ctx context.Context, step any) error

	changes chan id.Leadership

	mu      sync.Mutex
	machine *fsm.Machine
	term    uint64
	leader  bool
	waiters []chan struct{}
	applied []fsm.Command
	fail    error // of every proposal
}

var _ driver.Raft = (*Raft)(nil)

// NewRaft makes one with an empty ledger that does not lead.
func NewRaft() *Raft { return &Raft{machine: fsm.New(), changes: make(chan id.Leadership, 1)} }

// Gain makes the node lead in a new term.
func (r *Raft) Gain() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.term++
	r.leader = true
	r.tell()
	return r.term
}

// Lose ends its leadership.
func (r *Raft) Lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.term++
	r.leader = false
	r.tell()
}

func (r *Raft) tell() {
	select {
	case <-r.changes:
	default:
	}
	r.changes <- id.Leadership{Leader: r.leader, Term: r.term}
}

// Leadership gives the latest change.
func (r *Raft) Leadership() <-chan id.Leadership { return r.changes }

// IsLeader reports whether the node leads in the term.
func (r *Raft) IsLeader(term uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leader && r.term == term
}

// Leader gives the node while it leads, and another one otherwise.
func (r *Raft) Leader() (node, addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leader {
		return Node, "127.0.0.1:1"
	}
	return "node-2", "127.0.0.1:2"
}

// Barrier has nothing to wait for.
func (r *Raft) Barrier(ctx context.Context) error { return r.before(ctx, "barrier") }

func (r *Raft) before(ctx context.Context, step any) error {
	if r.Before == nil {
		return nil
	}
	return r.Before(ctx, step)
}

// Propose applies the command if the node leads in the term.
func (r *Raft) Propose(ctx context.Context, term uint64, c fsm.Command) (fsm.Result, error) {
	if err := r.before(ctx, c); err != nil {
		return fsm.Result{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.leader || r.term != term {
		return fsm.Result{}, id.ErrNotLeader
	}
	if r.fail != nil {
		return fsm.Result{}, r.fail
	}
	return r.apply(term, c)
}

// Fail makes every proposal fail from here on; nil: none.
func (r *Raft) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Apply applies a command of any term, as if another node had proposed it. The Epoch command opens the term.
func (r *Raft) Apply(term uint64, c fsm.Command) (fsm.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.apply(term, c)
}

func (r *Raft) apply(term uint64, c fsm.Command) (fsm.Result, error) {
	data, err := fsm.Encode(term, c)
	if err != nil {
		return fsm.Result{}, fmt.Errorf("encode: %w", err)
	}
	results, err := r.machine.Apply(r.machine.View().Index()+1, data)
	if err != nil {
		return fsm.Result{}, fmt.Errorf("apply: %w", err)
	}
	r.applied = append(r.applied, c)
	for _, w := range r.waiters {
		close(w)
	}
	r.waiters = nil
	return results[0], nil
}

// Applied lists the commands applied so far, with those that were refused.
func (r *Raft) Applied() []fsm.Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]fsm.Command(nil), r.applied...)
}

// View gives the ledger.
func (r *Raft) View() fsm.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.machine.View()
}

// Changed is closed when the applied index is above after.
func (r *Raft) Changed(after uint64) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := make(chan struct{})
	if r.machine.View().Index() > after {
		close(c)
		return c
	}
	r.waiters = append(r.waiters, c)
	return c
}
