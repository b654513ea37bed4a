package rdd

import (
	"fmt"
	"iter"
	"slices"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/lineage"
)

// Coalesce puts neighbouring partitions together until there are at most n; unlike Repartition it moves no records.
func (r RDD[T]) Coalesce(n int) RDD[T] {
	return then(r, lineage.Coalesce(r.scope, r.node, partitions(r.scope, "coalesce", []int{n})))
}

// Sample keeps each record with the probability fraction, from 0 to 1. Which ones depends on the seed, the batch, and the
// place of the record, so that a batch that is run again has the same sample.
func (r RDD[T]) Sample(fraction float64, seed uint64) RDD[T] {
	if !(fraction >= 0 && fraction <= 1) {
		r.scope.Fail(fmt.Errorf("sample: the fraction is %v, expected 0 to 1", fraction))
		return then(r, lineage.Empty[T](r.scope))
	}
	return then(r, lineage.Sample(r.scope, r.node, fraction, seed))
}

// Distinct has every record once, in each partition in the order in which they came first.
func Distinct[T comparable](r RDD[T], parts ...int) RDD[T] { return Keys(units(r, "distinct", parts)) }

// units has every record once, as a key.
func units[T comparable](r RDD[T], op string, parts []int) RDD[KV[T, struct{}]] {
	return keySet(asKeys(r), op, parts)
}

func asKeys[T comparable](r RDD[T]) RDD[KV[T, struct{}]] {
	return Map(r, func(v T) KV[T, struct{}] { return KV[T, struct{}]{Key: v} })
}

// Subtract has the records of a that b does not have, as often as a has them and in its order.
func Subtract[T comparable](a, b RDD[T], parts ...int) RDD[T] {
	return Keys(without(asKeys(a), asKeys(b), "subtract", parts))
}

// SubtractByKey has the records of a whose key b does not have, in the order of a.
func SubtractByKey[K comparable, V, W any](a RDD[KV[K, V]], b RDD[KV[K, W]], parts ...int) RDD[KV[K, V]] {
	return without(a, b, "subtractByKey", parts)
}

func without[K comparable, V, W any](a RDD[KV[K, V]], b RDD[KV[K, W]], op string, parts []int) RDD[KV[K, V]] {
	if !together(op, a, b) {
		return then(a, lineage.Empty[KV[K, V]](a.scope))
	}
	kept := LeftOuterJoin(a, keySet(b, op, parts), parts...).Filter(func(p KV[K, Joined[V, Opt[struct{}]]]) bool { return !p.Value.Right.OK })
	return MapValues(kept, func(j Joined[V, Opt[struct{}]]) V { return j.Left })
}

// keySet has every key once. Where keys are in their partitions already they stay.
func keySet[K comparable, V any](r RDD[KV[K, V]], op string, parts []int) RDD[KV[K, struct{}]] {
	return combine(MapValues(r, func(V) struct{} { return struct{}{} }), op, lineage.Combiner[struct{}, struct{}]{
		Create: func(struct{}) struct{} { return struct{}{} },
		Value:  func(c, _ struct{}) struct{} { return c },
		Merge:  func(c, _ struct{}) struct{} { return c },
	}, parts)
}

// Intersection has, once each, the records that both a and b have, in each partition in the order in which they came
// first in a.
func Intersection[T comparable](a, b RDD[T], parts ...int) RDD[T] {
	if !together("intersection", a, b) {
		return then(a, lineage.Empty[T](a.scope))
	}
	return Keys(Join(units(a, "intersection", parts), units(b, "intersection", parts), parts...))
}

// Cartesian pairs every record of a with every one of b: partition i*n+j has those of partition i of a and j of b, where
// b has n, in the order of a's records, each with all of b's. A partition of b is held in memory, those of a stream past;
// each is computed once for every partition of the other dataset (Spark: cartesian).
func Cartesian[T, U any](a RDD[T], b RDD[U]) RDD[Joined[T, U]] {
	if !together("cartesian", a, b) {
		return then(a, lineage.Empty[Joined[T, U]](a.scope))
	}
	if total := a.node.Partitions() * b.node.Partitions(); total > MaxPartitions {
		a.scope.Fail(fmt.Errorf("cartesian: %d times %d partitions, expected at most %d in all: Coalesce makes fewer",
			a.node.Partitions(), b.node.Partitions(), MaxPartitions))
		return then(a, lineage.Empty[Joined[T, U]](a.scope))
	}
	return then(a, lineage.Cartesian(a.scope, a.node, b.node, copier[T](), copier[U](), func(v T, u U) Joined[T, U] {
		return Joined[T, U]{Left: v, Right: u}
	}))
}

// copier gives the codec that copies values of T, nil for a type without one: its values are shared.
func copier[T any]() *codec.Codec[T] {
	c, err := codec.For[T]()
	if err != nil {
		return nil
	}
	return c
}

// FromSlice is a dataset of the given records beside r, for the same batch, in parts partitions (1 if it is not given):
// what a program knows by itself, to be joined, say. The slice must be the same whenever the function given to Transform
// is called, and not change (Spark: parallelize).
func FromSlice[T, U any](r RDD[T], vals []U, parts ...int) RDD[U] {
	n := len(vals)
	count := static(r.scope, "fromSlice", parts)
	c := copier[U]()
	return then(r, lineage.Static(r.scope, count, func(part int) iter.Seq[U] {
		some := vals[part*n/count : (part+1)*n/count]
		if c == nil || c.Fixed {
			return slices.Values(some)
		}
		return func(yield func(U) bool) { // the program's slice is not what operators may change
			for _, v := range some {
				if c.Own(&v); !yield(v) {
					return
				}
			}
		}
	}))
}

// FromSeq is FromSlice of records that f makes, partition by partition of parts (1 if it is not given), where they are
// needed: on executors, maybe several times. f must give the same records every time.
func FromSeq[T, U any](r RDD[T], f func(part, parts int) iter.Seq[U], parts ...int) RDD[U] {
	count := static(r.scope, "fromSeq", parts)
	return then(r, lineage.Static(r.scope, count, func(part int) iter.Seq[U] { return f(part, count) }))
}

func static(s *lineage.Scope, op string, parts []int) int {
	if len(parts) == 0 {
		return 1
	}
	return partitions(s, op, parts)
}
