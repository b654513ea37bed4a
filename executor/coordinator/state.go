package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// maxDenied is how often an executor may not have the state that it was said to hold, before it is not believed for the
// rest of the batch, until it has made that state.
const maxDenied = 2

// denial names a version of a partition of keyed state at an executor.
type denial struct {
	by      id.Session
	part    statePart
	version job.Version
}

// stateful is a dataset of a stage's narrow lineage that goes on from keyed state (rule 7).
type stateful struct {
	of    dataset.Stateful
	base  job.Version
	parts [][]int // that each of the stage's partitions goes on from
}

func (st *stateful) key(part int) statePart { return statePart{st.of.ID().Stream, part} }

// findStates finds the state that the stage's tasks go on from, and names its versions.
func (s *stage) findStates(ctx context.Context) error {
	seen := map[dataset.ID]bool{}
	var visit func(d dataset.Dataset)
	visit = func(d dataset.Dataset) {
		if seen[d.ID()] {
			return
		}
		seen[d.ID()] = true
		if st, ok := d.(dataset.Stateful); ok {
			s.states = append(s.states, &stateful{of: st})
		}
		for _, dep := range d.Deps() {
			if dep.Shuffle == nil {
				visit(dep.On)
			}
		}
	}
	visit(s.of)
	for i, st := range s.states {
		at := st.of.ID()
		for _, other := range s.states[:i] {
			if other.of.ID().Stream == at.Stream {
				return failed("%s: the keyed state of stream %d is read at %d and at %d, it can be read at one time only",
					s.name, at.Stream, other.of.ID().Time, at.Time)
			}
		}
		if at.Time != s.makes.Time {
			return failed("%s: the keyed state of stream %d is read at %d, it can be read at %d only", s.name, at.Stream, at.Time, s.makes.Time)
		}
		st.parts = partsOf(s.of, at)
		var err error
		if st.base, err = s.version(ctx, at.Stream, st.of.Base()); err != nil {
			return err
		}
	}
	return nil
}

// partsOf lists, for every partition of d, the partitions of a dataset of its narrow lineage that it reads.
func partsOf(d dataset.Dataset, of dataset.ID) [][]int {
	all := make([][]int, d.Partitions())
	for part := range all {
		job.WalkNarrow(d, part, func(d dataset.Dataset, p int) {
			if d.ID() == of {
				all[part] = append(all[part], p)
			}
		})
	}
	return all
}

// version names the state of a stream after the batch at a time: the empty one up to zero time, else that of the attempt
// that won. It waits, visibly, while the batch is not known to be completed.
func (b *batch) version(ctx context.Context, s id.Stream, at id.Time) (job.Version, error) {
	if at <= b.order.App.Spec.ZeroTime {
		return job.Version{Time: at}, nil
	}
	for _, st := range b.order.States {
		if st.Stream == s && st.Version.Time == at {
			return st.Version, nil
		}
	}
	if attempt, ok := b.keyed.won[at]; ok {
		return job.Version{Time: at, Attempt: attempt}, nil
	}
	defer b.goesOn()
	for delay := minDelay; ; delay = min(delay*2, maxDelay) {
		h, err := b.recall(ctx)
		if err != nil {
			return job.Version{}, err
		}
		if v, ok := h.at(at); ok {
			return v, nil
		}
		b.past = nil
		b.mu.Lock()
		b.cur.early = true
		b.mu.Unlock()
		if err := b.wait(ctx, fmt.Sprintf("batch %d is not known to be completed, and this one goes on from its state", at), delay); err != nil {
			return job.Version{}, err
		}
	}
}

// goesOn takes back that the batch waits for an earlier one.
func (b *batch) goesOn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cur.early = false
}

