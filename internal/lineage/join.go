package lineage

import (
	"fmt"
	"math"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/table"
)

// Side is one parent of a join: pairs P of a key and a value.
type Side[P any, K comparable, V any] struct {
	Node  *Node[P]
	Split func(P) (K, V)
	Value *codec.Codec[V]
}

// JoinKey is what the sides of a join agree in.
type JoinKey[K comparable] struct {
	Codec *codec.Codec[K]
	By    string // names what Side.Split takes as the key
	Parts int    // partitions of the result
}

// Outer says which records without a match a join keeps.
type Outer struct{ Left, Right bool }

// Join pairs every record on the left with every one on the right of the same key. Its order is that of the records on
// the left, each with its matches in the order of those; then, if they are kept, come the records on the right without
// a match, key by key in the order in which the keys came first. The order of records is that of (map partition,
// arrival). A side that is spread by this key already is not shuffled.
//
// The records on the right are held in memory, those on the left stream past. join is told which values there are; they
// belong to it.
func Join[L, R any, K comparable, V, W, Q any](s *Scope, l Side[L, K, V], r Side[R, K, W], k JoinKey[K], outer Outer, join func(key K, v V, left bool, w W, right bool) Q) *Node[Q] {
	m := newNode[Q](s, k.Parts, nil, nil).Keep(Partitioning{By: k.By, Parts: k.Parts})
	left, lefts := l.spread(m.id, 0, k)
	right, rights := r.spread(m.id, 1, k)
	m.on(append(left, right...))
	m.loop = func(t dataset.Task, part int, yield func(Q) bool) {
		rows := table.New[K, int32](nil)
		held := rights.hold(t, part, rows, k.Codec)
		held.group(rows.Len())
		j := &joining[K, V, W, Q]{
			held: held, ownLeft: changeable(l.Value), ownRight: changeable(r.Value), join: join, yield: yield, outer: outer.Left,
		}
		if outer.Right {
			j.matched = make([]bool, rows.Len())
		}
		more := true
		var hashes [pairsAtOnce]uint64
		var found [pairsAtOnce]int32
		lefts.visit(t, part, func(keys []K, vals []V) bool {
			checkContext(t)
			for i := range keys {
				hashes[i] = k.Codec.Hash(&keys[i])
			}
			rows.FindAll(hashes[:len(keys)], keys, found[:])
			for i, key := range keys {
				if more = j.pair(key, vals[i], int(found[i])); !more {
					return false
				}
			}
			return true
		})
		if more && outer.Right {
			j.rest(t, rows.Keys())
		}
	}
	return m
}

// joining is the join of one partition.
type joining[K comparable, V, W, Q any] struct {
	held     *held[W]
	matched  []bool   // rows of held, nil where nobody asks
	ownLeft  func(*V) // nil: a value can be given away twice
	ownRight func(*W)
	join     func(K, V, bool, W, bool) Q
	yield    func(Q) bool
	outer    bool
	left     V // owning takes an address: one for all records
	right    W
}

// pair yields what there is for a record on the left; row is that of its key on the right, -1 if it has none.
func (j *joining[K, V, W, Q]) pair(key K, v V, row int) (more bool) {
	if row < 0 {
		return !j.outer || j.yield(j.join(key, v, true, *new(W), false))
	}
	if j.matched != nil {
		j.matched[row] = true
	}
	for _, w := range j.held.of(row) {
		mine := v
		if j.ownLeft != nil {
			j.left = v
			j.ownLeft(&j.left)
			mine = j.left
		}
		if j.ownRight != nil {
			j.right = w
			j.ownRight(&j.right)
			w = j.right
		}
		if !j.yield(j.join(key, mine, true, w, true)) {
			return false
		}
	}
	return true
}

// rest yields the records on the right that nothing on the left has matched.
func (j *joining[K, V, W, Q]) rest(t dataset.Task, keys []K) {
	for row, key := range keys {
		if row%checkEvery == 0 {
			checkContext(t)
		}
		if j.matched[row] {
			continue
		}
		for _, w := range j.held.of(row) {
			if !j.yield(j.join(key, *new(V), false, w, true)) {
				return
			}
		}
	}
}

