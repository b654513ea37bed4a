package dstream

import (
	"time"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/plan"
)

// State is the state of one key, while the function of MapWithState is called for it (Spark: State). It is good until that
// returns.
type State[S any] struct{ of *lineage.Cell[S] }

// Exists says whether the key has a state.
func (s *State[S]) Exists() bool { return s.of.Exists() }

// Get gives the state; ok is false where there is none. It belongs to the caller: what is changed in it counts if it is
// given to Update.
func (s *State[S]) Get() (state S, ok bool) { return s.of.Get() }

// Update sets the state. It panics after Remove and while the state times out.
func (s *State[S]) Update(state S) { s.of.Update(state) }

// Remove removes the state; where there is none it does nothing. It panics when it is called again, and while the state
// times out: that removes it anyway.
func (s *State[S]) Remove() { s.of.Remove() }

// TimingOut says that the call is about a key without data for longer than the timeout (Spark: isTimingOut). The state is
// removed after it.
func (s *State[S]) TimingOut() bool { return s.of.TimingOut() }

// StateStream is the stream of MapWithState: what its function gave (Spark: MapWithStateDStream).
type StateStream[K comparable, S, U any] struct {
	*DStream[U]
	steps     *DStream[lineage.Step[K, S, U]]
	snapshots *DStream[KV[K, S]]
}

// StateSnapshots is the stream of all keys with their states after each batch (Spark: stateSnapshots). In each partition
// they are in the order in which the keys got theirs.
func (s *StateStream[K, S, U]) StateSnapshots() *DStream[KV[K, S]] {
	if s.snapshots == nil {
		steps := s.steps
		s.snapshots = add(steps.c, "stateSnapshots", steps.slideMS, []id.Stream{steps.id}, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[KV[K, S]], error) {
			n, err := steps.must(p, sc.Time, "stateSnapshots")
			if err != nil {
				return nil, err
			}
			return lineage.Snapshots(sc, n, Pair[K, S], lineage.ByKey), nil
		})
	}
	return s.snapshots
}

// Checkpoint sets how often the state is saved; see DStream.Checkpoint.
func (s *StateStream[K, S, U]) Checkpoint(every time.Duration) *DStream[U] {
	s.steps.Checkpoint(every)
	return s.DStream
}

// Timeout is how long MapWithState keeps the state of a key that has no data: in the first batch whose time is more than d
// after that of the key's last data, the function is called for the key without a value, while State.TimingOut, and the
// state is removed. d is a positive number of whole milliseconds (Spark: StateSpec.timeout).
func Timeout(d time.Duration) Option {
	return Option{"Timeout", func(s *settings) error {
		s.timeout = d
		return whole("timeout", d)
	}}
}

// MapWithState keeps a state for every key, and calls f once for every record: with the time of the batch, the key, the
// value and the state of the key, which f may read, update and remove. What f returns, unless it is None, is in the
// stream that results: in each partition in the order of (partition, arrival) of the records. Only keys with data are
// looked at, so that a batch costs what its data costs, however many keys there are. A batch for which s has no dataset
// is one without data.
//
// With the option Timeout the state of a key without data does not last: f is called for it once more, without a value
// (after the records of that batch, in the order in which the keys got their states). Data keeps the state of its key
// alive, whether or not f updates it.
//
// f must be a function of what it is given alone: after a failure it is called again, and must give the same. A wrong use
// of the state (see State) fails the task. K, V and S need codecs; where U has none, f is called again for every further
// output that reads a batch. A key that is not equal to itself (NaN) fails the task.
//
// State is part of what the application promises: it is what all batches so far have made of it, exactly once, whatever
// failed in between (see Context.Checkpoint). Options: Partitions, Timeout, InitialState, which the first batch goes on
// from, and whose time counts as that of its keys' last data.
func MapWithState[K comparable, V, S, U any](s *DStream[KV[K, V]], f func(t time.Time, key K, value Opt[V], st *State[S]) Opt[U], opts ...Option) *StateStream[K, S, U] {
	const op = "mapWithState"
	c := s.c
	o := c.options(op, opts, "Partitions", "Timeout", "InitialState")
	c.function(op, f)
	encodablePairs[K, V](c, op)
	encodable[KV[K, S]](c, op)
	m := lineage.Mapped[KV[K, V], K, V, S, U]{
		Split:   func(p KV[K, V]) (K, V) { return p.Key, p.Value },
		Timeout: o.timeout.Milliseconds(), By: lineage.ByKey, Initial: initialState[K, S](c, op, o.initial),
	}
	m.Key, _ = codec.For[K]() // a type without codec is an error of the graph by now
	m.Value, _ = codec.For[V]()
	m.State, _ = codec.For[S]()
	m.Emitted, _ = codec.For[U]() // nil if there is none
	parts := c.partitions(o)
	steps := add(c, op, s.slideMS, []id.Stream{s.id}, o.partitions, func(p *pass, sc *lineage.Scope) (*lineage.Node[lineage.Step[K, S, U]], error) {
		n, err := s.get(p, sc.Time)
		if err != nil {
			return nil, err
		}
		m, t := m, sc.Time.Time()
		m.Map = func(of *lineage.Cell[S]) func(K, V, bool) (U, bool) {
			st := &State[S]{of}
			return func(key K, value V, has bool) (U, bool) {
				out := f(t, key, Opt[V]{Value: value, OK: has}, st)
				return out.Value, out.OK
			}
		}
		return lineage.MapState(sc, n, m, sc.Time-id.Time(s.slideMS), parts), nil
	})
	c.states = append(c.states, plan.State{Stream: steps.id, SlideMS: steps.slideMS, Partitions: parts})
	out := add(c, "mapped", s.slideMS, []id.Stream{steps.id}, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[U], error) {
		n, err := steps.must(p, sc.Time, "mapped")
		if err != nil {
			return nil, err
		}
		return lineage.Emitted(sc, n), nil
	})
	return &StateStream[K, S, U]{DStream: out, steps: steps}
}