// assign gives every partition an executor. Partitions that go on from keyed state go to who holds it, or can make it:
// what is missing there is made first.
func (s *stage) assign(ctx context.Context, pending []int, peers []job.Peer) ([]*share, error) {
	if len(s.states) == 0 {
		return s.place(pending, peers, nil), nil
	}
	for delay := minDelay; ; delay = min(delay*2, maxDelay) {
		table, _ := s.cfg.Peers()
		s.keyed.holders.keep(table)
		homes, err := s.homes(ctx, pending, s.trusted(table))
		if err != nil {
			return nil, err
		}
		shares := s.place(pending, peers, homes)
		missing, err := s.missingState(ctx, shares)
		if err != nil || len(missing) == 0 {
			return shares, err
		}
		if s.ask(ctx) {
			continue
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err = s.restore(ctx, missing)
		lost, ok := errors.AsType[*lostWork](err)
		switch {
		case ok && s.pins != nil:
			return nil, &lostWork{lost.text, true} // who wants this state begins anew
		case ok:
			if err = s.wait(ctx, lost.text, delay); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		}
		if peers, _ = s.usable(); len(peers) == 0 {
			return nil, &lostWork{text: "no executor is left", state: s.pins != nil}
		}
	}
}

// trusted lists the executors of this build whose state counts: also those that have just not answered, as long as they
// are not taken for cut off.
func (c *Coordinator) trusted(table *job.Peers) map[id.Session]job.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[id.Session]job.Peer{}
	now := time.Now()
	for _, p := range table.Peers {
		if p.Build == c.cfg.Build && !now.Before(c.suspects[p.Session].cut) {
			all[p.Session] = p
		}
	}
	return all
}

// holds reports whether an executor is believed to hold a version.
func (b *batch) holds(by id.Session, p statePart, v job.Version) bool {
	return b.keyed.holders.has(p, by, v) && b.denied[denial{by, p, v}] < maxDenied
}

// holder gives the executor with the lowest session that holds all of the versions, 0 for none.
func (b *batch) holder(among map[id.Session]job.Peer, p statePart, versions ...job.Version) (best id.Session) {
next:
	for x := range b.keyed.holders.of[p] {
		if _, ok := among[x]; !ok || best != 0 && x > best {
			continue
		}
		for _, v := range versions {
			if !b.holds(x, p, v) {
				continue next
			}
		}
		best = x
	}
	return best
}

// homes says where partitions are to run for the state that they go on from. It leaves out those that may run anywhere.
func (s *stage) homes(ctx context.Context, pending []int, among map[id.Session]job.Peer) (map[int]job.Peer, error) {
	homes := map[int]job.Peer{}
	for _, part := range pending {
		x, pinned := s.pins[part]
		if !pinned {
			var err error
			if x, err = s.home(ctx, part, among); err != nil {
				return nil, err
			}
		}
		p, ok := among[x]
		switch {
		case ok:
			homes[part] = p
		case pinned:
			return nil, &lostWork{fmt.Sprintf("%s: the executor with session %d is gone", s.name, x), true}
		}
	}
	return homes, nil
}

// home gives the executor that a partition is to run on, 0 for any: the one that has made the state in this run already
// (then nothing is computed twice), the one that it is to move to, the one that holds it, the one that comes closest.
// Where several states are read, the first counts.
func (s *stage) home(ctx context.Context, part int, among map[id.Session]job.Peer) (id.Session, error) {
	for _, st := range s.states {
		for _, p := range st.parts[part] {
			if x := s.holder(among, st.key(p), st.base, s.makes); x != 0 {
				return x, nil
			}
		}
	}
	for _, st := range s.states {
		for _, p := range st.parts[part] {
			if x := s.keyed.moves[st.key(p)]; x != 0 && st.base == s.keyed.chain.version {
				if _, ok := among[x]; ok {
					return x, nil
				}
			}
			if x := s.holder(among, st.key(p), st.base); x != 0 {
				return x, nil
			}
		}
	}
	for _, st := range s.states {
		for _, p := range st.parts[part] {
			chained, err := s.chained(ctx, st.base)
			if err != nil {
				return 0, err
			}
			if st.base.Attempt == 0 || chained {
				continue
			}
			_, x, err := s.origin(ctx, st, p, among)
			if x != 0 || err != nil {
				return x, err
			}
		}
	}
	return 0, nil
}

