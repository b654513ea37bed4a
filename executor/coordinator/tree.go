package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// noOutput is the output of a tree that is planted for the state that it leaves (job.Launch.Output).
const noOutput = -1

// tree is the lineage of one dataset: what is cut into stages.
type tree struct {
	*batch
	output  int        // index of the output operation, or noOutput
	at      dataset.ID // stream and time of the root
	root    dataset.Dataset
	lineage uint64
	leaves  []source
	makes   job.Version // of the state that its stages leave
	remakes id.Stream   // without an output: the stream whose state it is for
}

// earlier reports whether the tree is of an earlier batch, which is computed again for its state.
func (t *tree) earlier() bool { return t.at.Time < t.order.Time }

// plant makes the tree of a stream's dataset at a time; nil where there is none. The error is the user's.
func (b *batch) plant(ctx context.Context, s id.Stream, at id.Time) (t *tree, err error) {
	err = b.guard(ctx, func() error {
		root, ok, err := b.app.Dataset(s, at, b.inputs)
		if ok && err == nil {
			t = &tree{batch: b, at: dataset.ID{Stream: s, Time: at}, root: root, lineage: job.Lineage(root), leaves: leaves(root)}
		}
		return err
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return t, err
}

// lostWork says that something must be made again that was there before: buckets or, if state is set, the state that an
// earlier batch is computed again from. It was work, no user error: it is made again however often it takes (rule 8).
type lostWork struct {
	text  string
	state bool
}

// Error implements error.
func (e *lostWork) Error() string { return e.text }

// insist runs f until nothing that it needs gets lost; whether state counts too depends on who can make that again.
func (b *batch) insist(ctx context.Context, state bool, f func() error) error {
	for delay := minDelay; ; delay = min(delay*2, maxDelay) {
		err := f()
		lost, ok := errors.AsType[*lostWork](err)
		if !ok || lost.state && !state {
			return err
		}
		if err := b.wait(ctx, lost.Error(), delay); err != nil {
			return err
		}
	}
}

// before runs the map stages that d's narrow chain reads and whose buckets are not all held, parents before children.
func (t *tree) before(ctx context.Context, d dataset.Dataset, seen map[dataset.ID]bool) error {
	if seen[d.ID()] {
		return nil
	}
	seen[d.ID()] = true
	for _, dep := range d.Deps() {
		if dep.Shuffle == nil {
			if err := t.before(ctx, dep.On, seen); err != nil {
				return err
			}
			continue
		}
		if err := t.mapSide(ctx, dep, seen); err != nil {
			return err
		}
	}
	return nil
}

// mapSide runs the map stage of a shuffle until every bucket is held by an open session.
func (t *tree) mapSide(ctx context.Context, dep dataset.Dep, seen map[dataset.ID]bool) error {
	m := t.mapped(dep)
	for missing := t.missing(m); len(missing) > 0; missing = t.missing(m) {
		if err := t.before(ctx, dep.On, seen); err != nil {
			return err
		}
		s := &stage{
			tree: t, key: stageKey{kind: job.MapTasks, shuffle: dep.Shuffle.ID()}, of: dep.On, shuffle: dep.Shuffle,
			name: fmt.Sprintf("map side of shuffle %v", dep.Shuffle.ID()),
			done: func(res job.TaskResult, by job.Peer) { m.holders[res.Part] = by.Session },
		}
		if err := s.run(ctx, missing); err != nil {
			return err
		}
	}
	return nil
}

// mapped says who holds the buckets of each map partition of a shuffle, 0 for nobody.
type mapped struct {
	holders []id.Session
	again   id.Time // of the batch for whose state it is computed again; 0: it is of the batch that runs
}

// mapped gives what is known of a shuffle's buckets. A shuffle that several outputs read is made once.
func (t *tree) mapped(dep dataset.Dep) *mapped {
	m := t.shuffles[dep.Shuffle.ID()]
	if m == nil {
		m = &mapped{holders: make([]id.Session, dep.On.Partitions())}
		if t.earlier() {
			m.again = t.at.Time
		}
		t.shuffles[dep.Shuffle.ID()] = m
	}
	return m
}

// missing lists the map partitions whose buckets nobody with an open session holds.
func (b *batch) missing(m *mapped) (parts []int) {
	peers, _ := b.cfg.Peers()
	for p, h := range m.holders {
		if h == 0 || !open(peers, h) {
			m.holders[p] = 0
			parts = append(parts, p)
		}
	}
	return parts
}

func open(peers *job.Peers, s id.Session) bool {
	return slices.ContainsFunc(peers.Peers, func(p job.Peer) bool { return p.Session == s })
}

// show says what runs.
func (b *batch) show(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cur.status.Stage = fmt.Sprintf(format, args...)
}

// blocked says why the batch does not get on, "" when it does, and reports whether that is news. While state is computed
// again that is the reason, if there is no other.
func (b *batch) blocked(why string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if why == "" {
		why = b.again
	}
	fresh := b.cur.status.Waiting != why
	b.cur.status.Waiting = why
	return fresh
}

// wait waits for the delay or another table of peers, and says why meanwhile.
func (b *batch) wait(ctx context.Context, why string, delay time.Duration) error {
	if b.blocked(why) {
		b.log.Warn("batch waits", "reason", why)
	}
	_, changed := b.cfg.Peers()
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
