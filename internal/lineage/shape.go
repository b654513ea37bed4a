package lineage

import (
	"iter"
	"math/rand/v2"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

// Cartesian pairs every record of a with every one of b: partition i*n+j has those of partition i of a and j of b, where
// b has n, in the order of a's records, each with all of b's. A partition of b is held in memory while one of a streams
// past; each is computed once for every partition of the other. Codecs copy values that could be changed through others
// of their copies; nil where there is none (Spark: cartesian).
func Cartesian[T, U, Q any](s *Scope, a *Node[T], b *Node[U], ofA *codec.Codec[T], ofB *codec.Codec[U], join func(T, U) Q) *Node[Q] {
	deps := []dataset.Dep{
		{On: a, Narrow: func(part int) []int { return []int{part / b.parts} }},
		{On: b, Narrow: func(part int) []int { return []int{part % b.parts} }},
	}
	return newNode(s, a.parts*b.parts, deps, func(t dataset.Task, part int, yield func(Q) bool) {
		var held []U
		b.loop(t, part%b.parts, func(u U) bool {
			held = append(held, u)
			own(ofB, &held[len(held)-1])
			return true
		})
		left := checkEvery
		mine, yours := new(T), new(U) // owning takes an address: one for the whole loop
		a.loop(t, part/b.parts, func(v T) bool {
			for _, u := range held {
				if left--; left == 0 {
					left = checkEvery
					checkContext(t)
				}
				*mine, *yours = v, u
				own(ofA, mine)
				own(ofB, yours)
				if !yield(join(*mine, *yours)) {
					return false
				}
			}
			return len(held) > 0
		})
	})
}

// own copies what could be changed through another copy of a value.
func own[T any](c *codec.Codec[T], v *T) {
	if c != nil && !c.Fixed {
		c.Own(v)
	}
}

// Coalesce puts neighbouring partitions together until there are at most parts of them; records do not move from one
// process to another (Spark: coalesce).
func Coalesce[T any](s *Scope, n *Node[T], parts int) *Node[T] {
	if n.parts <= parts {
		return n
	}
	reads := func(part int) []int {
		var from []int
		for p := part * n.parts / parts; p < (part+1)*n.parts/parts; p++ {
			from = append(from, p)
		}
		return from
	}
	return newNode(s, parts, []dataset.Dep{{On: n, Narrow: reads}}, func(t dataset.Task, part int, yield func(T) bool) {
		more := true
		for _, p := range reads(part) {
			n.loop(t, p, func(v T) bool {
				more = yield(v)
				return more
			})
			if !more {
				return
			}
		}
	})
}

// Static is a dataset that comes from no input: seq gives the records of a partition, wherever and whenever they are
// needed.
func Static[T any](s *Scope, parts int, seq func(part int) iter.Seq[T]) *Node[T] {
	return newNode(s, parts, nil, func(t dataset.Task, part int, yield func(T) bool) {
		if records := seq(part); records != nil {
			pass, _ := gate(t, yield)
			records(pass)
		}
		checkContext(t)
	})
}

// Sample keeps each record with a probability. Which ones depends on seed, the batch time, and the number of the
// partition and of the record in it.
func Sample[T any](s *Scope, n *Node[T], fraction float64, seed uint64) *Node[T] {
	const unit = 1 << 53
	below := uint64(fraction * unit)
	at := uint64(s.Time)
	return newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(T) bool) {
		chance := rand.New(rand.NewPCG(seed, at<<16^uint64(part)))
		n.loop(t, part, func(v T) bool {
			return chance.Uint64()%unit >= below || yield(v)
		})
	}).Keep(n.by)
}

// PartitionBy spreads records by key over parts partitions, in order of (map partition, arrival). Where they are spread by
// this key already they stay (Spark: partitionBy).
func PartitionBy[P any, K comparable, V, Q any](s *Scope, d Side[P, K, V], k JoinKey[K], join func(K, V) Q) *Node[Q] {
	m := newNode[Q](s, k.Parts, nil, nil).Keep(Partitioning{By: k.By, Parts: k.Parts})
	deps, in := d.spread(m.id, 0, k)
	m.on(deps)
	m.loop = func(t dataset.Task, part int, yield func(Q) bool) {
		in.visit(t, part, func(keys []K, vals []V) bool {
			for i, key := range keys {
				if !yield(join(key, vals[i])) {
					return false
				}
			}
			return true
		})
	}
	return m
}
