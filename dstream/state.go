package dstream

import (
	"fmt"
	"iter"
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
// failed in between (see Context.Checkpoint). Options: Partitions; InitialState, which the first batch for which s has a
// dataset goes on from.
func UpdateStateByKey[K comparable, V, S any](s *DStream[KV[K, V]], f func(values []V, state Opt[S]) Opt[S], opts ...Option) *DStream[KV[K, S]] {
	const op = "updateStateByKey"
	s.c.function(op, f)
	return updateState(s, op, opts, func(u *updates[K, V, S], _ time.Time) {
		u.Update = func(values []V, state S, has bool) (S, bool) {
			next := f(values, Opt[S]{Value: state, OK: has})
			return next.Value, next.OK
		}
	})
}

// UpdateStateByKeyTimed is UpdateStateByKey with a function that is told the time of the batch and the key, too.
func UpdateStateByKeyTimed[K comparable, V, S any](s *DStream[KV[K, V]], f func(t time.Time, key K, values []V, state Opt[S]) Opt[S], opts ...Option) *DStream[KV[K, S]] {
	const op = "updateStateByKey"
	s.c.function(op, f)
	return updateState(s, op, opts, func(u *updates[K, V, S], t time.Time) {
		u.UpdateKey = func(key K, values []V, state S, has bool) (S, bool) {
			next := f(t, key, values, Opt[S]{Value: state, OK: has})
			return next.Value, next.OK
		}
	})
}

type updates[K comparable, V, S any] = lineage.Updated[KV[K, V], K, V, S, KV[K, S]]

// updateState makes the stream; call sets the function for the batch of a time.
func updateState[K comparable, V, S any](s *DStream[KV[K, V]], op string, opts []Option, call func(u *updates[K, V, S], t time.Time)) *DStream[KV[K, S]] {
	c := s.c
	o := c.options(op, opts, "Partitions", "InitialState")
	encodablePairs[K, V](c, op)
	encodable[KV[K, S]](c, op)
	key, _ := codec.For[K]() // a type without codec is an error of the graph by now
	values, _ := codec.For[[]V]()
	state, _ := codec.For[S]()
	u := updates[K, V, S]{
		Split: func(p KV[K, V]) (K, V) { return p.Key, p.Value },
		Join:  Pair[K, S],
		Key:   key, Values: values, State: state, By: lineage.ByKey, Initial: initialState[K, S](c, op, o.initial),
	}
	parts := c.partitions(o)
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
		u := u
		call(&u, sc.Time.Time())
		return lineage.UpdateState(sc, n, u, base, parts), nil
	})
	c.states = append(c.states, plan.State{Stream: d.id, SlideMS: d.slideMS, Partitions: parts})
	return d
}

// partitions is how many an operator has.
func (c *Context) partitions(o settings) int {
	if o.partitions == 0 {
		return c.spec.Partitions
	}
	return o.partitions
}

// InitialState gives keys and states that a stream with state begins with (Spark: StateSpec.initialState). It is for
// UpdateStateByKey, UpdateStateByKeyTimed and MapWithState, of the same K and S. Executors call f once for each
// partition, and again after failures: it must be a pure function, which gives the same pairs every time. A key that comes
// twice has its last state.
func InitialState[K comparable, S any](f func() iter.Seq2[K, S]) Option {
	return Option{"InitialState", func(s *settings) error { s.initial = f; return nil }}
}

// initialState checks the function that was given as InitialState; nil: there was none.
func initialState[K comparable, S any](c *Context, op string, given any) func() iter.Seq2[K, S] {
	if given == nil {
		return nil
	}
	f, ok := given.(func() iter.Seq2[K, S])
	if !ok {
		c.fail(op, fmt.Errorf("InitialState: the function is a %T, expected a %T", given, f))
		return nil
	}
	c.function(op, f)
	return f
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
