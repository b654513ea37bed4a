package lineage

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

// pairsAtOnce is how many pairs a visitor gets at a time: enough that a table can look all of them up while their
// memory is on its way.
const pairsAtOnce = 128

// visits calls visit with the pairs of a partition, at most pairsAtOnce at a time and at least one, until there are no
// more or it returns false. Keys are normal; values may be changed by who gets them. The slices are good until visit
// returns.
type visits[K comparable, V any] func(t dataset.Task, part int, visit func(keys []K, vals []V) (more bool))

// partitioned is how a dataset gets the pairs of its parent n spread by key, as they are and in order of (map partition,
// arrival): its dependency, whose shuffle is called name, and what visits the pairs of one of its partitions (Spark:
// partitionBy). Where they are spread by this key already there is no shuffle.
func partitioned[P any, K comparable, V any](name dataset.ShuffleID, n *Node[P], split func(P) (K, V), key *codec.Codec[K], value *codec.Codec[V], by string, parts int) ([]dataset.Dep, visits[K, V]) {
	each := func(t dataset.Task, part int, yield func(K, V) bool) {
		cell := new(K) // normalizing takes an address: one for the whole loop
		n.loop(t, part, func(p P) bool {
			k, v := split(p)
			if *cell = k; key.Normal != nil {
				key.Normal(cell)
			}
			return yield(*cell, v)
		})
	}
	if parts == 1 && n.parts == 1 || by != "" && n.by == (Partitioning{By: by, Parts: parts}) {
		return same(n), func(t dataset.Task, part int, visit func([]K, []V) bool) {
			some := newSome(visit)
			if value.Fixed {
				each(t, part, some.add)
			} else { // whoever made the values may change them before they are visited
				mine := new(V)
				each(t, part, func(k K, v V) bool {
					*mine = v
					value.Own(mine)
					return some.add(k, *mine)
				})
			}
			if some.inside {
				t.Fail(errRecovered)
			}
			some.flush()
		}
	}
	sh := &partitionShuffle[K, V]{id: name, reducers: parts, each: each, key: key, value: value}
	return []dataset.Dep{{On: n, Shuffle: sh}}, sh.visit
}

// some collects pairs until there are enough for a visit.
type some[K comparable, V any] struct {
	keys  []K
	vals  []V
	visit func([]K, []V) bool
	done  bool // the visitor has enough
	// inside says that a visit has begun and not returned: it has panicked, and an operator below has recovered that.
	inside bool
}

func newSome[K comparable, V any](visit func([]K, []V) bool) *some[K, V] {
	return &some[K, V]{keys: make([]K, 0, pairsAtOnce), vals: make([]V, 0, pairsAtOnce), visit: visit}
}

// add reports whether the visitor wants more.
func (s *some[K, V]) add(k K, v V) (more bool) {
	s.keys, s.vals = append(s.keys, k), append(s.vals, v)
	if len(s.keys) == pairsAtOnce {
		s.flush()
	}
	return !s.done
}

func (s *some[K, V]) flush() {
	if len(s.keys) > 0 && !s.inside && !s.done {
		s.inside = true
		s.done = !s.visit(s.keys, s.vals)
		s.inside = false
	}
	s.keys, s.vals = s.keys[:0], s.vals[:0]
}

// settled says that a value is as good as its owned copy: nothing in it can change, and none of it reads differently
// once it was encoded. A string then keeps what it is a part of in memory, which is for who keeps it for a batch only.
func settled[T any](c *codec.Codec[T]) bool {
	_, text := any((*T)(nil)).(*string)
	return c.Plain || text
}

// partitionShuffle is the stage boundary of partitioned.
type partitionShuffle[K comparable, V any] struct {
	id       dataset.ShuffleID
	reducers int
	each     func(t dataset.Task, part int, yield func(K, V) bool)
	key      *codec.Codec[K]
	value    *codec.Codec[V]
}

func (s *partitionShuffle[K, V]) ID() dataset.ShuffleID { return s.id }
func (s *partitionShuffle[K, V]) Reducers() int         { return s.reducers }

// Map deals the pairs out to one bucket per reducer, by the high bits of the key's hash.
func (s *partitionShuffle[K, V]) Map(t dataset.Task, part int) []dataset.Rows {
	out := make([]*bucket[K, V], s.reducers)
	all := make([]dataset.Rows, s.reducers)
	for r := range out {
		out[r] = &bucket[K, V]{key: s.key, value: s.value}
		all[r] = out[r]
	}
	ownKey, ownValue := !settled(s.key), !settled(s.value)
	cell := new(K) // hashing takes an address: one for the whole loop
	s.each(t, part, func(k K, v V) bool {
		*cell = k
		b := out[codec.Reducer(s.key.Hash(cell), s.reducers)]
		b.keys, b.vals = append(b.keys, k), append(b.vals, v)
		if ownKey {
			s.key.Own(&b.keys[len(b.keys)-1])
		}
		if ownValue {
			s.value.Own(&b.vals[len(b.vals)-1])
		}
		return true
	})
	return all
}

// visit reads the buckets for a reducer.
func (s *partitionShuffle[K, V]) visit(t dataset.Task, reducer int, visit func([]K, []V) bool) {
	some := newSome(visit)
	for chunk := range t.Buckets(s.id, reducer) {
		checkContext(t)
		var err error
		if chunk.Rows != nil {
			err = s.rows(t, chunk.Rows, some)
		} else {
			err = s.bytes(t, chunk.Bytes, some)
		}
		if err != nil {
			t.Fail(fmt.Errorf("bucket of shuffle %v for reducer %d: %w", s.id, reducer, err))
		}
		if some.done {
			return
		}
	}
	some.flush()
}

func (s *partitionShuffle[K, V]) rows(t dataset.Task, r dataset.Rows, to *some[K, V]) error {
	b, ok := r.(*bucket[K, V])
	if !ok {
		return fmt.Errorf("a %T, expected a %T", r, b)
	}
	val := new(V) // owning takes an address: one for the whole loop
	for i := range b.keys {
		if i%checkEvery == 0 {
			checkContext(t)
		}
		if *val = b.vals[i]; !s.value.Fixed {
			s.value.Own(val) // the user may change it, and the bucket is read again when this task is tried again
		}
		if !to.add(b.keys[i], *val) {
			break
		}
	}
	return nil
}

func (s *partitionShuffle[K, V]) bytes(t dataset.Task, src []byte, to *some[K, V]) error {
	n, src, err := codec.ReadCount(src)
	if err != nil {
		return err
	}
	key, val := new(K), new(V)
	for i := range n {
		if i%checkEvery == 0 {
			checkContext(t)
		}
		if src, err = s.key.Read(src, key); err != nil {
			return fmt.Errorf("key %d of %d: %w", i+1, n, err)
		}
		if src, err = s.value.ReadRow(src, val); err != nil {
			return fmt.Errorf("value %d of %d: %w", i+1, n, err)
		}
		if !to.add(*key, *val) {
			return nil
		}
	}
	if len(src) > 0 {
		return fmt.Errorf("%w: %d bytes after the last of %d rows", codec.ErrDamaged, len(src), n)
	}
	return nil
}
