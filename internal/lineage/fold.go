package lineage

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

// Repartition spreads the records over exactly parts partitions, in turn, starting at another one for each parent
// partition. With one partition the records are in the order of the parent's.
func Repartition[T any](s *Scope, n *Node[T], c *codec.Codec[T], parts int) *Node[T] {
	if parts == 1 && n.parts == 1 {
		return n
	}
	sh := &spreadShuffle[T]{on: n, codec: c, reducers: parts}
	m := newNode(s, parts, []dataset.Dep{{On: n, Shuffle: sh}}, func(t dataset.Task, part int, yield func(T) bool) {
		for chunk := range t.Buckets(sh.id, part) {
			checkContext(t)
			more, err := eachRow(chunk, c, yield)
			if err != nil {
				t.Fail(fmt.Errorf("bucket of shuffle %v for reducer %d: %w", sh.id, part, err))
			}
			if !more {
				return
			}
		}
	})
	sh.id = dataset.ShuffleID{Of: m.id}
	return m
}

// spreadShuffle is the stage boundary of Repartition.
type spreadShuffle[T any] struct {
	id       dataset.ShuffleID
	on       *Node[T]
	codec    *codec.Codec[T]
	reducers int
}

func (s *spreadShuffle[T]) ID() dataset.ShuffleID { return s.id }
func (s *spreadShuffle[T]) Reducers() int         { return s.reducers }

func (s *spreadShuffle[T]) Map(t dataset.Task, part int) []dataset.Rows {
	out := make([]*rows[T], s.reducers)
	all := make([]dataset.Rows, s.reducers)
	for r := range out {
		out[r] = &rows[T]{codec: s.codec}
		all[r] = out[r]
	}
	next := part % s.reducers
	s.on.loop(t, part, func(v T) bool {
		r := out[next]
		if next++; next == s.reducers {
			next = 0
		}
		r.vals = append(r.vals, v)
		s.codec.Own(&r.vals[len(r.vals)-1])
		return true
	})
	return all
}

// Reduce has one partition with one record, f over all records, or none for a dataset without records. f is taken for
// associative and commutative (Spark: reduce).
func Reduce[T any](s *Scope, n *Node[T], c *codec.Codec[T], f func(a, b T) T) *Node[T] {
	return reducePartitions(s, Repartition(s, reducePartitions(s, n, c, f), c, 1), nil, f)
}

// reducePartitions has f over the records of each partition. c copies records of which f may keep a part, because who
// makes them may use their memory again; nil where nobody does.
func reducePartitions[T any](s *Scope, n *Node[T], c *codec.Codec[T], f func(a, b T) T) *Node[T] {
	return newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(T) bool) {
		var sum T
		some := false
		take := func(v T) bool {
			if some {
				sum = f(sum, v)
			} else {
				sum, some = v, true
			}
			return true
		}
		if c == nil || c.Fixed {
			n.loop(t, part, take)
		} else {
			n.loop(t, part, func(v T) bool {
				c.Own(&v)
				return take(v)
			})
		}
		if some {
			yield(sum)
		}
	})
}

// Count has one partition with one record: the number of records, 0 for a dataset without any (Spark: count).
func Count[T any](s *Scope, n *Node[T]) *Node[int64] {
	c, err := codec.For[int64]()
	if err != nil {
		panic("lineage: int64 has no codec: " + err.Error())
	}
	counts := newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(int64) bool) {
		var count int64
		n.loop(t, part, func(T) bool {
			count++
			return true
		})
		yield(count)
	})
	all := Repartition(s, counts, c, 1)
	return newNode(s, 1, same(all), func(t dataset.Task, part int, yield func(int64) bool) {
		var count int64
		all.loop(t, part, func(v int64) bool {
			count += v
			return true
		})
		yield(count)
	})
}
