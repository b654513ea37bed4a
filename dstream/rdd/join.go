package rdd

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/lineage"
)

// Join pairs every record of a with every one of b of the same key. Within a partition the order is that of a's records,
// each with its matches in the order of b's. The records of b are held in memory, those of a stream past: give the
// smaller dataset last. A side that is spread by key over parts partitions already (by ReduceByKey, say) does not move.
func Join[K comparable, V, W any](a RDD[KV[K, V]], b RDD[KV[K, W]], parts ...int) RDD[KV[K, Joined[V, W]]] {
	return join(a, b, "join", parts, lineage.Outer{}, func(k K, v V, _ bool, w W, _ bool) KV[K, Joined[V, W]] {
		return KV[K, Joined[V, W]]{k, Joined[V, W]{v, w}}
	})
}

// LeftOuterJoin is Join that also has the records of a without a match, where they stand in a.
func LeftOuterJoin[K comparable, V, W any](a RDD[KV[K, V]], b RDD[KV[K, W]], parts ...int) RDD[KV[K, Joined[V, Opt[W]]]] {
	return join(a, b, "leftOuterJoin", parts, lineage.Outer{Left: true}, func(k K, v V, _ bool, w W, right bool) KV[K, Joined[V, Opt[W]]] {
		return KV[K, Joined[V, Opt[W]]]{k, Joined[V, Opt[W]]{v, Opt[W]{w, right}}}
	})
}

// RightOuterJoin is Join that also has the records of b without a match, after all others.
func RightOuterJoin[K comparable, V, W any](a RDD[KV[K, V]], b RDD[KV[K, W]], parts ...int) RDD[KV[K, Joined[Opt[V], W]]] {
	return join(a, b, "rightOuterJoin", parts, lineage.Outer{Right: true}, func(k K, v V, left bool, w W, _ bool) KV[K, Joined[Opt[V], W]] {
		return KV[K, Joined[Opt[V], W]]{k, Joined[Opt[V], W]{Opt[V]{v, left}, w}}
	})
}

// FullOuterJoin is Join that also has the records of either side without a match.
func FullOuterJoin[K comparable, V, W any](a RDD[KV[K, V]], b RDD[KV[K, W]], parts ...int) RDD[KV[K, Joined[Opt[V], Opt[W]]]] {
	return join(a, b, "fullOuterJoin", parts, lineage.Outer{Left: true, Right: true}, func(k K, v V, left bool, w W, right bool) KV[K, Joined[Opt[V], Opt[W]]] {
		return KV[K, Joined[Opt[V], Opt[W]]]{k, Joined[Opt[V], Opt[W]]{Opt[V]{v, left}, Opt[W]{w, right}}}
	})
}

func join[K comparable, V, W, Q any](a RDD[KV[K, V]], b RDD[KV[K, W]], op string, parts []int, outer lineage.Outer, f func(K, V, bool, W, bool) Q) RDD[Q] {
	l, r, k, ok := sides(a, b, op, parts)
	if !ok {
		return then(a, lineage.Empty[Q](a.scope))
	}
	return then(a, lineage.Join(a.scope, l, r, k, outer, f))
}

// CoGroup has one record for every key of a or b, with all its values on either side, in order of partition and arrival.
// The keys of a come first, then those that b has alone. The slices belong to who gets them.
func CoGroup[K comparable, V, W any](a RDD[KV[K, V]], b RDD[KV[K, W]], parts ...int) RDD[KV[K, CoGrouped[V, W]]] {
	l, r, k, ok := sides(a, b, "cogroup", parts)
	if !ok {
		return then(a, lineage.Empty[KV[K, CoGrouped[V, W]]](a.scope))
	}
	return then(a, lineage.CoGroup(a.scope, l, r, k, func(key K, vs []V, ws []W) KV[K, CoGrouped[V, W]] {
		return KV[K, CoGrouped[V, W]]{key, CoGrouped[V, W]{vs, ws}}
	}))
}

// side is a dataset of pairs as a side of a join.
type side[K comparable, V any] = lineage.Side[KV[K, V], K, V]

// sides prepares a join; not ok: the batch fails.
func sides[K comparable, V, W any](a RDD[KV[K, V]], b RDD[KV[K, W]], op string, parts []int) (l side[K, V], r side[K, W], k lineage.JoinKey[K], ok bool) {
	if !together(op, a, b) {
		return l, r, k, false
	}
	key, okKey := resolveKey[K](a.scope, op)
	left, okLeft := resolve[V](a.scope, op)
	right, okRight := resolve[W](a.scope, op)
	l = side[K, V]{Node: a.node, Split: split[K, V], Value: left}
	r = side[K, W]{Node: b.node, Split: split[K, W], Value: right}
	k = lineage.JoinKey[K]{Codec: key, By: lineage.ByKey, Parts: partitions(a.scope, op, parts)}
	return l, r, k, okKey && okLeft && okRight
}

// together checks that an operator's operands were made for the same dataset of the same batch; else the batch fails.
func together[T, U any](op string, a RDD[T], b RDD[U]) bool {
	if a.node == nil {
		panic("rdd: " + op + " on an RDD that no operator has made (a zero value)")
	}
	if b.node == nil || b.scope != a.scope {
		a.scope.Fail(fmt.Errorf("%s: the two datasets are not of the same call: one is of another batch or stream, or a zero value", op))
		return false
	}
	return true
}
