// Package rdd owns the dataset of one batch and its operators: what DStreams apply to every batch, and what user code
// gets inside Transform. It promises the meaning of Spark's RDD operators of the same name, on one batch, without side
// effects. It must not know streams or the engine.
package rdd

import (
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
)

// KV is a key and its value (Spark: a pair).
type KV[K comparable, V any] struct {
	Key   K
	Value V
}

// Pair makes a KV.
func Pair[K comparable, V any](key K, value V) KV[K, V] { return KV[K, V]{Key: key, Value: value} }

// String gives the pair as (key,value), as Spark prints it.
func (p KV[K, V]) String() string { return fmt.Sprintf("(%v,%v)", p.Key, p.Value) }

// Opt is a value or none.
type Opt[T any] struct {
	Value T
	OK    bool
}

// Some is an Opt with a value.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, OK: true} }

// None is an Opt without a value.
func None[T any]() Opt[T] { return Opt[T]{} }

// String gives Some(value) or None.
func (o Opt[T]) String() string {
	if !o.OK {
		return "None"
	}
	return fmt.Sprintf("Some(%v)", o.Value)
}

// Joined is the value of a join.
type Joined[V, W any] struct {
	Left  V
	Right W
}

// String gives the two sides as (left,right), as Spark prints them.
func (j Joined[V, W]) String() string { return fmt.Sprintf("(%v,%v)", j.Left, j.Right) }

// CoGrouped is the value of a cogroup: all values of a key on either side, in order of arrival.
type CoGrouped[V, W any] struct {
	Left  []V
	Right []W
}

// RDD is the dataset of one batch: a description of how it is computed, not the records. Values are made by the engine
// and by operators only. In Transform it has operators, and no actions; in ForeachRDD it has actions (Collect, Take,
// First, Count), and no operators.
type RDD[T any] struct {
	node  *lineage.Node[T]
	scope *lineage.Scope
	jobs  dataset.Jobs // nil: actions are not for here
}

// Of gives a lineage node under a scope. For package dstream.
func Of[T any](s *lineage.Scope, n *lineage.Node[T]) RDD[T] { return RDD[T]{node: n, scope: s} }

// Node gives the lineage node. For package dstream.
func (r RDD[T]) Node() *lineage.Node[T] { return r.node }

// In says whether the dataset was made under a scope. For package dstream.
func (r RDD[T]) In(s *lineage.Scope) bool { return r.scope == s }

// then makes an RDD of the same scope.
func then[T, U any](r RDD[T], n *lineage.Node[U]) RDD[U] { return RDD[U]{node: n, scope: r.scope} }

// resolve finds the codec of a type. Streams have checked it when the graph was built; inside Transform the batch
// fails with the error.
func resolve[T any](s *lineage.Scope, op string) (*codec.Codec[T], bool) {
	return resolved(s, op, codec.For[T])
}

// resolveKey is resolve of a type of keys.
func resolveKey[K comparable](s *lineage.Scope, op string) (*codec.Codec[K], bool) {
	return resolved(s, op, codec.ForKey[K])
}

func resolved[T any](s *lineage.Scope, op string, resolve func() (*codec.Codec[T], error)) (*codec.Codec[T], bool) {
	c, err := resolve()
	if err != nil {
		s.Fail(fmt.Errorf("%s: %w", op, err))
	}
	return c, err == nil
}

// partitions gives n, or the application's default where n is 0.
func partitions(s *lineage.Scope, op string, n []int) int {
	if len(n) == 0 || n[0] == 0 {
		return s.Partitions
	}
	if n[0] < 0 || n[0] > MaxPartitions {
		s.Fail(fmt.Errorf("%s: %d partitions, expected 1 to %d", op, n[0], MaxPartitions))
		return 1
	}
	return n[0]
}

// MaxPartitions bounds the partitions that an operator may ask for.
const MaxPartitions = 1 << 16

// Map applies f to every record.
func Map[T, U any](r RDD[T], f func(T) U) RDD[U] { return then(r, lineage.Map(r.scope, r.node, f)) }

// FlatMap gives every element of f of every record. A nil sequence is an empty one.
func FlatMap[T, U any](r RDD[T], f func(T) iter.Seq[U]) RDD[U] {
	return then(r, lineage.FlatMap(r.scope, r.node, f))
}

// MapPartitions applies f to every partition, to empty ones too. A nil sequence is an empty one.
func MapPartitions[T, U any](r RDD[T], f func(iter.Seq[T]) iter.Seq[U]) RDD[U] {
	return then(r, lineage.MapPartitions(r.scope, r.node, f))
}

// Glom makes one slice of every partition.
func Glom[T any](r RDD[T]) RDD[[]T] {
	c := copier[T]()
	return MapPartitions(r, func(seq iter.Seq[T]) iter.Seq[[]T] {
		return func(yield func([]T) bool) {
			all := []T{}
			for v := range seq {
				if all = append(all, v); c != nil && !c.Fixed { // who made it may use its memory again
					c.Own(&all[len(all)-1])
				}
			}
			yield(all)
		}
	})
}

// Filter keeps the records for which f is true.
func (r RDD[T]) Filter(f func(T) bool) RDD[T] { return then(r, lineage.Filter(r.scope, r.node, f)) }

// Union has the partitions of r, then those of the others.
func (r RDD[T]) Union(others ...RDD[T]) RDD[T] {
	nodes := []*lineage.Node[T]{r.node}
	for _, o := range others {
		if !together("union", r, o) {
			return then(r, lineage.Empty[T](r.scope))
		}
		nodes = append(nodes, o.node)
	}
	return then(r, lineage.Union(r.scope, nodes))
}

// Repartition spreads the records evenly over n partitions.
func (r RDD[T]) Repartition(n int) RDD[T] {
	c, ok := resolve[T](r.scope, "repartition")
	if !ok {
		return then(r, lineage.Empty[T](r.scope))
	}
	return then(r, lineage.Repartition(r.scope, r.node, c, partitions(r.scope, "repartition", []int{n})))
}

// Count has one record: the number of records, 0 if there are none. The method is the action.
func Count[T any](r RDD[T]) RDD[int64] { return then(r, lineage.Count(r.scope, r.node)) }

// Reduce has one record, f over all records, or none if there are none. f must be associative and commutative.
func (r RDD[T]) Reduce(f func(a, b T) T) RDD[T] {
	c, ok := resolve[T](r.scope, "reduce")
	if !ok {
		return then(r, lineage.Empty[T](r.scope))
	}
	return then(r, lineage.Reduce(r.scope, r.node, c, f))
}
