package job_test

import (
	"slices"
	"testing"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

type node struct {
	id    dataset.ID
	parts int
	deps  []dataset.Dep
}

func (n *node) ID() dataset.ID                              { return n.id }
func (n *node) Partitions() int                             { return n.parts }
func (n *node) Deps() []dataset.Dep                         { return n.deps }
func (n *node) Collect(dataset.Task, int, int) dataset.Rows { panic("nothing runs here") }

type shuffle struct {
	id       dataset.ShuffleID
	reducers int
}

func (s shuffle) ID() dataset.ShuffleID                { return s.id }
func (s shuffle) Reducers() int                        { return s.reducers }
func (s shuffle) Map(dataset.Task, int) []dataset.Rows { panic("nothing runs here") }

// shape is what a graph of the test may differ in: a source, read twice by a union, then shuffled.
type shape struct {
	parts, reducers int
	at              id.Time
	shift           int // of the union's second half
	swap            bool
}

func (s shape) build() dataset.Dataset {
	source := &node{id: dataset.ID{Stream: 0, Time: s.at}, parts: s.parts}
	half := func(from int) dataset.Dep {
		return dataset.Dep{On: source, Narrow: func(part int) []int {
			if part < from || part >= from+s.parts {
				return nil
			}
			return []int{(part - from + s.shift) % s.parts}
		}}
	}
	union := &node{id: dataset.ID{Stream: 1, Time: s.at}, parts: 2 * s.parts, deps: []dataset.Dep{half(0), half(s.parts)}}
	if s.swap {
		slices.Reverse(union.deps)
	}
	of := dataset.ID{Stream: 2, Time: s.at}
	return &node{id: of, parts: s.reducers, deps: []dataset.Dep{{On: union, Shuffle: shuffle{dataset.ShuffleID{Of: of}, s.reducers}}}}
}

func TestLineageTellsEveryDifferenceThatStagesAreCutBy(t *testing.T) { // rule 6
	base := shape{parts: 3, reducers: 4, at: 1000}
	want := job.Lineage(base.build())
	if got := job.Lineage(base.build()); got != want {
		t.Errorf("two builds of one graph have lineages %x and %x", want, got)
	}
	for name, other := range map[string]shape{
		"partitions": {parts: 2, reducers: 4, at: 1000},
		"reducers":   {parts: 3, reducers: 5, at: 1000},
		"time":       {parts: 3, reducers: 4, at: 2000},
		"mapping":    {parts: 3, reducers: 4, at: 1000, shift: 1},
		"order":      {parts: 3, reducers: 4, at: 1000, swap: true},
	} {
		if job.Lineage(other.build()) == want {
			t.Errorf("another %s is not seen", name)
		}
	}
}

func TestWalkVisitsEachDatasetOnceAfterItsParents(t *testing.T) {
	var order []id.Stream
	job.Walk(shape{parts: 3, reducers: 4}.build(), func(d dataset.Dataset) bool {
		order = append(order, d.ID().Stream)
		return true
	})
	if !slices.Equal(order, []id.Stream{0, 1, 2}) {
		t.Errorf("visited %v", order)
	}
	n := 0
	job.Walk(shape{parts: 3, reducers: 4}.build(), func(dataset.Dataset) bool {
		n++
		return n < 2
	})
	if n != 2 {
		t.Errorf("%d visits after the end was asked for at 2", n)
	}
}

func TestShuffleIsFoundByItsID(t *testing.T) {
	root := shape{parts: 3, reducers: 4, at: 1000}.build()
	dep, ok := job.FindShuffle(root, dataset.ShuffleID{Of: root.ID()})
	if !ok || dep.On.ID().Stream != 1 {
		t.Errorf("found %v, %v", dep, ok)
	}
	if _, ok := job.FindShuffle(root, dataset.ShuffleID{Of: root.ID(), Dep: 1}); ok {
		t.Error("a shuffle that is not there was found")
	}
}
