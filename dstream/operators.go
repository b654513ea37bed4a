package dstream

import (
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
)

// Number is what Sum adds.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr | ~float32 | ~float64
}

// Sum adds two numbers.
func Sum[T Number](a, b T) T { return a + b }

// narrow is an operator on one parent's dataset of the same time; where the parent has none, it has none.
func narrow[T, U any](s *DStream[T], op string, parts int, f func(rdd.RDD[T]) rdd.RDD[U]) *DStream[U] {
	return add(s.c, op, s.slideMS, []id.Stream{s.id}, parts, func(p *pass, sc *lineage.Scope) (*lineage.Node[U], error) {
		n, err := s.get(p, sc.Time)
		if n == nil || err != nil {
			return nil, err
		}
		return f(rdd.Of(sc, n)).Node(), nil
	})
}

// transform is an operator on one parent's dataset of the same time, which must exist (Spark: transform).
func transform[T, U any](s *DStream[T], op string, parts int, f func(rdd.RDD[T]) rdd.RDD[U]) *DStream[U] {
	return add(s.c, op, s.slideMS, []id.Stream{s.id}, parts, func(p *pass, sc *lineage.Scope) (*lineage.Node[U], error) {
		n, err := s.must(p, sc.Time, op)
		if err != nil {
			return nil, err
		}
		return f(rdd.Of(sc, n)).Node(), nil
	})
}

// encodable checks that records of T can cross a shuffle.
func encodable[T any](c *Context, op string) {
	if _, err := codec.For[T](); err != nil {
		c.fail(op, err)
	}
}

// encodablePairs checks that pairs can cross a shuffle by their key.
func encodablePairs[K comparable, V any](c *Context, op string) {
	if _, err := codec.For[KV[K, V]](); err != nil {
		c.fail(op, err)
		return
	}
	keyable[K](c, op)
}

// keyable checks that values of K can be keys.
func keyable[K comparable](c *Context, op string) {
	if _, err := codec.ForKey[K](); err != nil {
		c.fail(op, err)
	}
}

// Map applies f to every record.
func Map[T, U any](s *DStream[T], f func(T) U, opts ...Option) *DStream[U] {
	s.c.options("map", opts)
	s.c.function("map", f)
	return narrow(s, "map", 0, func(r rdd.RDD[T]) rdd.RDD[U] { return rdd.Map(r, f) })
}

// FlatMap gives every element of f of every record. A nil sequence is an empty one.
func FlatMap[T, U any](s *DStream[T], f func(T) iter.Seq[U], opts ...Option) *DStream[U] {
	s.c.options("flatMap", opts)
	s.c.function("flatMap", f)
	return narrow(s, "flatMap", 0, func(r rdd.RDD[T]) rdd.RDD[U] { return rdd.FlatMap(r, f) })
}

// MapPartitions applies f to every partition, to empty ones too. A nil sequence is an empty one. The sequence that f gets
// is for the goroutine that ranges over f's, until that ends; it may be ranged over again, which computes it again.
func MapPartitions[T, U any](s *DStream[T], f func(iter.Seq[T]) iter.Seq[U], opts ...Option) *DStream[U] {
	s.c.options("mapPartitions", opts)
	s.c.function("mapPartitions", f)
	return narrow(s, "mapPartitions", 0, func(r rdd.RDD[T]) rdd.RDD[U] { return rdd.MapPartitions(r, f) })
}

// Glom makes one slice of every partition.
func Glom[T any](s *DStream[T], opts ...Option) *DStream[[]T] {
	s.c.options("glom", opts)
	return narrow(s, "glom", 0, rdd.Glom[T])
}

// Filter keeps the records for which f is true.
func (s *DStream[T]) Filter(f func(T) bool, opts ...Option) *DStream[T] {
	s.c.options("filter", opts)
	s.c.function("filter", f)
	return narrow(s, "filter", 0, func(r rdd.RDD[T]) rdd.RDD[T] { return r.Filter(f) })
}

// Union has the partitions of s, then those of the others, which must be of the same graph and have the same interval.
// A batch for which one of them has no dataset fails.
func (s *DStream[T]) Union(others ...*DStream[T]) *DStream[T] {
	all := append([]*DStream[T]{s}, others...)
	parents := make([]id.Stream, len(all))
	for i, o := range all {
		if err := together(s, i+1, o); err != nil {
			s.c.fail("union", err)
			return s
		}
		parents[i] = o.id
	}
	return add(s.c, "union", s.slideMS, parents, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[T], error) {
		nodes := make([]*lineage.Node[T], len(all))
		for i, o := range all {
			n, err := o.must(p, sc.Time, "union")
			if err != nil {
				return nil, err
			}
			nodes[i] = n
		}
		return lineage.Union(sc, nodes), nil
	})
}

// Repartition spreads the records evenly over n partitions. A batch for which s has no dataset fails.
func (s *DStream[T]) Repartition(n int) *DStream[T] {
	if n < 1 || n > rdd.MaxPartitions {
		s.c.fail("repartition", fmt.Errorf("%d partitions, expected 1 to %d", n, rdd.MaxPartitions))
	}
	encodable[T](s.c, "repartition")
	return transform(s, "repartition", n, func(r rdd.RDD[T]) rdd.RDD[T] { return r.Repartition(n) })
}

// Count has one record per batch: the number of records, 0 for an empty batch. A batch for which s has no dataset
// fails.
func (s *DStream[T]) Count() *DStream[int64] {
	return transform(s, "count", 0, rdd.Count[T])
}

// Reduce has one record per batch, f over all records, and none for an empty batch. f must be associative and
// commutative.
func (s *DStream[T]) Reduce(f func(a, b T) T) *DStream[T] {
	s.c.function("reduce", f)
	encodable[T](s.c, "reduce")
	return narrow(s, "reduce", 0, func(r rdd.RDD[T]) rdd.RDD[T] { return r.Reduce(f) })
}

// CountByValue counts how often each record occurs in a batch.
func CountByValue[T comparable](s *DStream[T], opts ...Option) *DStream[KV[T, int64]] {
	o := s.c.options("countByValue", opts, "Partitions")
	keyable[T](s.c, "countByValue")
	return narrow(s, "countByValue", o.partitions, func(r rdd.RDD[T]) rdd.RDD[KV[T, int64]] { return rdd.CountByValue(r, o.partitions) })
}
