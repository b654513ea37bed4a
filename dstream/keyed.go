package dstream

import (
	"iter"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream/rdd"
)

type (
	// KV is a key and its value.
	KV[K comparable, V any] = rdd.KV[K, V]
	// Opt is a value or none.
	Opt[T any] = rdd.Opt[T]
	// Joined is the value of a join.
	Joined[V, W any] = rdd.Joined[V, W]
	// CoGrouped is the value of a cogroup.
	CoGrouped[V, W any] = rdd.CoGrouped[V, W]
	// Partition names one partition of one output of one batch.
	Partition = connector.Partition
)

// Pair makes a KV.
func Pair[K comparable, V any](key K, value V) KV[K, V] { return rdd.Pair(key, value) }

// Some is an Opt with a value.
func Some[T any](v T) Opt[T] { return rdd.Some(v) }

// None is an Opt without a value.
func None[T any]() Opt[T] { return rdd.None[T]() }

// MapValues applies f to every value; keys and partitions stay.
func MapValues[K comparable, V, U any](s *DStream[KV[K, V]], f func(V) U, opts ...Option) *DStream[KV[K, U]] {
	s.c.options("mapValues", opts)
	s.c.function("mapValues", f)
	return narrow(s, "mapValues", 0, func(r rdd.RDD[KV[K, V]]) rdd.RDD[KV[K, U]] { return rdd.MapValues(r, f) })
}

// FlatMapValues pairs every key with every element of f of its value; partitions stay.
func FlatMapValues[K comparable, V, U any](s *DStream[KV[K, V]], f func(V) iter.Seq[U], opts ...Option) *DStream[KV[K, U]] {
	s.c.options("flatMapValues", opts)
	s.c.function("flatMapValues", f)
	return narrow(s, "flatMapValues", 0, func(r rdd.RDD[KV[K, V]]) rdd.RDD[KV[K, U]] { return rdd.FlatMapValues(r, f) })
}

// GroupByKey collects the values of each key of a batch, in order of partition and arrival.
func GroupByKey[K comparable, V any](s *DStream[KV[K, V]], opts ...Option) *DStream[KV[K, []V]] {
	o := s.c.options("groupByKey", opts, "Partitions")
	encodablePairs[K, V](s.c, "groupByKey")
	return narrow(s, "groupByKey", o.partitions, func(r rdd.RDD[KV[K, V]]) rdd.RDD[KV[K, []V]] { return rdd.GroupByKey(r, o.partitions) })
}

// ReduceByKey combines the values of each key of a batch with f, which must be associative; values are combined where
// they are before they are sent to the key's partition.
func ReduceByKey[K comparable, V any](s *DStream[KV[K, V]], f func(a, b V) V, opts ...Option) *DStream[KV[K, V]] {
	o := s.c.options("reduceByKey", opts, "Partitions")
	s.c.function("reduceByKey", f)
	encodablePairs[K, V](s.c, "reduceByKey")
	return narrow(s, "reduceByKey", o.partitions, func(r rdd.RDD[KV[K, V]]) rdd.RDD[KV[K, V]] { return rdd.ReduceByKey(r, f, o.partitions) })
}

// CombineByKey combines the values of each key of a batch: create makes a combiner of the first value, mergeValue adds
// a further value of the same partition, mergeCombiners joins those of two partitions and may change its first
// argument.
func CombineByKey[K comparable, V, C any](s *DStream[KV[K, V]], create func(V) C, mergeValue func(C, V) C, mergeCombiners func(C, C) C, opts ...Option) *DStream[KV[K, C]] {
	o := s.c.options("combineByKey", opts, "Partitions")
	s.c.function("combineByKey", create)
	s.c.function("combineByKey", mergeValue)
	s.c.function("combineByKey", mergeCombiners)
	encodablePairs[K, C](s.c, "combineByKey")
	return narrow(s, "combineByKey", o.partitions, func(r rdd.RDD[KV[K, V]]) rdd.RDD[KV[K, C]] {
		return rdd.CombineByKey(r, create, mergeValue, mergeCombiners, o.partitions)
	})
}
