package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raftstream/raftstream/internal/id"
)

// TransferLimit bounds Transfer: whoever hands over is about to end and does so anyway.
const TransferLimit = 2 * time.Second

// Leadership gives changes of this node's leadership. A change that nobody took is replaced by a later one, so that
// {true, 5} may be followed by {true, 7}: the leadership of term 5 is over. It is closed by Close. One goroutine reads.
func (n *Node) Leadership() <-chan id.Leadership { return n.leadership }

// watch drains what raft notifies: raft's main loop waits for it. Each notification is only a reason to look at the
// present truth, so that a loss and a gain that are over already are not reported as what they were.
func (n *Node) watch() {
	defer close(n.leadership)
	var told id.Leadership
	for {
		select {
		case <-n.notify:
			now := id.Leadership{}
			if term, leader := n.leading(); leader {
				now = id.Leadership{Leader: true, Term: term}
			} else if told.Leader {
				now.Term = told.Term // that is over
			}
			if now != told && (now.Leader || told.Leader) {
				n.tell(now)
				told = now
			}
		case <-n.stopped:
			if told.Leader {
				n.tell(id.Leadership{Term: told.Term})
			}
			return
		}
	}
}

// tell replaces what was not taken. Only watch sends, so the second send finds room.
func (n *Node) tell(l id.Leadership) {
	select {
	case <-n.leadership:
	default:
	}
	n.leadership <- l
}

// Barrier returns when every entry committed before it is applied here. Only a leader's succeeds.
func (n *Node) Barrier(ctx context.Context) error {
	term, leader := n.leading()
	if !leader {
		return n.notLeader()
	}
	if err := n.await(ctx, "barrier", func() raft.Future { return n.raft.Barrier(0) }); err != nil {
		return err
	}
	if !n.IsLeader(term) {
		return n.notLeader()
	}
	for seen := n.barriered.Load(); seen < term; seen = n.barriered.Load() {
		n.barriered.CompareAndSwap(seen, term)
	}
	return nil
}

// Transfer hands the leadership to the follower that is most up to date of those that answer, within TransferLimit.
// Proposals that come meanwhile get ErrNotLeader. Stop proposing first: entries in flight can make it fail.
func (n *Node) Transfer(ctx context.Context) error {
	if _, leader := n.leading(); !leader {
		return n.notLeader()
	}
	if s, ok := n.heir(); ok {
		return n.transfer(ctx, s)
	}
	ctx, cancel := context.WithTimeout(ctx, TransferLimit)
	defer cancel()
	return n.await(ctx, "transfer leadership", n.raft.LeadershipTransfer)
}

// heir gives the voter that has acknowledged most, of those that have lately acknowledged anything: raft's own choice
// may fall on a process that is paused. False: nobody has, as right after an election.
func (n *Node) heir() (best Server, ok bool) {
	match := uint64(0)
	for _, s := range n.Configuration() {
		p, known := n.transport.of(raft.ServerID(s.ID))
		if s.Voter && s.ID != n.config.ID && known && time.Since(p.at) < recent && p.match > match {
			best, match, ok = s, p.match, true
		}
	}
	return best, ok
}

// TransferTo hands the leadership to the voter named, as Transfer does; "" is the one that is most up to date. To a
// server that has not acknowledged anything lately nothing is handed over: nobody could propose until that has failed.
func (n *Node) TransferTo(ctx context.Context, server string) error {
	if server == "" {
		return n.Transfer(ctx)
	}
	if _, leader := n.leading(); !leader {
		return n.notLeader()
	}
	if server == n.config.ID {
		return nil
	}
	servers := n.Configuration()
	i := slices.IndexFunc(servers, func(s Server) bool { return s.ID == server && s.Voter })
	if i < 0 {
		return fmt.Errorf("transfer leadership to %s: %w", server, ErrNoVoter)
	}
	if p, ok := n.transport.of(raft.ServerID(server)); ok && time.Since(p.at) >= recent {
		return fmt.Errorf("transfer leadership to %s: %w for %v", server, ErrSilent, time.Since(p.at).Round(time.Millisecond))
	}
	return n.transfer(ctx, servers[i])
}

func (n *Node) transfer(ctx context.Context, to Server) error {
	ctx, cancel := context.WithTimeout(ctx, TransferLimit)
	defer cancel()
	return n.await(ctx, "transfer leadership to "+to.ID, func() raft.Future {
		return n.raft.LeadershipTransferToServer(raft.ServerID(to.ID), raft.ServerAddress(to.Addr))
	})
}

// await waits for one of raft's answers, at most until ctx ends: what was asked for may still happen then. Raft answers
// as long as it runs, and Close waits for the answers before it stops raft.
func (n *Node) await(ctx context.Context, operation string, ask func() raft.Future) error {
	answer := make(chan error, 1)
	n.mu.RLock()
	if n.closed {
		n.mu.RUnlock()
		return fmt.Errorf("%s: %w", operation, ErrClosed)
	}
	select {
	case n.waiting <- struct{}{}:
	default:
		n.mu.RUnlock()
		return fmt.Errorf("%s: %d others wait already: %w", operation, maxWaiting, ErrOverloaded)
	}
	n.work.Go(func() {
		answer <- ask().Error()
		<-n.waiting
	})
	n.mu.RUnlock()
	select {
	case err := <-answer:
		return n.fromRaft(operation, err)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: %w", operation, ErrUnknown, context.Cause(ctx))
	}
}

// fromRaft translates an error of raft's. Only ErrNotLeader and a transfer in progress mean that nothing was begun:
// ErrLeadershipLost in particular leaves open whether the entry survives.
func (n *Node) fromRaft(operation string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%s: %w", operation, n.notLeader())
	}
	return fmt.Errorf("%s: %w: %w", operation, ErrUnknown, err)
}
