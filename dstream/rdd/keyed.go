package rdd

import (
	"iter"

	"github.com/raftstream/raftstream/internal/lineage"
)

func split[K comparable, V any](p KV[K, V]) (K, V) { return p.Key, p.Value }

// CombineByKey combines the values of each key: create makes a combiner of the first value, mergeValue adds a further
// one of the same partition, mergeCombiners joins those of two partitions and may change its first argument. parts is
// the number of partitions of the result, the application's default if it is not given.
func CombineByKey[K comparable, V, C any](r RDD[KV[K, V]], create func(V) C, mergeValue func(C, V) C, mergeCombiners func(C, C) C, parts ...int) RDD[KV[K, C]] {
	return combine(r, "combineByKey", lineage.Combiner[V, C]{Create: create, Value: mergeValue, Merge: mergeCombiners}, parts)
}

func combine[K comparable, V, C any](r RDD[KV[K, V]], op string, f lineage.Combiner[V, C], parts []int) RDD[KV[K, C]] {
	key, okKey := resolveKey[K](r.scope, op)
	value, okValue := resolve[C](r.scope, op)
	if !okKey || !okValue {
		return then(r, lineage.Empty[KV[K, C]](r.scope))
	}
	k := lineage.Keyed[KV[K, V], K, V, C, KV[K, C]]{Split: split[K, V], Join: Pair[K, C], Key: key, Value: value, By: lineage.ByKey}
	return then(r, lineage.CombineByKey(r.scope, r.node, k, f, partitions(r.scope, op, parts)))
}

// ReduceByKey combines the values of each key with f, which must be associative.
func ReduceByKey[K comparable, V any](r RDD[KV[K, V]], f func(a, b V) V, parts ...int) RDD[KV[K, V]] {
	return combine(r, "reduceByKey", lineage.Combiner[V, V]{Create: func(v V) V { return v }, Value: f, Merge: f}, parts)
}

// GroupByKey collects the values of each key, in order of partition and arrival.
func GroupByKey[K comparable, V any](r RDD[KV[K, V]], parts ...int) RDD[KV[K, []V]] {
	return combine(r, "groupByKey", lineage.GroupValues[V](), parts)
}

// CountByValue counts how often each record occurs.
func CountByValue[T comparable](r RDD[T], parts ...int) RDD[KV[T, int64]] {
	ones := Map(r, func(v T) KV[T, int64] { return KV[T, int64]{Key: v, Value: 1} })
	return ReduceByKey(ones, func(a, b int64) int64 { return a + b }, parts...)
}

// MapValues applies f to every value. Records stay in their partitions, which remain spread by key.
func MapValues[K comparable, V, U any](r RDD[KV[K, V]], f func(V) U) RDD[KV[K, U]] {
	n := lineage.Map(r.scope, r.node, func(p KV[K, V]) KV[K, U] { return KV[K, U]{Key: p.Key, Value: f(p.Value)} })
	return then(r, n.Keep(r.node.Partitioned()))
}

// FlatMapValues pairs the key of every record with every element of f of its value.
func FlatMapValues[K comparable, V, U any](r RDD[KV[K, V]], f func(V) iter.Seq[U]) RDD[KV[K, U]] {
	n := lineage.FlatMap(r.scope, r.node, func(p KV[K, V]) iter.Seq[KV[K, U]] {
		return func(yield func(KV[K, U]) bool) {
			seq := f(p.Value)
			if seq == nil {
				return
			}
			for u := range seq {
				if !yield(KV[K, U]{Key: p.Key, Value: u}) {
					return
				}
			}
		}
	})
	return then(r, n.Keep(r.node.Partitioned()))
}

// AggregateByKey combines the values of each key: add takes a value into an aggregate that began as zero, merge joins
// the aggregates of two partitions. Either may change its first argument: every key of every partition begins with a
// zero of its own.
func AggregateByKey[K comparable, V, C any](r RDD[KV[K, V]], zero C, add func(C, V) C, merge func(a, b C) C, parts ...int) RDD[KV[K, C]] {
	const op = "aggregateByKey"
	c, ok := resolve[C](r.scope, op)
	if !ok {
		return then(r, lineage.Empty[KV[K, C]](r.scope))
	}
	return combine(r, op, lineage.Combiner[V, C]{Value: add, Merge: merge, Create: func(v V) C {
		mine := zero
		c.Own(&mine)
		return add(mine, v)
	}}, parts)
}

// FoldByKey combines the values of each key with f, which must be associative, beginning with zero in every partition.
func FoldByKey[K comparable, V any](r RDD[KV[K, V]], zero V, f func(a, b V) V, parts ...int) RDD[KV[K, V]] {
	return AggregateByKey(r, zero, f, f, parts...)
}

// CountByKey counts the records of each key.
func CountByKey[K comparable, V any](r RDD[KV[K, V]], parts ...int) RDD[KV[K, int64]] {
	ones := MapValues(r, func(V) int64 { return 1 })
	return ReduceByKey(ones, func(a, b int64) int64 { return a + b }, parts...)
}

// Keys has the key of every record, in its place.
func Keys[K comparable, V any](r RDD[KV[K, V]]) RDD[K] {
	return Map(r, func(p KV[K, V]) K { return p.Key })
}

// Values has the value of every record, in its place.
func Values[K comparable, V any](r RDD[KV[K, V]]) RDD[V] {
	return Map(r, func(p KV[K, V]) V { return p.Value })
}

// KeyBy gives every record the key that f says.
func KeyBy[T any, K comparable](r RDD[T], f func(T) K) RDD[KV[K, T]] {
	return Map(r, func(v T) KV[K, T] { return KV[K, T]{Key: f(v), Value: v} })
}

// GroupBy collects the records of each key that f says, in order of partition and arrival.
func GroupBy[T any, K comparable](r RDD[T], f func(T) K, parts ...int) RDD[KV[K, []T]] {
	return GroupByKey(KeyBy(r, f), parts...)
}

// PartitionBy spreads the records by key, in order of partition and arrival: records of the same key are in the same
// partition, where operators by key with the same number of partitions find them without moving them again.
func PartitionBy[K comparable, V any](r RDD[KV[K, V]], parts ...int) RDD[KV[K, V]] {
	const op = "partitionBy"
	n := partitions(r.scope, op, parts)
	if r.node.Partitioned() == (lineage.Partitioning{By: lineage.ByKey, Parts: n}) {
		return r
	}
	key, okKey := resolveKey[K](r.scope, op)
	value, okValue := resolve[V](r.scope, op)
	if !okKey || !okValue {
		return then(r, lineage.Empty[KV[K, V]](r.scope))
	}
	d := side[K, V]{Node: r.node, Split: split[K, V], Value: value}
	return then(r, lineage.PartitionBy(r.scope, d, lineage.JoinKey[K]{Codec: key, By: lineage.ByKey, Parts: n}, Pair[K, V]))
}
