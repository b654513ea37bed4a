package lineage

import (
	"iter"
	"slices"
	"sort"

	"github.com/raftstream/raftstream/internal/dataset"
)

// Operators push: each hands its parent one function that ends in the consumer's. This fuses a stage into one loop and
// runs faster than ranging over sequences of sequences.

// Map applies f to every record.
func Map[T, U any](s *Scope, n *Node[T], f func(T) U) *Node[U] {
	return newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(U) bool) {
		n.loop(t, part, func(v T) bool { return yield(f(v)) })
	})
}

// Filter keeps the records for which f is true.
func Filter[T any](s *Scope, n *Node[T], f func(T) bool) *Node[T] {
	return newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(T) bool) {
		n.loop(t, part, func(v T) bool { return !f(v) || yield(v) })
	}).Keep(n.by)
}

// FlatMap yields every element of f of every record. A nil sequence is an empty one.
func FlatMap[T, U any](s *Scope, n *Node[T], f func(T) iter.Seq[U]) *Node[U] {
	return newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(U) bool) {
		pass, open := gate(t, yield) // one for the whole partition
		n.loop(t, part, func(v T) bool {
			if seq := f(v); seq != nil {
				seq(pass)
			}
			return *open
		})
		checkContext(t)
	})
}

// gate hands on the records of sequences that user code made. It shuts when the consumer has enough, and stays shut
// whatever the sequence does; and when the task's context ends, because a sequence may have no end of its own. Who uses
// it looks at the context then: what was handed on is not all.
func gate[T any](t dataset.Task, yield func(T) bool) (pass func(T) bool, open *bool) {
	open = new(bool)
	*open = true
	left := checkEvery // 0 and below: the gate is shut, or the context is due to be looked at
	return func(v T) bool {
		if left--; left <= 0 {
			if !*open || t.Context().Err() != nil {
				*open, left = false, 0
				return false
			}
			left = checkEvery
		}
		if yield(v) {
			return true
		}
		*open, left = false, 0
		return false
	}, open
}

// MapPartitions applies f to every partition, to empty ones too (Spark: mapPartitions). A nil sequence is an empty one.
func MapPartitions[T, U any](s *Scope, n *Node[T], f func(iter.Seq[T]) iter.Seq[U]) *Node[U] {
	return newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(U) bool) {
		in, whole := n.Read(t, part)
		if seq := f(in); seq != nil {
			pass, _ := gate(t, yield)
			seq(pass)
		}
		whole()
		checkContext(t)
	})
}

// unionWidth bounds the parents of one node of a union: who looks at lineage asks every parent about every partition.
const unionWidth = 16

// Union has the partitions of all its parents, in their order. That of many is a tree of unions.
func Union[T any](s *Scope, parents []*Node[T]) *Node[T] {
	for len(parents) > unionWidth {
		above := make([]*Node[T], 0, (len(parents)+unionWidth-1)/unionWidth)
		for some := range slices.Chunk(parents, unionWidth) {
			above = append(above, union(s, some))
		}
		parents = above
	}
	return union(s, parents)
}

func union[T any](s *Scope, parents []*Node[T]) *Node[T] {
	if len(parents) == 1 {
		return parents[0]
	}
	deps := make([]dataset.Dep, len(parents))
	ends := make([]int, len(parents)) // partition after each parent's last one
	total := 0
	for i, n := range parents {
		first, end := total, total+n.parts
		deps[i] = dataset.Dep{On: n, Narrow: func(part int) []int {
			if part < first || part >= end {
				return nil
			}
			return []int{part - first}
		}}
		ends[i], total = end, end
	}
	return newNode(s, total, deps, func(t dataset.Task, part int, yield func(T) bool) {
		i := sort.SearchInts(ends, part+1)
		n := parents[i]
		n.loop(t, part-ends[i]+n.parts, yield)
	})
}

// Empty is a dataset without partitions.
func Empty[T any](s *Scope) *Node[T] {
	return newNode(s, 0, nil, func(dataset.Task, int, func(T) bool) {})
}
