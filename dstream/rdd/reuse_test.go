package rdd_test

import (
	"iter"
	"reflect"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// reused yields a slice of two for each number, in the same memory every time.
func reused(r rdd.RDD[int]) rdd.RDD[[]int] {
	return rdd.MapPartitions(r, func(seq iter.Seq[int]) iter.Seq[[]int] {
		return func(yield func([]int) bool) {
			buf := make([]int, 2)
			for v := range seq {
				if buf[0], buf[1] = v, -v; !yield(buf) {
					return
				}
			}
		}
	})
}

// Operators that hold a record while the next one is made must not see it change.
func TestRecordsThatAreHeldDoNotChangeWithTheMemoryTheyWereMadeIn(t *testing.T) {
	var e lineagetest.Engine
	in, s := of(t, &e, []int{1, 2, 3})
	glom := parts(t, &e, rdd.Glom(reused(in)))
	if want := [][][][]int{{{{1, -1}, {2, -2}, {3, -3}}}}; !reflect.DeepEqual(glom, want) {
		t.Errorf("glom %v, expected %v", glom, want)
	}
	sum := parts(t, &e, reused(in).Reduce(func(a, b []int) []int { return []int{a[0] + b[0], a[1] + b[1]} }))
	if want := [][][]int{{{6, -6}}}; !reflect.DeepEqual(sum, want) {
		t.Errorf("reduce %v, expected %v", sum, want)
	}
	last := parts(t, &e, reused(in).Reduce(func(a, b []int) []int {
		if a[0] >= b[0] {
			return a
		}
		return b
	}))
	if want := [][][]int{{{3, -3}}}; !reflect.DeepEqual(last, want) {
		t.Errorf("greatest %v, expected %v", last, want)
	}
	least := parts(t, &e, reused(in).Reduce(func(a, b []int) []int {
		if a[0] <= b[0] {
			return a
		}
		return b
	}))
	if want := [][][]int{{{1, -1}}}; !reflect.DeepEqual(least, want) {
		t.Errorf("least %v, expected %v", least, want)
	}
	keyed := rdd.KeyBy(reused(in), func([]int) string { return "k" })
	for n := 1; n <= 2; n++ {
		group := slices.Concat(parts(t, &e, rdd.Values(rdd.GroupByKey(keyed, n)))...)
		if want := [][][]int{{{1, -1}, {2, -2}, {3, -3}}}; !reflect.DeepEqual(group, want) {
			t.Errorf("group %v, expected %v", group, want)
		}
		byKey := slices.Concat(parts(t, &e, rdd.Values(rdd.ReduceByKey(keyed, func(a, b []int) []int {
			if a[0] <= b[0] {
				return a
			}
			return b
		}, n)))...)
		if want := [][]int{{1, -1}}; !reflect.DeepEqual(byKey, want) {
			t.Errorf("reduce by key %v, expected %v", byKey, want)
		}
	}
	if s.Err() != nil {
		t.Error(s.Err())
	}
}
