package rdd

import (
	"cmp"
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/lineage"
)

// SortFunc has all records in the order of compare, in one partition; records that compare equal keep their order of
// partition and arrival. Partitions are sorted where they are, then merged: the partition that merges holds all records.
// SortPartitions leaves that out.
func SortFunc[T any](r RDD[T], compare func(a, b T) int) RDD[T] {
	return sorted(r, "sortFunc", func(c *codec.Codec[T]) *lineage.Node[T] { return lineage.Sort(r.scope, r.node, c, compare, -1) })
}

// SortBy is SortFunc in the ascending order of a key (Spark: sortBy). For another order, or one by several keys, SortFunc
// is there.
func SortBy[T any, K cmp.Ordered](r RDD[T], key func(T) K) RDD[T] {
	return sorted(r, "sortBy", func(c *codec.Codec[T]) *lineage.Node[T] {
		return lineage.Sort(r.scope, r.node, c, func(a, b T) int { return cmp.Compare(key(a), key(b)) }, -1)
	})
}

// SortByKey is SortFunc in the ascending order of the records' keys (Spark: sortByKey).
func SortByKey[K cmp.Ordered, V any](r RDD[KV[K, V]]) RDD[KV[K, V]] {
	return sorted(r, "sortByKey", func(c *codec.Codec[KV[K, V]]) *lineage.Node[KV[K, V]] {
		return lineage.Sort(r.scope, r.node, c, func(a, b KV[K, V]) int { return cmp.Compare(a.Key, b.Key) }, -1)
	})
}

// SortPartitions puts the records of every partition in the order of compare; none moves to another partition. Records
// that compare equal keep their order.
func SortPartitions[T any](r RDD[T], compare func(a, b T) int) RDD[T] {
	return sorted(r, "sortPartitions", func(c *codec.Codec[T]) *lineage.Node[T] { return lineage.SortPartitions(r.scope, r.node, c, compare) })
}

// Top has the n greatest records by compare in one partition, the greatest first; of those that compare equal the first
// in order of partition and arrival count as greater. No partition sends more than n (Spark: top).
func Top[T any](r RDD[T], n int, compare func(a, b T) int) RDD[T] {
	return first(r, "top", n, func(a, b T) int { return compare(b, a) })
}

// Bottom has the n least records by compare in one partition, the least first (Spark: takeOrdered).
func Bottom[T any](r RDD[T], n int, compare func(a, b T) int) RDD[T] {
	return first(r, "bottom", n, compare)
}

func first[T any](r RDD[T], op string, n int, compare func(a, b T) int) RDD[T] {
	if n < 0 || n > maxFirst {
		r.scope.Fail(fmt.Errorf("%s: %d records, expected 0 to %d", op, n, maxFirst))
		return then(r, lineage.Empty[T](r.scope))
	}
	return sorted(r, op, func(c *codec.Codec[T]) *lineage.Node[T] { return lineage.Sort(r.scope, r.node, c, compare, n) })
}

// maxFirst bounds the records that Top and Bottom give: twice as many are held by every task.
const maxFirst = 1 << 30

func sorted[T any](r RDD[T], op string, sort func(*codec.Codec[T]) *lineage.Node[T]) RDD[T] {
	c, ok := resolve[T](r.scope, op)
	if !ok {
		return then(r, lineage.Empty[T](r.scope))
	}
	return then(r, sort(c))
}
