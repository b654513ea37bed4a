package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// membership hands leadership over and asks who leads and who is there, at whoever leads and at every single node.
type membership struct{}

const (
	membersOp   = "members"
	transferOp  = "transfer"
	convergedOp = "converged" // the last answers, of every node

	membersPace   = 100 * time.Millisecond
	transferEvery = 7 * time.Second
)

// memberList is the value of operation members.
type memberList struct {
	Stale   bool        `json:"stale,omitempty"`
	Term    uint64      `json:"term"`
	Leader  string      `json:"leader,omitempty"`
	Members []memberRow `json:"members"`
}

// memberRow is a node.
type memberRow struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Status string `json:"status"`
	Raft   string `json:"raft"`
}

func (membership) Name() string { return "membership" }

func (membership) Start(context.Context, *Env) error { return nil }

func (w membership) Run(ctx context.Context, e *Env) error {
	errs := make([]error, len(e.Nodes)+2)
	var work sync.WaitGroup
	for i, node := range append(slices.Clone(e.Nodes), "") {
		work.Go(func() { errs[i] = w.watch(ctx, e, node) })
	}
	work.Go(func() { errs[len(e.Nodes)+1] = w.transfers(ctx, e) })
	work.Wait()
	return errors.Join(errs...)
}

func (w membership) dial(e *Env, node string) (*client.Client, error) {
	if node == "" {
		return e.Client()
	}
	return e.At(node)
}

// watch asks one node for its own view, or whoever leads, until ctx ends.
func (w membership) watch(ctx context.Context, e *Env, node string) error {
	c, err := w.dial(e, node)
	if err != nil {
		return err
	}
	defer c.Close()
	a := newActor(e, w.Name(), node)
	every(ctx, membersPace, func() {
		op, cancel := operation(ctx)
		if node != "" {
			cancel()
			op, cancel = context.WithTimeout(ctx, time.Second)
		}
		defer cancel()
		_, _ = w.ask(op, c, a, membersOp, node != "") // how it ended is in the history
	})
	return nil
}

func (membership) ask(ctx context.Context, c *client.Client, a *actor, f string, stale bool) (memberList, error) {
	list := memberList{Stale: stale}
	err := a.read(f, list, func() (reply, error) {
		r, err := c.ListMembers(ctx, &raftstreamv1.ListMembersRequest{Stale: stale})
		list.Term, list.Leader = r.GetTerm(), r.GetLeader()
		for _, m := range r.GetMembers() {
			list.Members = append(list.Members, memberRow{Name: m.GetName(), ID: m.GetId(), Status: m.GetStatus().String(), Raft: m.GetRaft().String()})
		}
		slices.SortFunc(list.Members, func(a, b memberRow) int { return cmp.Compare(a.ID, b.ID) })
		return reply{value: list, term: list.Term}, err
	})
	return list, err
}

// transfers hands leadership over now and then, to whoever is most suitable.
func (w membership) transfers(ctx context.Context, e *Env) error {
	c, err := e.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	a := newActor(e, w.Name(), "")
	every(ctx, transferEvery, func() {
		op, cancel := operation(ctx)
		defer cancel()
		_ = a.change(transferOp, nil, func() (reply, error) {
			_, err := c.TransferLeadership(op, &raftstreamv1.TransferLeadershipRequest{})
			return reply{}, err
		})
	})
	return nil
}

// Finish waits until every node says the same.
func (w membership) Finish(ctx context.Context, e *Env) error {
	var last []memberList
	err := until(ctx, func() (bool, error) {
		last = nil
		for _, node := range e.Nodes {
			l, err := w.last(ctx, e, node)
			if err != nil {
				return false, nil //nolint:nilerr // the node comes, or ctx ends
			}
			last = append(last, l)
		}
		return agreed(last), nil
	})
	if err != nil {
		return fmt.Errorf("nodes do not agree who is there and who leads: %+v: %w", last, err)
	}
	for i, node := range e.Nodes {
		a := newActor(e, w.Name(), node)
		_ = a.read(convergedOp, nil, func() (reply, error) { return reply{value: last[i], term: last[i].Term}, nil })
	}
	return nil
}

func (w membership) last(ctx context.Context, e *Env, node string) (memberList, error) {
	c, err := e.At(node)
	if err != nil {
		return memberList{}, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return w.ask(ctx, c, newActor(e, w.Name(), node), membersOp, true)
}

// agreed reports whether all views have one leader in one term and the same members.
func agreed(views []memberList) bool {
	for _, v := range views {
		if v.Leader == "" || v.Leader != views[0].Leader || v.Term != views[0].Term || !slices.Equal(v.present(), views[0].present()) {
			return false
		}
	}
	return len(views) > 0
}

// present are the members but for those that are dead and no part of the quorum: a node that was replaced is remembered
// for a while, by those who knew it.
func (l memberList) present() []memberRow {
	gone := func(m memberRow) bool {
		return m.Status == raftstreamv1.MemberStatus_MEMBER_STATUS_DEAD.String() && m.Raft == raftstreamv1.RaftRole_RAFT_ROLE_NONE.String()
	}
	return slices.DeleteFunc(slices.Clone(l.Members), gone)
}

// leads is the id of who leads: one that a node has not heard of yet has no name there.
func (l memberList) leads() string {
	for _, m := range l.Members {
		if m.Raft == raftstreamv1.RaftRole_RAFT_ROLE_LEADER.String() {
			return m.ID
		}
	}
	return ""
}

func (w membership) Check(_ string, run *checker.Run) []checker.Result {
	ops, err := history.Pair(run.Events)
	if err != nil {
		return []checker.Result{unknown("leaders", w.Name(), err)}
	}
	leaders, converged := checker.Judging("leaders", w.Name()), checker.Judging("converged", w.Name())
	leaderOf, event := map[uint64]string{}, map[uint64]int64{}
	var final []memberList
	for _, o := range history.Of(ops, w.Name()) {
		if o.Type() != history.OK || o.Invoke.F == transferOp {
			if o.Invoke.F == transferOp {
				leaders.Found.Counts["transfers that are "+string(o.Type())]++
			}
			continue
		}
		v, err := value[memberList](&o)
		if err != nil {
			leaders.Doubt("%v", err)
			continue
		}
		if o.Invoke.F == convergedOp {
			final = append(final, v)
		}
		leader := v.leads()
		if leader == "" {
			continue
		}
		leaders.See("answers that name a leader", 1)
		if was, ok := leaderOf[v.Term]; ok && was != leader {
			leaders.Bad("event %d: %s leads in term %d, event %d says %s", o.End.Index, leader, v.Term, event[v.Term], was)
		}
		leaderOf[v.Term], event[v.Term] = leader, o.End.Index
	}
	leaders.Found.Counts["terms"] = int64(len(leaderOf))
	converged.See("nodes", int64(len(final)))
	if len(final) > 0 && !agreed(final) {
		converged.Bad("nodes do not agree: %+v", final)
	}
	return []checker.Result{leaders.Result(), converged.Result()}
}
