package job

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/raftstream/raftstream/internal/dataset"
)

// Walk calls each once for every dataset of root's lineage, parents before children, in an order that depends on the
// graph alone. It ends early when each returns false.
func Walk(root dataset.Dataset, each func(dataset.Dataset) bool) {
	walk(root, map[dataset.ID]bool{}, each)
}

func walk(d dataset.Dataset, seen map[dataset.ID]bool, each func(dataset.Dataset) bool) bool {
	if seen[d.ID()] {
		return true
	}
	seen[d.ID()] = true
	for _, dep := range d.Deps() {
		if !walk(dep.On, seen, each) {
			return false
		}
	}
	return each(d)
}

// WalkNarrow visits what a task that computes a partition of d reads without a shuffle: that partition, then partitions of
// other datasets below it, each once.
func WalkNarrow(d dataset.Dataset, part int, each func(d dataset.Dataset, part int)) {
	type node struct {
		id   dataset.ID
		part int
	}
	seen := map[node]bool{}
	var visit func(d dataset.Dataset, part int)
	visit = func(d dataset.Dataset, part int) {
		n := node{d.ID(), part}
		if seen[n] {
			return
		}
		seen[n] = true
		each(d, part)
		for _, dep := range d.Deps() {
			if dep.Shuffle != nil {
				continue
			}
			for _, p := range dep.Narrow(part) {
				visit(dep.On, p)
			}
		}
	}
	visit(d, part)
}

// FindShuffle gives the dependency of root's lineage that is the shuffle s.
func FindShuffle(root dataset.Dataset, s dataset.ShuffleID) (dep dataset.Dep, ok bool) {
	Walk(root, func(d dataset.Dataset) bool {
		for _, x := range d.Deps() {
			if x.Shuffle != nil && x.Shuffle.ID() == s {
				dep, ok = x, true
			}
		}
		return !ok
	})
	return dep, ok
}

// Lineage is a hash of everything in root's lineage that stages are cut by: ids, partition counts and dependencies.
// Coordinator and executors compare theirs, so that a build function or Transform that is not pure is caught before it
// mixes two different computations (rule 6).
func Lineage(root dataset.Dataset) uint64 {
	h := fnv.New64a()
	var buf [8]byte
	put := func(vs ...int) {
		for _, v := range vs {
			binary.LittleEndian.PutUint64(buf[:], uint64(v))
			_, _ = h.Write(buf[:]) // a hash never fails
		}
	}
	name := func(d dataset.ID) { put(int(d.Stream), int(d.Time), int(d.Sub)) }
	Walk(root, func(d dataset.Dataset) bool {
		name(d.ID())
		put(d.Partitions(), len(d.Deps()))
		for i, dep := range d.Deps() {
			name(dep.On.ID())
			if dep.Shuffle != nil {
				put(-1, i, dep.Shuffle.ID().Dep, dep.Shuffle.Reducers())
				name(dep.Shuffle.ID().Of)
				continue
			}
			for part := range d.Partitions() {
				from := dep.Narrow(part)
				put(len(from))
				put(from...)
			}
		}
		return true
	})
	return h.Sum64()
}
