package coordinator

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// past is what keyed state is made again from: the committed checkpoint, and the batches completed after it.
type past struct {
	checkpoint job.Checkpoint
	won        map[id.Time]id.Attempt
}

// at names the version after the batch at a time.
func (h *past) at(t id.Time) (job.Version, bool) {
	attempt, ok := h.won[t]
	if !ok && t == h.checkpoint.Time && h.checkpoint.Attempt != 0 {
		attempt, ok = h.checkpoint.Attempt, true
	}
	return job.Version{Time: t, Attempt: attempt}, ok
}

// pieces gives the chain of some partitions of a stream.
func (h *past) pieces(s id.Stream, parts []int) (all []job.Piece) {
	for _, p := range h.checkpoint.Pieces {
		if p.Stream == s && slices.Contains(parts, p.Part) {
			all = append(all, p)
		}
	}
	return all
}

// recall gives the application's history, as of the first call in a batch or after it was found to be of no use.
func (b *batch) recall(ctx context.Context) (*past, error) {
	if b.past != nil {
		return b.past, nil
	}
	h, err := b.cfg.History(ctx, b.order.App.ID, b.order.Time)
	for delay := minDelay; err != nil; delay = min(delay*2, maxDelay) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := b.wait(ctx, fmt.Sprintf("the history of its keyed state is not known: %v", err), delay); err != nil {
			return nil, err
		}
		h, err = b.cfg.History(ctx, b.order.App.ID, b.order.Time)
	}
	p := &past{checkpoint: h.Checkpoint, won: make(map[id.Time]id.Attempt, len(h.Batches))}
	for _, v := range h.Batches {
		p.won[v.Time] = v.Attempt
	}
	b.inputs.locate(h.Inputs)
	b.inputs.add(h.Inputs)
	b.past = p
	return p, nil
}

// absent is a partition of keyed state that is not where it is needed.
type absent struct {
	*stateful
	part int
	at   id.Session
}

// origin finds the newest version before the one that a partition goes on from, from which that can be made: at an
// executor that holds it, or, with executor 0, the committed checkpoint or the empty state.
func (b *batch) origin(ctx context.Context, st *stateful, part int, among map[id.Session]job.Peer) (id.Time, id.Session, error) {
	h, err := b.recall(ctx)
	if err != nil {
		return 0, 0, err
	}
	for t := st.base.Time; ; t -= st.slide() {
		if t <= b.order.App.Spec.ZeroTime || t <= h.checkpoint.Time {
			return t, 0, nil
		}
		v, ok := h.at(t)
		if !ok {
			continue
		}
		if x := b.holder(among, st.key(part), v); x != 0 {
			return t, x, nil
		}
	}
}

// slide is the time between two versions.
func (st *stateful) slide() id.Time { return st.of.ID().Time - st.of.Base() }

// restore makes state again where it is needed, by computing the batches again that led to it: those after the newest
// version that is there, or after the checkpoint (rule 7). The error is a *lostWork if something got lost meanwhile.
func (s *stage) restore(ctx context.Context, missing []absent) error {
	for _, st := range s.states {
		at := map[int]id.Session{}
		from := map[int]id.Time{}
		for _, m := range missing {
			if m.stateful != st {
				continue
			}
			if s.earlier() && st.of.ID().Stream == s.remakes {
				return &lostWork{fmt.Sprintf("%s: state of partition %d at %d got lost", s.name, m.part, st.base.Time), true}
			}
			since, _, err := s.origin(ctx, st, m.part, map[id.Session]job.Peer{m.at: {}})
			if err != nil {
				return err
			}
			if since < st.base.Time { // else it is known by now how to restore it
				at[m.part], from[m.part] = m.at, since
			}
		}
		if len(at) == 0 {
			continue
		}
		if err := s.replay(ctx, st, at, from); err != nil {
			return err
		}
	}
	return nil
}

// replay computes batches again, each for the partitions that have come to it.
func (s *stage) replay(ctx context.Context, st *stateful, at map[int]id.Session, from map[int]id.Time) error {
	stream, slide := st.of.ID().Stream, st.slide()
	first := slices.Min(slices.Collect(maps.Values(from))) + slide
	outer := s.again
	s.again = fmt.Sprintf("state of %d partitions of stream %d is computed again from batches %d to %d", len(at), stream, first, st.base.Time)
	s.log.Info("keyed state is computed again", "stream", int(stream), "partitions", len(at), "from", int64(first), "to", int64(st.base.Time))
	s.blocked("")
	defer func() { s.again = outer; s.blocked("") }()
	for t := first; t <= st.base.Time; t += slide {
		var parts []int
		for p, since := range from {
			if since < t {
				parts = append(parts, p)
			}
		}
		slices.Sort(parts)
		if err := s.remake(ctx, stream, t, parts, at); err != nil {
			return err
		}
		s.release(t)
	}
	return nil
}

