package raftnode

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/raftstream/raftstream/fsm"
)

// reading is a read that waits for the proof that its view was the newest.
type reading struct {
	term uint64
	done chan error // holds one
}

// Linearizable gives a view that contains everything that was acknowledged before the call. Only a leader can: it
// reads its view, then has a majority confirm that it still leads. The first read of a term waits for its barrier.
func (n *Node) Linearizable(ctx context.Context) (fsm.View, error) {
	term, leader := n.leading()
	if !leader {
		return fsm.View{}, n.notLeader()
	}
	if n.barriered.Load() < term {
		if err := n.Barrier(ctx); err != nil {
			return fsm.View{}, fmt.Errorf("read: %w", err)
		}
	}
	view := n.View() // before the confirmation: a later one could be asked about a leadership that the view is not of
	r := &reading{term: term, done: make(chan error, 1)}
	if err := n.ask(r); err != nil {
		return fsm.View{}, err
	}
	select {
	case err := <-r.done:
		if err != nil {
			return fsm.View{}, err
		}
		return view, nil
	case <-ctx.Done():
		return fsm.View{}, fmt.Errorf("read: %w", context.Cause(ctx))
	}
}

func (n *Node) ask(r *reading) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return n.notLeader()
	}
	select {
	case n.reads <- r: // never waits
		return nil
	default:
		return fmt.Errorf("%d reads wait already: %w", cap(n.reads), ErrOverloaded)
	}
}

// verify confirms the leadership to all reads that wait, with one round to the majority.
func (n *Node) verify() {
	for {
		var first *reading
		select {
		case first = <-n.reads:
		case <-n.stop:
			n.confirm(n.moreReads(nil), n.notLeader())
			return
		}
		waiting := n.moreReads([]*reading{first})
		var err error
		if !n.proves() {
			err = fmt.Errorf("read: %w", n.notLeader())
		}
		n.confirm(waiting, err)
	}
}

// proves reports whether a majority says that this node leads, asked after the call began. Raft alone counts every answer
// that comes after the call, non-voters' too: one that was under way before may be older than the next leader. Each
// follower has two such at most, of entries and of heartbeats, so that few turns are enough; without a majority this node
// steps down.
func (n *Node) proves() bool {
	term, leader := n.leading()
	round := n.transport.newRound()
	for leader {
		if n.raft.VerifyLeader().Error() != nil {
			return false
		}
		voters, agreed := 0, 0
		for _, s := range n.Configuration() {
			if !s.Voter {
				continue
			}
			voters++
			if s.ID == n.config.ID || n.transport.answered(raft.ServerID(s.ID), term, round) {
				agreed++
			}
		}
		if agreed > voters/2 {
			return true
		}
		leader = n.IsLeader(term)
	}
	return false
}

func (n *Node) moreReads(waiting []*reading) []*reading {
	for {
		select {
		case r := <-n.reads:
			waiting = append(waiting, r)
		default:
			return waiting
		}
	}
}

func (n *Node) confirm(waiting []*reading, err error) {
	for _, r := range waiting {
		if err == nil && !n.IsLeader(r.term) {
			r.done <- fmt.Errorf("read: %w", n.notLeader())
			continue
		}
		r.done <- err
	}
}
