package lineage

import (
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Kept says what a ring keeps: the records of the last MS milliseconds up to its time, in Parts partitions; it goes on
// from what the stream kept at Base.
type Kept struct {
	Base  id.Time
	MS    int64
	Parts int
}

// Ring has the records of a stream's last batches, those of n being the newest, oldest batch first in each partition. It
// keeps them as state, for datasets whose lineage must not be computed again at a later time: partition p keeps the
// records of a range of n's partitions, the p'th of k.Parts of about equal length. n may be nil: there is no new data.
func Ring[T any](s *Scope, n *Node[T], c *codec.Codec[T], k Kept) *Node[T] {
	d := &ring[T]{Node: newNode[T](s, k.Parts, nil, nil), kept: k, in: n, codec: c}
	if n != nil {
		d.Node.on([]dataset.Dep{{On: n, Narrow: d.reads}})
	}
	d.Node.stateful = true
	d.Node.loop = func(t dataset.Task, part int, yield func(T) bool) {
		d.each(t, part, d.oldest(), d.Node.id.Time, yield)
	}
	// The engine must see the stateful dataset, operators a Node.
	return newNode(s, k.Parts, same(d), d.Node.loop)
}

// Panes has those records of a node that Ring gave that are of batches from one time to another, both included.
func Panes[T any](s *Scope, n *Node[T], from, to id.Time) *Node[T] {
	d, ok := n.deps[0].On.(*ring[T])
	if !ok {
		panic(fmt.Sprintf("lineage: dataset %v is no ring", n.id))
	}
	return newNode(s, n.parts, same(d), func(t dataset.Task, part int, yield func(T) bool) {
		d.each(t, part, max(from, d.oldest()), to, yield)
	})
}

// ring is the stateful dataset of Ring.
type ring[T any] struct {
	*Node[T]
	kept  Kept
	in    *Node[T]
	codec *codec.Codec[T]
}

var _ dataset.Stateful = (*ring[int])(nil)

// Base implements dataset.Stateful.
func (d *ring[T]) Base() id.Time { return d.kept.Base }

// Initial implements dataset.Stateful.
func (d *ring[T]) Initial(int) dataset.State { return d.Blank() }

// Blank implements dataset.Stateful.
func (d *ring[T]) Blank() dataset.State {
	return &ringState[T]{codec: d.codec, keep: id.Time(d.kept.MS)}
}

// Collect advances the state. It gives no rows: they are read through the node above.
func (d *ring[T]) Collect(t dataset.Task, part, _ int) dataset.Rows {
	d.advanced(t, part)
	return &rows[T]{}
}

// reads lists the partitions of the new data that a partition keeps.
func (d *ring[T]) reads(part int) []int {
	first, end := part*d.in.parts/d.kept.Parts, (part+1)*d.in.parts/d.kept.Parts
	parts := make([]int, 0, end-first)
	for p := first; p < end; p++ {
		parts = append(parts, p)
	}
	return parts
}

// oldest is where the time that is kept begins.
func (d *ring[T]) oldest() id.Time { return d.Node.id.Time - id.Time(d.kept.MS) + 1 }

// each yields the kept records of a range of times, which must not begin before oldest: what is older may be there still.
func (d *ring[T]) each(t dataset.Task, part int, from, to id.Time, yield func(T) bool) {
	base, fresh := d.advanced(t, part)
	for _, p := range base.panes {
		if p.at >= from && p.at <= to && !d.read(t, p, yield) {
			return
		}
	}
	if fresh.at >= from && fresh.at <= to {
		d.read(t, fresh.pane, yield)
	}
}

// read yields the records of a pane. Strings are views into it.
func (d *ring[T]) read(t dataset.Task, p pane, yield func(T) bool) (more bool) {
	b, v := p.data, new(T)
	for i := range p.count {
		if i%checkEvery == 0 {
			checkContext(t)
		}
		var err error
		if b, err = d.codec.ReadRow(b, v); err != nil {
			t.Fail(fmt.Errorf("dataset %v: kept record %d of %d of %d: %w", d.id, i+1, p.count, p.at, err))
		}
		if !yield(*v) {
			return false
		}
	}
	return true
}

// advanced gives the panes that a partition goes on from, and this time's.
func (d *ring[T]) advanced(t dataset.Task, part int) (*ringState[T], *freshPane) {
	base, changes := t.State(d, part, func(dataset.State) dataset.Delta { return d.fresh(t, part) })
	of, okBase := base.(*ringState[T])
	made, okChanges := changes.(*freshPane)
	if !okBase || !okChanges {
		t.Fail(fmt.Errorf("state of dataset %v is a %T with changes of %T, expected a %T with a %T", d.id, base, changes, of, made))
	}
	return of, made
}

// fresh makes this time's pane.
func (d *ring[T]) fresh(t dataset.Task, part int) *freshPane {
	p := pane{at: d.Node.id.Time}
	if d.in == nil {
		return &freshPane{p}
	}
	cell := new(T) // the codec takes an address: one for the whole loop
	for _, from := range d.reads(part) {
		d.in.loop(t, from, func(v T) bool {
			*cell = v
			p.data = d.codec.AppendRow(p.data, cell)
			p.count++
			return true
		})
	}
	p.data = slices.Clone(p.data) // it stays for as long as the window is, and must not be larger than it is
	return &freshPane{p}
}
