package dstream

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/plan"
)

// UpdateStateByKey keeps a state for every key. In every batch f is called for each key that has a state or new values:
// with the values of the batch, in order of partition and arrival (none for a key without new ones), and the state so
// far (None for a new key). It returns the next state, or None to remove the key. Each batch of the result holds the
// states of all keys, in each partition in the order in which the keys got theirs. Batches without data call f too; there
// is no dataset until s has had one (Spark: updateStateByKey).
//
// values and state belong to f. f must be a function of them alone: after a failure it is called again, and must give
// the same. K, V and S need codecs; a key that is not equal to itself (NaN) fails the task.
//
// State is part of what the application promises: it is what all batches so far have made of it, exactly once, whatever
// failed in between (see Context.Checkpoint). Options: Partitions.
func UpdateStateByKey[K comparable, V, S any](s *DStream[KV[K, V]], f func(values []V, state Opt[S]) Opt[S], opts ...Option) *DStream[KV[K, S]] {
	const op = "updateStateByKey"
	c := s.c
	o := c.options(op, opts, "Partitions")
	c.function(op, f)
	encodable[KV[K, V]](c, op)
	encodable[KV[K, S]](c, op)
	key, _ := codec.For[K]() // a type without codec is an error of the graph by now
	values, _ := codec.For[[]V]()
	state, _ := codec.For[S]()
	u := lineage.Updated[KV[K, V], K, V, S, KV[K, S]]{
		Split: func(p KV[K, V]) (K, V) { return p.Key, p.Value },
		Join:  Pair[K, S],
		Key:   key, Values: values, State: state, By: lineage.ByKey,
		Update: func(values []V, state S, has bool) (S, bool) {
			next := f(values, Opt[S]{Value: state, OK: has})
			return next.Value, next.OK
		},
	}
	parts := o.partitions
	if parts == 0 {
		parts = c.spec.Partitions
	}
	had := &history[KV[K, V]]{of: s}
	d := add(c, op, s.slideMS, []id.Stream{s.id}, o.partitions, func(p *pass, sc *lineage.Scope) (*lineage.Node[KV[K, S]], error) {
		n, err := s.get(p, sc.Time)
		if err != nil {
			return nil, err
		}
		base := sc.Time - id.Time(s.slideMS)
		before, err := had.before(p, sc.Time)
		switch {
		case err != nil || n == nil && !before:
			return nil, err
		case !before:
			base = c.spec.ZeroTime
		}
		return lineage.UpdateState(sc, n, u, base, parts), nil
	})
	c.states = append(c.states, plan.State{Stream: d.id, SlideMS: d.slideMS, Partitions: parts})
	return d
}

// history knows whether a stream had a dataset before a time. Which times have one is the same in every process.
type history[T any] struct {
	of   *DStream[T]
	some atomic.Int64 // a time with a dataset, as time since zero; 0: none is known
	none atomic.Int64 // up to here there is none, as time since zero
}

// before looks back from a time as far as it must: not further than one step for a stream that always has a dataset.
func (h *history[T]) before(p *pass, at id.Time) (bool, error) {
	s := h.of
	zero := s.c.spec.ZeroTime
	last := int64(at-zero) - s.slideMS
	if some := h.some.Load(); some > 0 && some <= last {
		return true, nil
	}
	none := h.none.Load()
	for since := last; since > none; since -= s.slideMS {
		n, err := s.get(p, zero+id.Time(since))
		if err != nil {
			return false, err
		}
		if n != nil {
			h.some.Store(since)
			return true, nil
		}
	}
	if last > none {
		h.none.CompareAndSwap(none, last)
	}
	return false, nil
}

// Checkpoint sets how often the application's state is saved, at least: state is kept in memory by executors, and
// computed again from the last checkpoint and the input after it when they die. So the interval bounds the work after a
// death, and how long input is kept. Without it the interval is the least multiple of a stream's slide that is 10 s or
// more. The shortest interval that was asked for, here or by DStream.Checkpoint, holds for the whole application. A graph
// without state has nothing to save (Spark: StreamingContext.checkpoint sets a directory; there is none here).
func (c *Context) Checkpoint(every time.Duration) {
	c.unsealed("checkpoint")
	if every <= 0 || every%c.BatchInterval() != 0 {
		c.fail("checkpoint", fmt.Errorf("interval %v, expected a multiple of the batch interval %v", every, c.BatchInterval()))
		return
	}
	c.checkpoints = append(c.checkpoints, checkpoint{every: every, stream: anyStream, at: caller()})
}

// Checkpoint sets how often the stream's state is saved (see Context.Checkpoint): a multiple of the stream's interval. On
// a stream without state the interval is checked, and there is nothing to save.
func (s *DStream[T]) Checkpoint(every time.Duration) *DStream[T] {
	s.c.unsealed("checkpoint")
	if err := multiple(every, s.slideMS); err != nil {
		s.c.fail("checkpoint", err)
		return s
	}
	s.c.checkpoints = append(s.c.checkpoints, checkpoint{every: every, stream: s.id, at: caller()})
	return s
}

// checkpoint is an interval that was asked for.
type checkpoint struct {
	every  time.Duration
	stream id.Stream // anyStream: all of them
	at     string
}

const anyStream id.Stream = -1

// multiple checks a checkpoint interval against a stream's slide.
func multiple(every time.Duration, slideMS int64) error {
	slide := time.Duration(slideMS) * time.Millisecond
	switch {
	case every < slide:
		return fmt.Errorf("interval %v is lower than the slide %v of the stream", every, slide)
	case every%slide != 0:
		return fmt.Errorf("interval %v is not a multiple of the slide %v of the stream", every, slide)
	}
	return nil
}

// checkpointErrs checks the intervals that hold for all streams with state against each of them.
func (c *Context) checkpointErrs() (errs []error) {
	for _, ask := range c.checkpoints {
		for _, s := range c.states {
			if ask.stream != anyStream {
				continue
			}
			if err := multiple(ask.every, s.SlideMS); err != nil {
				errs = append(errs, fmt.Errorf("%s: checkpoint: stream %d: %w", ask.at, s.Stream, err))
			}
		}
	}
	return errs
}

// sealStates puts the streams with state that outputs need into the plan, and how often they are saved.
func (c *Context) sealStates() {
	const usual = 10_000 // ms
	needed := c.needed()
	var byDefault, asked int64
	for _, s := range c.states {
		if !needed[s.Stream] {
			continue
		}
		c.plan.States = append(c.plan.States, s)
		byDefault = least(byDefault, (usual+s.SlideMS-1)/s.SlideMS*s.SlideMS)
		for _, ask := range c.checkpoints {
			if ask.stream == anyStream || ask.stream == s.Stream {
				asked = least(asked, ask.every.Milliseconds())
			}
		}
	}
	if c.plan.CheckpointMS = asked; asked == 0 {
		c.plan.CheckpointMS = byDefault
	}
}

// least is the smaller of two durations, where 0 is none.
func least(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// needed says which streams the outputs are computed from.
func (c *Context) needed() []bool {
	needed := make([]bool, len(c.plan.Streams))
	for _, o := range c.plan.Outputs {
		needed[o.Stream] = true
	}
	for i := len(needed) - 1; i >= 0; i-- { // parents come before their children
		for _, p := range c.plan.Streams[i].Parents {
			needed[p] = needed[p] || needed[i]
		}
	}
	return needed
}
