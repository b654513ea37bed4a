package lineage

import (
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/table"
)

// state is a partition of keyed state: one row for each key, in the order in which the keys got their first state.
//
// Invariant: values are owned (codec.Codec.Own), so that a state that was encoded and decoded cannot be told apart from
// the one that it was made of (rule 6).
type state[K comparable, S any] struct {
	rows  *table.State[K, S]
	key   *codec.Codec[K]
	value *codec.Codec[S]
	wheel *wheel // nil: states do not time out, and when a row has changed is not part of an image
}

var _ dataset.State = (*state[int, int])(nil)

func newState[K comparable, S any](key *codec.Codec[K], value *codec.Codec[S]) *state[K, S] {
	return &state[K, S]{rows: table.NewState[K, S](key.Own, key.Hash), key: key, value: value}
}

// delta is what one batch changes of a state. Rows are those of the state that it was made over.
type delta[K comparable, S any] struct {
	rows    []int32 // that have another value, in order
	vals    []S     // by rows
	removed []int32 // in order
	keys    []K     // without a row yet, in the order in which they get one
	added   []S     // by keys
	due     id.Time // rows that had changed before this only have timed out
}

var _ dataset.Delta = (*delta[int, int])(nil)

// changes gives what a delta of any operator changes.
func (d *delta[K, S]) changes() *delta[K, S] { return d }

func (d *delta[K, S]) Len() int { return len(d.rows) + len(d.removed) + len(d.keys) }

// Len implements dataset.State.
func (s *state[K, S]) Len() int { return s.rows.Len() }

// Install implements dataset.State.
func (s *state[K, S]) Install(d dataset.Delta, at id.Time) {
	made, ok := d.(interface{ changes() *delta[K, S] })
	if !ok {
		panic(fmt.Sprintf("lineage: a delta of type %T for a state of %T", d, s))
	}
	of := made.changes()
	for i, row := range of.rows {
		s.rows.Set(int(row), of.vals[i], int64(at))
	}
	for _, row := range of.removed {
		s.rows.Remove(int(row), int64(at))
	}
	first := s.rows.Rows()
	for i := range of.keys {
		s.rows.Put(s.key.Hash(&of.keys[i]), of.keys[i], of.added[i], int64(at))
	}
	compacted := s.rows.Compact()
	switch {
	case s.wheel == nil:
	case compacted:
		s.wheel.drop()
	default:
		s.wheel.turn(int64(of.due), first, int64(at), s.rows)
	}
}

// Forget implements dataset.State.
func (s *state[K, S]) Forget(upTo id.Time) { s.rows.Forget(int64(upTo)) }

// checkKey refuses a key that can have no state. It is for keys that have none yet.
func checkKey[K comparable](key K) error {
	if again := key; again != key {
		return fmt.Errorf("the key %v is not equal to itself: it can have no state", key)
	}
	if n := table.KeyBytes(key); n > table.MaxKey {
		return fmt.Errorf("a key has %d bytes, at most %d can have a state", n, table.MaxKey)
	}
	return nil
}

// begin puts what the user begins with: the pairs of a partition of parts, which count as changed at a time. The last
// one counts where a key comes twice.
func (s *state[K, S]) begin(initial func() iter.Seq2[K, S], part, parts int, at id.Time) {
	if initial == nil {
		return
	}
	seq := initial()
	if seq == nil {
		return
	}
	key, val := new(K), new(S)
	for k, v := range seq {
		if *key, *val = k, v; s.key.Normal != nil {
			s.key.Normal(key)
		}
		if err := checkKey(*key); err != nil {
			panic(fmt.Errorf("initial state: %w", err))
		}
		if hash := s.key.Hash(key); codec.Reducer(hash, parts) == part {
			if !s.value.Plain {
				s.value.Own(val)
			}
			s.rows.Put(hash, *key, *val, int64(at))
		}
	}
}

// stateOf gives the state of type B that a partition of d goes on from, and what d's time changes of it.
func stateOf[B dataset.State, D dataset.Delta](t dataset.Task, d dataset.Stateful, part int, advance func(base B) D) (B, D) {
	base, changes := t.State(d, part, func(base dataset.State) dataset.Delta {
		of, ok := base.(B)
		if !ok {
			t.Fail(fmt.Errorf("state of dataset %v is a %T, expected a %T", d.ID(), base, of))
		}
		return advance(of)
	})
	of, okBase := base.(B)
	made, okChanges := changes.(D)
	if !okBase || !okChanges {
		t.Fail(fmt.Errorf("state of dataset %v is a %T with changes of %T, expected a %T with a %T", d.ID(), base, changes, of, made))
	}
	return of, made
}

// each yields the rows of the state as d leaves it. Who gets a value may change it.
func (s *state[K, S]) each(t dataset.Task, d *delta[K, S], yield func(K, S) bool) {
	rows, removed := d.rows, d.removed
	hand := func(k K, v *S) bool {
		if s.value.Fixed {
			return yield(k, *v)
		}
		own := *v
		s.value.Own(&own)
		return yield(k, own)
	}
	for first := 0; first < s.rows.Rows(); first += table.PieceRows {
		checkContext(t)
		vals, stamps := s.rows.Piece(first)
		for i := range vals {
			row, v := int32(first+i), &vals[i]
			switch {
			case stamps[i] == table.Gone:
				continue
			case len(removed) > 0 && removed[0] == row:
				removed = removed[1:]
				continue
			case len(rows) > 0 && rows[0] == row:
				v = &d.vals[len(d.rows)-len(rows)]
				rows = rows[1:]
			}
			if !hand(s.rows.Key(int(row)), v) {
				return
			}
		}
	}
	for i := range d.keys {
		if i%checkEvery == 0 {
			checkContext(t)
		}
		if !hand(d.keys[i], &d.added[i]) {
			return
		}
	}
}

// findAll finds the rows of many keys, some at a time; -1 for a key that has none.
func findAll[K comparable, V any](t dataset.Task, in *table.State[K, V], key *codec.Codec[K], keys []K, rows []int32) {
	var hashes [pairsAtOnce]uint64
	for first := 0; first < len(keys); first += pairsAtOnce {
		if first%checkEvery == 0 {
			checkContext(t)
		}
		some := keys[first:min(first+pairsAtOnce, len(keys))]
		for i := range some {
			hashes[i] = key.Hash(&some[i])
		}
		in.FindAll(hashes[:len(some)], some, rows[first:first+len(some)])
	}
}
