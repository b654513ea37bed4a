package lineage

import (
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

// Sort has the records of n in order in one partition, or the first limit of them (all if limit < 0). Records that
// compare equal keep their order of (map partition, arrival). Each partition is sorted where it is, and at most limit
// records of it are sent; then the runs are merged.
//
// One partition is the price of one pass: a range for each of several would have to be found by a job that samples the
// records first.
func Sort[T any](s *Scope, n *Node[T], c *codec.Codec[T], compare func(a, b T) int, limit int) *Node[T] {
	if n.parts == 1 {
		return sortPartitions(s, n, c, compare, limit)
	}
	sh := &sortShuffle[T]{on: n, codec: c, compare: compare, limit: limit}
	m := newNode(s, 1, []dataset.Dep{{On: n, Shuffle: sh}}, func(t dataset.Task, part int, yield func(T) bool) {
		var runs [][]T
		for chunk := range t.Buckets(sh.id, part) {
			checkContext(t)
			run := make([]T, 0, 16)
			if _, err := eachRow(chunk, c, func(v T) bool {
				run = append(run, v)
				return true
			}); err != nil {
				t.Fail(fmt.Errorf("bucket of shuffle %v for reducer %d: %w", sh.id, part, err))
			}
			runs = append(runs, run)
		}
		merge(t, runs, compare, limit, yield)
	})
	sh.id = dataset.ShuffleID{Of: m.id}
	return m
}

// SortPartitions sorts each partition by itself. Records that compare equal keep their order.
func SortPartitions[T any](s *Scope, n *Node[T], c *codec.Codec[T], compare func(a, b T) int) *Node[T] {
	return sortPartitions(s, n, c, compare, -1).Keep(n.by)
}

func sortPartitions[T any](s *Scope, n *Node[T], c *codec.Codec[T], compare func(a, b T) int, limit int) *Node[T] {
	return newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(T) bool) {
		for i, v := range sorted(t, n, part, c, compare, limit) {
			if i%checkEvery == 0 {
				checkContext(t)
			}
			if !yield(v) {
				return
			}
		}
	})
}

// sortSlack is how many records more than twice the limit are held before those beyond the limit are dropped.
const sortSlack = 1024

// sorted reads a partition and sorts it: at most the first limit records, which are owned.
func sorted[T any](t dataset.Task, n *Node[T], part int, c *codec.Codec[T], compare func(a, b T) int, limit int) []T {
	var run []T
	cut := func() {
		slices.SortStableFunc(run, compare)
		if limit >= 0 && len(run) > limit {
			clear(run[limit:])
			run = run[:limit]
		}
	}
	n.loop(t, part, func(v T) bool {
		if run = append(run, v); !settled(c) {
			c.Own(&run[len(run)-1])
		}
		if limit >= 0 && len(run) >= 2*limit+sortSlack { // now and then: memory stays bounded, and few sorts are made
			cut()
		}
		return limit != 0
	})
	cut()
	return run
}

// sortShuffle is the stage boundary of Sort: one reducer, a sorted run from each map partition.
type sortShuffle[T any] struct {
	id      dataset.ShuffleID
	on      *Node[T]
	codec   *codec.Codec[T]
	compare func(a, b T) int
	limit   int
}

func (s *sortShuffle[T]) ID() dataset.ShuffleID { return s.id }
func (s *sortShuffle[T]) Reducers() int         { return 1 }

func (s *sortShuffle[T]) Map(t dataset.Task, part int) []dataset.Rows {
	return []dataset.Rows{&rows[T]{codec: s.codec, vals: sorted(t, s.on, part, s.codec, s.compare, s.limit)}}
}

// merge yields the records of sorted runs in order, those of an earlier run first where they compare equal: at most
// limit (all if limit < 0), until yield returns false.
func merge[T any](t dataset.Task, runs [][]T, compare func(a, b T) int, limit int, yield func(T) bool) {
	// heap holds the numbers of runs that are not empty, by their first record.
	var heap []int
	before := func(a, b int) bool {
		if c := compare(runs[a][0], runs[b][0]); c != 0 {
			return c < 0
		}
		return a < b
	}
	down := func(i int) {
		for {
			least := i
			for child := 2*i + 1; child <= 2*i+2 && child < len(heap); child++ {
				if before(heap[child], heap[least]) {
					least = child
				}
			}
			if least == i {
				return
			}
			heap[i], heap[least] = heap[least], heap[i]
			i = least
		}
	}
	for i, run := range runs {
		if len(run) > 0 {
			heap = append(heap, i)
		}
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		down(i)
	}
	for count := 0; len(heap) > 0 && count != limit; count++ {
		if count%checkEvery == 0 {
			checkContext(t)
		}
		top := heap[0]
		v := runs[top][0]
		if runs[top] = runs[top][1:]; len(runs[top]) == 0 {
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		}
		down(0)
		if !yield(v) {
			return
		}
	}
}
