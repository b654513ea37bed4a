package dstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/dstream/rdd"
)

// Join pairs, batch by batch, every record of a with every one of b of the same key. Within a partition the order is
// that of a's records, each with its matches in the order of b's. The records of b are held in memory, those of a stream
// past: give the smaller stream last. Both streams must be of the same graph and have the same interval; a batch for
// which one of them has no dataset fails. Options: Partitions.
func Join[K comparable, V, W any](a *DStream[KV[K, V]], b *DStream[KV[K, W]], opts ...Option) *DStream[KV[K, Joined[V, W]]] {
	return joined(a, b, "join", opts, rdd.Join[K, V, W])
}

// LeftOuterJoin is Join that also has the records of a without a match, where they stand in a.
func LeftOuterJoin[K comparable, V, W any](a *DStream[KV[K, V]], b *DStream[KV[K, W]], opts ...Option) *DStream[KV[K, Joined[V, Opt[W]]]] {
	return joined(a, b, "leftOuterJoin", opts, rdd.LeftOuterJoin[K, V, W])
}

// RightOuterJoin is Join that also has the records of b without a match, after the others of their partition.
func RightOuterJoin[K comparable, V, W any](a *DStream[KV[K, V]], b *DStream[KV[K, W]], opts ...Option) *DStream[KV[K, Joined[Opt[V], W]]] {
	return joined(a, b, "rightOuterJoin", opts, rdd.RightOuterJoin[K, V, W])
}

// FullOuterJoin is Join that also has the records of either side without a match.
func FullOuterJoin[K comparable, V, W any](a *DStream[KV[K, V]], b *DStream[KV[K, W]], opts ...Option) *DStream[KV[K, Joined[Opt[V], Opt[W]]]] {
	return joined(a, b, "fullOuterJoin", opts, rdd.FullOuterJoin[K, V, W])
}

// CoGroup has, batch by batch, one record for every key of a or b, with all its values on either side in order of
// partition and arrival. The slices belong to who gets them. What is said of streams and options of Join holds here too.
func CoGroup[K comparable, V, W any](a *DStream[KV[K, V]], b *DStream[KV[K, W]], opts ...Option) *DStream[KV[K, CoGrouped[V, W]]] {
	return joined(a, b, "cogroup", opts, rdd.CoGroup[K, V, W])
}

// joined is an operator that brings two streams together by key.
func joined[K comparable, V, W, U any](a *DStream[KV[K, V]], b *DStream[KV[K, W]], op string, opts []Option, f func(rdd.RDD[KV[K, V]], rdd.RDD[KV[K, W]], ...int) rdd.RDD[U]) *DStream[U] {
	o := a.c.options(op, opts, "Partitions")
	encodablePairs[K, V](a.c, op)
	encodablePairs[K, W](a.c, op)
	return transformWith(a, b, op, o.partitions, func(x rdd.RDD[KV[K, V]], y rdd.RDD[KV[K, W]], _ time.Time) rdd.RDD[U] {
		return f(x, y, o.partitions)
	})
}

// related checks that an operator can read a further stream beside s; else the error is recorded at the caller.
func related[T, V any](s *DStream[T], op string, other *DStream[V]) bool {
	switch {
	case other == nil || other.c != s.c:
		s.c.fail(op, errors.New("the streams are not of the same graph"))
		return false
	case other.slideMS != s.slideMS:
		s.c.fail(op, fmt.Errorf("stream %d has an interval of %d ms, stream %d one of %d ms, expected the same", s.id, s.slideMS, other.id, other.slideMS))
		return false
	}
	return true
}
