package raftnode

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/failpoint"
)

// proposal is a command that waits for its entry.
type proposal struct {
	term   uint64
	kind   fsm.Kind
	grants bool   // an entry holds at most one such command of each kind: see fsm.Grants
	part   []byte // of an entry: the encoded command
	done   chan outcome
}

// outcome is sent once to every proposal; done holds one, so that nobody waits for who gave up.
type outcome struct {
	result fsm.Result
	err    error
}

// batch is an entry that was given to raft.
type batch struct {
	proposals []*proposal
	future    raft.ApplyFuture
}

// Propose proposes a command in a term in which this node leads and returns when it is applied here. Commands that
// come together become one entry (group commit).
//
// ErrNotLeader, ErrOverloaded and ErrTooLarge mean that the command was not proposed. ErrUnknown, also at the end of
// ctx, means that it may take effect, now or later: repeat it under the same natural key.
func (n *Node) Propose(ctx context.Context, term uint64, c fsm.Command) (fsm.Result, error) {
	if !n.IsLeader(term) {
		return fsm.Result{}, n.notLeader()
	}
	if short := n.reserve.short.Load(); short != nil {
		return fsm.Result{}, fmt.Errorf("propose command of kind %d: %w", c.Kind(), short)
	}
	part, err := fsm.EncodeCommand(term, c) // here, so that callers share the work
	if err != nil {
		return fsm.Result{}, fmt.Errorf("propose command of kind %d: %w", c.Kind(), err)
	}
	if len(part) > MaxCommand {
		return fsm.Result{}, fmt.Errorf("propose command of kind %d: %d bytes, at most %d are allowed: %w",
			c.Kind(), len(part), MaxCommand, ErrTooLarge)
	}
	p := &proposal{term: term, kind: c.Kind(), grants: fsm.Grants(c), part: part, done: make(chan outcome, 1)}
	if err := n.enqueue(p); err != nil {
		return fsm.Result{}, err
	}
	select {
	case o := <-p.done:
		return o.result, o.err
	case <-ctx.Done():
		return fsm.Result{}, fmt.Errorf("propose command of kind %d: %w: %w", c.Kind(), ErrUnknown, context.Cause(ctx))
	}
}

func (n *Node) enqueue(p *proposal) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return n.notLeader()
	}
	select {
	case n.queue <- p: // never waits
		return nil
	default:
		return fmt.Errorf("%d proposals wait already: %w", cap(n.queue), ErrOverloaded)
	}
}

// commit is the group commit: it takes what waits, makes an entry of it and gives it to raft. There is no delay on
// purpose: while entries are in flight, the next one collects.
func (n *Node) commit() {
	defer close(n.inflight)
	var held *proposal // taken from the queue, for the next entry
	for {
		select {
		case n.slots <- struct{}{}:
		case <-n.stop:
			n.refuseQueued(held)
			return
		}
		first := held
		if first == nil {
			select {
			case first = <-n.queue:
			case <-n.stop:
				n.refuseQueued(nil)
				return
			}
		}
		var proposals []*proposal
		proposals, held = n.gather(first)
		if !n.submit(proposals) {
			<-n.slots
		}
	}
}

// gather adds to first what waits, of the same term and within the limits of an entry.
func (n *Node) gather(first *proposal) (proposals []*proposal, held *proposal) {
	proposals = []*proposal{first}
	bytes := len(first.part)
	granted := map[fsm.Kind]bool{first.kind: first.grants}
	for len(proposals) < MaxBatch {
		select {
		case p := <-n.queue:
			if p.term != first.term || bytes+len(p.part) > MaxBatchBytes || granted[p.kind] {
				return proposals, p
			}
			granted[p.kind] = p.grants
			proposals = append(proposals, p)
			bytes += len(p.part)
		default:
			return proposals, nil
		}
	}
	return proposals, nil
}

// submit gives an entry to raft, which answers in order. False: nothing was given.
func (n *Node) submit(proposals []*proposal) bool {
	term := proposals[0].term
	if !n.IsLeader(term) {
		finish(proposals, outcome{err: n.notLeader()})
		return false
	}
	parts := make([][]byte, len(proposals))
	for i, p := range proposals {
		parts[i] = p.part
	}
	failpoint.Hit(failpoint.LedgerPropose)
	n.counts.entries.Add(1)
	n.counts.commands.Add(uint64(len(proposals)))
	// At most InFlight entries are in raft's queue, which holds 512: Apply does not wait.
	n.inflight <- batch{proposals: proposals, future: n.raft.Apply(fsm.JoinCommands(parts...), 0)}
	failpoint.Hit(failpoint.LedgerProposed)
	return true
}

// complete answers proposals in the order of their entries.
func (n *Node) complete() {
	for b := range n.inflight {
		n.answer(b)
		<-n.slots
	}
}

func (n *Node) answer(b batch) {
	if err := b.future.Error(); err != nil {
		finish(b.proposals, outcome{err: n.fromRaft("propose", err)})
		return
	}
	a, ok := b.future.Response().(applied)
	switch {
	case !ok:
		a.err = fmt.Errorf("the state machine answered %T", b.future.Response())
	case a.err == nil && len(a.results) != len(b.proposals):
		a.err = fmt.Errorf("the state machine answered %d of %d commands", len(a.results), len(b.proposals))
	}
	if a.err != nil {
		finish(b.proposals, outcome{err: fmt.Errorf("propose: %w: %w", ErrUnknown, a.err)})
		return
	}
	for i, p := range b.proposals {
		p.done <- outcome{result: a.results[i]}
	}
}

// refuseQueued answers what was never given to raft. Nothing is queued any more when stop is closed.
func (n *Node) refuseQueued(held *proposal) {
	if held != nil {
		finish([]*proposal{held}, outcome{err: n.notLeader()})
	}
	for {
		select {
		case p := <-n.queue:
			finish([]*proposal{p}, outcome{err: n.notLeader()})
		default:
			return
		}
	}
}

func finish(proposals []*proposal, o outcome) {
	for _, p := range proposals {
		p.done <- o
	}
}