// remake computes partitions of a stream's state at one earlier time again, each on its executor, where the state before
// is.
func (b *batch) remake(ctx context.Context, stream id.Stream, t id.Time, parts []int, at map[int]id.Session) error {
	makes, err := b.version(ctx, stream, t)
	if err != nil {
		return err
	}
	tr, of, err := b.plantState(ctx, stream, t)
	if err != nil || of == nil {
		return err // a stream without a dataset at t had none before it: the next one goes on from the empty state
	}
	if err := b.giveUp(ctx, tr.leaves); err != nil {
		return err
	}
	if b.order.AcceptLoss { // what was left out may have changed partition counts
		if tr, of, err = b.plantState(ctx, stream, t); err != nil {
			return err
		}
	}
	tr.makes = makes
	return tr.leave(ctx, of, slices.Clone(parts), at)
}

// leave computes partitions of the state that the tree was planted for, until all of them have left it; at says where,
// nil for wherever is best.
func (t *tree) leave(ctx context.Context, of dataset.Stateful, pending []int, at map[int]id.Session) error {
	s := &stage{
		tree: t, key: stageKey{kind: job.StateTasks, state: of.ID()}, of: of, pins: at,
		name: fmt.Sprintf("state of stream %d at %d", t.remakes, t.at.Time),
		done: func(res job.TaskResult, _ job.Peer) {
			pending = slices.DeleteFunc(pending, func(p int) bool { return p == res.Part })
		},
	}
	for len(pending) > 0 {
		err := t.insist(ctx, at == nil, func() error { // who pinned them begins anew where state was lost
			if err := t.before(ctx, of, map[dataset.ID]bool{}); err != nil {
				return err
			}
			return s.run(ctx, slices.Clone(pending))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// advanceRest makes the state of this batch that no task has left yet: an output read only some partitions of a stream
// with state, or none at this time, as one over a window that slides by several batches. Every partition must have a
// version at each of the stream's times, for the next one to go on from (rule 7). Where all of it was left nothing is
// planted and nothing sent.
func (b *batch) advanceRest(ctx context.Context) error {
	for _, st := range slices.Backward(b.app.Plan().States) { // what is over other state reads that on its way
		if slide := max(st.SlideMS, 1); int64(b.order.Time-b.order.App.Spec.ZeroTime)%slide != 0 {
			continue
		}
		var rest []int
		for p := range st.Partitions {
			if !b.made[statePart{st.Stream, p}] {
				rest = append(rest, p)
			}
		}
		if len(rest) == 0 {
			continue
		}
		t, of, err := b.plantState(ctx, st.Stream, b.order.Time)
		if err != nil {
			return err
		}
		if of == nil {
			continue // the stream has had no dataset so far
		}
		t.makes = job.Version{Time: b.order.Time, Attempt: b.order.Authority.Attempt}
		if err := t.leave(ctx, of, rest, nil); err != nil {
			return err
		}
	}
	return nil
}

// plantState makes the tree of a stream's state at a time, and finds the state in it; nil where there is none.
func (b *batch) plantState(ctx context.Context, stream id.Stream, t id.Time) (*tree, dataset.Stateful, error) {
	tr, err := b.plant(ctx, stream, t)
	if err != nil {
		if ctx.Err() == nil {
			err = failed("state of stream %d at %d: %v", stream, t, err)
		}
		return nil, nil, err
	}
	var of dataset.Stateful
	if tr != nil {
		tr.output, tr.remakes = noOutput, stream
		job.Walk(tr.root, func(d dataset.Dataset) bool {
			if st, ok := d.(dataset.Stateful); ok && d.ID().Stream == stream && d.ID().Time == t {
				of = st
			}
			return of == nil
		})
	}
	return tr, of, nil
}

// release forgets what was only needed to compute an earlier batch again. Executors drop its buckets when they make the
// next one's.
func (b *batch) release(t id.Time) {
	maps.DeleteFunc(b.shuffles, func(_ dataset.ShuffleID, m *mapped) bool { return m.again == t })
	maps.DeleteFunc(b.stages, func(k stageKey, _ *progress) bool {
		return k.kind == job.StateTasks && k.state.Time == t || k.kind == job.MapTasks && k.shuffle.Of.Time == t
	})
}
