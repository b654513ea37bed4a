package executortest

import (
	"maps"
	"slices"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// totals are the sums of words over all batches: keyed state over the buckets of one counting.
type totals struct {
	node
	w *WordCount
}

var _ dataset.Stateful = (*totals)(nil)

// Base implements dataset.Stateful.
func (d *totals) Base() id.Time { return d.id.Time - id.Time(d.w.batchMS()) }

// Initial implements dataset.Stateful.
func (d *totals) Initial(int) dataset.State { return NewTable() }

// Blank implements dataset.Stateful.
func (d *totals) Blank() dataset.State { return NewTable() }

// Collect implements dataset.Dataset: it advances, and gives all rows whatever the limit.
func (d *totals) Collect(t dataset.Task, part, _ int) dataset.Rows { return d.words(t, part) }

// words gives the sums of a partition after the batch.
func (d *totals) words(t dataset.Task, part int) Words {
	s, delta := t.State(d, part, func(base dataset.State) dataset.Delta {
		if d.w.OnState != nil {
			d.w.OnState(t, part)
		}
		sums := read(t, dataset.ShuffleID{Of: d.id}, part, nil)
		changes := Changes{}
		for _, w := range slices.Sorted(maps.Keys(sums)) {
			changes = append(changes, Change{Word: w, N: base.(*Table).Get(w) + sums[w]})
		}
		return changes
	})
	words := s.(*Table).Words()
	for _, c := range delta.(Changes) {
		words[c.Word] = c.N
	}
	return words
}
