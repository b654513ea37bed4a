package lineage

import (
	"encoding/binary"
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/table"
)

// Combiner says how values of a key become one (Spark: Aggregator). Merge may change and return its first argument.
type Combiner[V, C any] struct {
	Create func(V) C
	Value  func(C, V) C
	Merge  func(C, C) C
}

// GroupValues collects the values of a key, in order.
func GroupValues[V any]() Combiner[V, []V] {
	return Combiner[V, []V]{
		Create: func(v V) []V { return []V{v} },
		Value:  func(s []V, v V) []V { return append(s, v) },
		Merge:  func(a, b []V) []V { return append(a, b...) },
	}
}

// owning gives combiners copies of the values: they may keep what they get, and who makes values may use the memory of
// one for the next. What cannot change through a copy, or has no codec, is given as it is.
func (f Combiner[V, C]) owning() Combiner[V, C] {
	c, err := codec.For[V]()
	if err != nil || c.Fixed {
		return f
	}
	create, value := f.Create, f.Value
	f.Create = func(v V) C { c.Own(&v); return create(v) }
	f.Value = func(sum C, v V) C { c.Own(&v); return value(sum, v) }
	return f
}

// Keyed is how records P of a dataset come apart into key and value, and results Q together.
type Keyed[P any, K comparable, V, C, Q any] struct {
	Split func(P) (K, V)
	Join  func(K, C) Q
	Key   *codec.Codec[K]
	Value *codec.Codec[C]
	By    string // names what Split takes as the key
}

// ByKey is the usual name for what Keyed.Split takes as the key.
const ByKey = "key"

// CombineByKey combines the values of each key into one, in parts partitions: on the map side first, then over the
// buckets in order of (map partition, row). Where the records are spread by this key already there is no shuffle.
func CombineByKey[P any, K comparable, V, C, Q any](s *Scope, n *Node[P], k Keyed[P, K, V, C, Q], f Combiner[V, C], parts int) *Node[Q] {
	m := newNode[Q](s, parts, nil, nil).Keep(Partitioning{By: k.By, Parts: parts})
	deps, gather := gathered(m.id, n, k, f, parts)
	m.on(deps)
	m.loop = func(t dataset.Task, part int, yield func(Q) bool) { eachPair(gather(t, part), k.Join, yield) }
	return m
}

// gathered is how the dataset called of gets what its parent n has for each key: its dependencies, and a function that
// gives the combined values of one of its partitions.
func gathered[P any, K comparable, V, C, Q any](of dataset.ID, n *Node[P], k Keyed[P, K, V, C, Q], f Combiner[V, C], parts int) ([]dataset.Dep, func(dataset.Task, int) *table.Table[K, C]) {
	f = f.owning()
	combine := func(t dataset.Task, part int) *table.Table[K, C] { return combined(t, n, part, k, f) }
	if parts == 1 && n.parts == 1 || k.By != "" && n.by == (Partitioning{By: k.By, Parts: parts}) {
		return same(n), combine
	}
	sh := &combineShuffle[K, C]{
		id: dataset.ShuffleID{Of: of}, reducers: parts, combine: combine, key: k.Key, value: k.Value, merge: f.Merge,
	}
	return []dataset.Dep{{On: n, Shuffle: sh}}, sh.merged
}

// combined runs the fused loop of a partition into a table.
func combined[P any, K comparable, V, C, Q any](t dataset.Task, n *Node[P], part int, k Keyed[P, K, V, C, Q], f Combiner[V, C]) *table.Table[K, C] {
	tab := table.New[K, C](k.Key.Own)
	cell := new(K) // hashing takes an address: one for the whole loop
	n.loop(t, part, func(p P) bool {
		key, val := k.Split(p)
		*cell = key
		if k.Key.Normal != nil {
			k.Key.Normal(cell)
		}
		if c, ok := tab.Row(k.Key.Hash(cell), *cell); ok {
			*c = f.Value(*c, val)
		} else {
			*c = f.Create(val)
		}
		return true
	})
	return tab
}

func eachPair[K comparable, C, Q any](tab *table.Table[K, C], join func(K, C) Q, yield func(Q) bool) {
	vals := tab.Values()
	for i, k := range tab.Keys() {
		if !yield(join(k, vals[i])) {
			return
		}
	}
}

// combineShuffle is the stage boundary of CombineByKey.
type combineShuffle[K comparable, C any] struct {
	id       dataset.ShuffleID
	reducers int
	combine  func(t dataset.Task, part int) *table.Table[K, C]
	key      *codec.Codec[K]
	value    *codec.Codec[C]
	merge    func(C, C) C
}