// changeable gives the codec's Own where a value that is given to two users must be copied, else nil.
func changeable[V any](c *codec.Codec[V]) func(*V) {
	if c.Fixed {
		return nil
	}
	return c.Own
}

// CoGroup has the values of every key of either side: first the keys on the left, then those on the right alone, in the
// order in which they came. Values are in order of (map partition, arrival), nil for a side without any; the slices
// belong to join. A side that is spread by this key already is not shuffled (Spark: cogroup).
func CoGroup[L, R any, K comparable, V, W, Q any](s *Scope, l Side[L, K, V], r Side[R, K, W], k JoinKey[K], join func(K, []V, []W) Q) *Node[Q] {
	m := newNode[Q](s, k.Parts, nil, nil).Keep(Partitioning{By: k.By, Parts: k.Parts})
	left, lefts := l.spread(m.id, 0, k)
	right, rights := r.spread(m.id, 1, k)
	m.on(append(left, right...))
	m.loop = func(t dataset.Task, part int, yield func(Q) bool) {
		rows := table.New[K, int32](nil)
		a := lefts.hold(t, part, rows, k.Codec)
		b := rights.hold(t, part, rows, k.Codec)
		a.group(rows.Len())
		b.group(rows.Len())
		for row, key := range rows.Keys() {
			if row%checkEvery == 0 {
				checkContext(t)
			}
			if !yield(join(key, a.of(row), b.of(row))) {
				return
			}
		}
	}
	return m
}

// spread is how the dataset called of gets the pairs of a side, its dep'th dependency.
func (d Side[P, K, V]) spread(of dataset.ID, dep int, k JoinKey[K]) ([]dataset.Dep, side[K, V]) {
	deps, visit := partitioned(dataset.ShuffleID{Of: of, Dep: dep}, d.Node, d.Split, k.Codec, d.Value, k.By, k.Parts)
	return deps, side[K, V]{visit}
}

// side is a Side that is spread by key.
type side[K comparable, V any] struct{ visit visits[K, V] }

// held is the values of one side of a partition, by the row of their key.
type held[V any] struct {
	rows []int32 // by value, in order of arrival, until they are grouped
	vals []V
	ends []int // by row: where its values end, once they are grouped
}

// hold reads the values of a partition. Keys without a row yet get the next one.
func (d side[K, V]) hold(t dataset.Task, part int, rows *table.Table[K, int32], key *codec.Codec[K]) *held[V] {
	h := &held[V]{}
	d.visit(t, part, func(keys []K, vals []V) bool {
		checkContext(t)
		if len(h.vals) > math.MaxInt32-len(vals) {
			t.Fail(fmt.Errorf("more than %d values on one side of partition %d of a join", math.MaxInt32, part))
		}
		for i := range keys {
			row, found := rows.Row(key.Hash(&keys[i]), keys[i])
			if !found {
				*row = int32(rows.Len() - 1)
			}
			h.rows, h.vals = append(h.rows, *row), append(h.vals, vals[i])
		}
		return true
	})
	return h
}

// group puts the values of each of n rows together, in order of arrival.
func (h *held[V]) group(n int) {
	h.ends = make([]int, n+1) // ends[r+1] counts the values of r, then is where they begin, then where they end
	for _, r := range h.rows {
		h.ends[r+1]++
	}
	for r := range n {
		h.ends[r+1] += h.ends[r]
	}
	vals := make([]V, len(h.vals))
	for i, r := range h.rows {
		vals[h.ends[r]] = h.vals[i]
		h.ends[r]++
	}
	h.rows, h.vals, h.ends = nil, vals, h.ends[:n]
}

// of gives the values of a row, nil if there are none; who gets them may change them, and what lies beyond is safe.
func (h *held[V]) of(row int) []V {
	begin, end := 0, h.ends[row]
	if row > 0 {
		begin = h.ends[row-1]
	}
	if begin == end {
		return nil
	}
	return h.vals[begin:end:end]
}