// chained reports whether a version can be restored from the committed checkpoint.
func (b *batch) chained(ctx context.Context, v job.Version) (bool, error) {
	if v.Attempt == 0 || b.past == nil && v.Time != max(b.order.Checkpointed, b.keyed.chain.version.Time) {
		return false, nil // also where the checkpoint is not known: then it is found when the state is made again
	}
	h, err := b.recall(ctx)
	return err == nil && h.checkpoint.Time == v.Time && h.checkpoint.Attempt == v.Attempt, err
}

// missingState lists the state that partitions go on from and that can neither be had where they are to run nor
// restored there, and notes what is to be restored.
func (s *stage) missingState(ctx context.Context, shares []*share) (missing []absent, err error) {
	for i, st := range s.states {
		chained, err := s.chained(ctx, st.base)
		if err != nil {
			return nil, err
		}
		for _, x := range shares {
			var restore []int
			for _, part := range x.parts {
				for _, p := range st.parts[part] {
					switch {
					case st.base.Attempt == 0 || s.holds(x.peer.Session, st.key(p), st.base):
					case chained:
						restore = append(restore, p)
					default:
						missing = append(missing, absent{st, p, x.peer.Session})
					}
				}
			}
			if x.restore == nil {
				x.restore = make([][]int, len(s.states))
			}
			x.restore[i] = restore
		}
	}
	return missing, nil
}

// bases says what the tasks of a share go on from.
func (s *stage) bases(x *share) (all []job.StateBase) {
	for i, st := range s.states {
		base := job.StateBase{Stream: st.of.ID().Stream, Base: st.base, Makes: s.makes}
		if len(x.restore[i]) > 0 {
			base.Chain = s.past.pieces(base.Stream, x.restore[i])
		}
		all = append(all, base)
	}
	return all
}

// keptState notes who holds what a task has read and made.
func (s *stage) keptState(part int, by id.Session) {
	var read []statePart
	for _, st := range s.states {
		for _, p := range st.parts[part] {
			read = append(read, st.key(p))
			s.keyed.holders.made(st.key(p), by, st.base, s.makes)
			if !s.earlier() {
				s.made[st.key(p)] = true
			}
			delete(s.keyed.moves, st.key(p))
			delete(s.denied, denial{by, st.key(p), s.makes})
		}
	}
	s.keyed.tie(read)
	delete(s.silent, by)
}

// lostState draws the conclusions of a task that did not run where its state is.
func (s *stage) lostState(part int, x *share, e *job.TaskError) {
	if len(s.states) == 0 {
		return
	}
	peer := x.peer
	k := statePart{e.Stream, e.Part}
	for _, st := range s.states {
		for _, p := range st.parts[part] {
			delete(s.keyed.moves, st.key(p))
			if d := (denial{peer.Session, k, st.base}); e.Fault == job.StateFault && st.key(p) == k {
				s.denied[d]++
				s.patient = s.patient || s.denied[d] >= maxDenied
			}
		}
	}
	switch e.Fault {
	case job.StateFault:
		s.keyed.holders.forget(k, peer.Session)
		s.missed[part]++ // if nobody else has it, another one makes it
		s.past = nil
	case job.MissingFault:
		s.past = nil // the stores of pieces may be others by now
	case job.LostFault:
		s.patient = true // its state is not given up as easily as its other work
		if x.err == nil {
			delete(s.silent, peer.Session) // it answers that it cannot now: it has no room for buckets, say
		} else if since, ok := s.silent[peer.Session]; !ok {
			s.silent[peer.Session] = time.Now()
		} else if time.Since(since) > grace {
			delete(s.silent, peer.Session)
			s.log.Warn("an executor with keyed state does not answer; the state is made again elsewhere", "executor", peer.Name, "error", e.Text)
			s.cutOff(peer.Session)
		}
	}
}