func (s *combineShuffle[K, C]) ID() dataset.ShuffleID { return s.id }
func (s *combineShuffle[K, C]) Reducers() int         { return s.reducers }

// Map combines the partition and cuts the table into one bucket per reducer, by the high bits of the key's hash. Rows
// keep their order within a bucket.
func (s *combineShuffle[K, C]) Map(t dataset.Task, part int) []dataset.Rows {
	tab := s.combine(t, part)
	keys, vals := tab.Keys(), tab.Values()
	to := make([]int32, len(keys))
	ends := make([]int, s.reducers+1) // ends[r+1] counts the rows of r, then is where they end
	for i := range keys {
		r := codec.Reducer(s.key.Hash(&keys[i]), s.reducers)
		to[i] = int32(r)
		ends[r+1]++
	}
	for r := range s.reducers {
		ends[r+1] += ends[r]
	}
	outKeys, outVals := make([]K, len(keys)), make([]C, len(keys))
	buckets := make([]dataset.Rows, s.reducers)
	for r := range buckets {
		a, b := ends[r], ends[r+1]
		buckets[r] = &bucket[K, C]{keys: outKeys[a:b:b], vals: outVals[a:b:b], key: s.key, value: s.value}
	}
	for i, r := range to {
		at := ends[r]
		ends[r]++
		outKeys[at], outVals[at] = keys[i], vals[i]
		if !s.value.Plain {
			s.value.Own(&outVals[at])
		}
	}
	return buckets
}

// bucket is what one map task has for one reducer. Encoding: count as varint, then key and value of each row, and a
// zero byte where both take none.
type bucket[K comparable, C any] struct {
	keys  []K
	vals  []C
	key   *codec.Codec[K]
	value *codec.Codec[C]
}

func (b *bucket[K, C]) Len() int { return len(b.keys) }

func (b *bucket[K, C]) Encode(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b.keys)))
	for i := range b.keys {
		dst = b.key.Append(dst, &b.keys[i])
		dst = b.value.AppendRow(dst, &b.vals[i])
	}
	return dst
}

// merged merges the buckets for a reducer. Keys and values of buckets live as long as the table refers to them.
func (s *combineShuffle[K, C]) merged(t dataset.Task, reducer int) *table.Table[K, C] {
	tab := table.New[K, C](nil)
	for chunk := range t.Buckets(s.id, reducer) {
		checkContext(t)
		var err error
		if chunk.Rows != nil {
			err = s.mergeRows(tab, chunk.Rows)
		} else {
			err = s.mergeBytes(tab, chunk.Bytes)
		}
		if err != nil {
			t.Fail(fmt.Errorf("bucket of shuffle %v for reducer %d: %w", s.id, reducer, err))
		}
	}
	return tab
}

func (s *combineShuffle[K, C]) mergeRows(tab *table.Table[K, C], r dataset.Rows) error {
	b, ok := r.(*bucket[K, C])
	if !ok {
		return fmt.Errorf("a %T, expected a %T", r, b)
	}
	val := new(C) // owning takes an address: one for the whole loop
	for i := range b.keys {
		*val = b.vals[i]
		if !s.value.Fixed {
			// What comes of it may be changed, by merging and by the user, and the bucket is read again when this task is
			// tried again. Merging may keep its second argument, too.
			s.value.Own(val)
		}
		if v, ok := tab.Row(s.key.Hash(&b.keys[i]), b.keys[i]); ok {
			*v = s.merge(*v, *val)
		} else {
			*v = *val
		}
	}
	return nil
}

func (s *combineShuffle[K, C]) mergeBytes(tab *table.Table[K, C], src []byte) error {
	n, src, err := codec.ReadCount(src)
	if err != nil {
		return err
	}
	key, val := new(K), new(C)
	for i := range n {
		if src, err = s.key.Read(src, key); err != nil {
			return fmt.Errorf("key %d of %d: %w", i+1, n, err)
		}
		if src, err = s.value.ReadRow(src, val); err != nil {
			return fmt.Errorf("value %d of %d: %w", i+1, n, err)
		}
		if v, ok := tab.Row(s.key.Hash(key), *key); ok {
			*v = s.merge(*v, *val)
		} else {
			*v = *val
		}
	}
	if len(src) > 0 {
		return fmt.Errorf("%w: %d bytes after the last of %d rows", codec.ErrDamaged, len(src), n)
	}
	return nil
}
