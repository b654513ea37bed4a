package lineage

import (
	"slices"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// PaneTimes says how time is cut for windows. A pane is a stretch of time that is wholly inside or outside of every window;
// panes are numbered from 0 at zero time. Length and Every are multiples of Pane, Pane is one of the parent's slide.
type PaneTimes struct {
	Zero   id.Time
	Length int64 // of a window, in ms
	Every  int64 // between the ends of two windows, in ms
	Pane   int64 // in ms
}

// index is the pane that a time belongs to: panes end with their last time.
func (p PaneTimes) index(at id.Time) int64 { return (int64(at-p.Zero) - 1) / p.Pane }

// ends says whether a window ends at a time.
func (p PaneTimes) ends(at id.Time) bool { return int64(at-p.Zero)%p.Every == 0 }

// window gives the panes [from, to) of the window that ends at a time, back ms before at. What is before zero time is no
// part of a window.
func (p PaneTimes) window(at id.Time, back int64) (from, to int64) {
	end := int64(at-p.Zero) - back
	return max(end-p.Length, 0) / p.Pane, max(end, 0) / p.Pane
}

// nextFrom gives the first pane of the first window that ends after a time.
func (p PaneTimes) nextFrom(at id.Time) int64 {
	end := (int64(at-p.Zero)/p.Every + 1) * p.Every
	return max(end-p.Length, 0) / p.Pane
}

// lastFrom gives the first pane of the last window that has ended at a time.
func (p PaneTimes) lastFrom(at id.Time) int64 {
	end := int64(at-p.Zero) / p.Every * p.Every
	return max(end-p.Length, 0) / p.Pane
}

// run is values of keys by the number of their row, in order of rows.
//
// Invariant: nothing of a run changes once it is made, and its values are owned (codec.Codec.Own). Runs share values.
type run[C any] struct {
	rows []int32
	vals []C
}

// moved is the run with other numbers of rows, in the same order.
func (r run[C]) moved(to []int32) run[C] {
	rows := make([]int32, len(r.rows))
	for i, row := range r.rows {
		rows[i] = to[row]
	}
	return run[C]{rows, r.vals}
}

// keyedPane is what a stretch of time has for each key.
type keyedPane[C any] struct {
	index int64
	at    id.Time // of its last change
	run[C]
}

// between gives the panes [from, to) of a list in order.
func between[C any](all []keyedPane[C], from, to int64) []keyedPane[C] {
	a, _ := slices.BinarySearchFunc(all, from, byIndex[C])
	b, _ := slices.BinarySearchFunc(all, to, byIndex[C])
	return all[a:max(a, b)]
}

func byIndex[C any](p keyedPane[C], index int64) int {
	switch {
	case p.index < index:
		return -1
	case p.index > index:
		return 1
	}
	return 0
}

// folding combines runs. User code gets what it may change and keep, and what it gives is owned before it is kept.
type folding[C any] struct {
	codec *codec.Codec[C]
	f     func(a, b C) C
}

// lend gives user code a value of a run.
func (o folding[C]) lend(v *C) C {
	if o.codec.Fixed {
		return *v
	}
	own := *v
	o.codec.Own(&own)
	return own
}

// own makes what user code gave independent of it.
func (o folding[C]) own(v *C) {
	if !o.codec.Plain {
		o.codec.Own(v)
	}
}

// merge combines two runs, a before b, row by row.
func (o folding[C]) merge(t dataset.Task, a, b run[C]) run[C] {
	switch {
	case len(a.rows) == 0:
		return b
	case len(b.rows) == 0:
		return a
	}
	// No row is there twice, so that there are not more than the rows up to the last one.
	last := max(a.rows[len(a.rows)-1], b.rows[len(b.rows)-1])
	size := min(len(a.rows)+len(b.rows), int(last)+1)
	rows, vals := make([]int32, 0, size), make([]C, 0, size)
	for i, j := 0, 0; i < len(a.rows) || j < len(b.rows); {
		if len(rows)%checkEvery == 0 {
			checkContext(t)
		}
		switch {
		case j == len(b.rows) || i < len(a.rows) && a.rows[i] < b.rows[j]:
			rows, vals = append(rows, a.rows[i]), append(vals, a.vals[i])
			i++
		case i == len(a.rows) || b.rows[j] < a.rows[i]:
			rows, vals = append(rows, b.rows[j]), append(vals, b.vals[j])
			j++
		default:
			rows, vals = append(rows, a.rows[i]), append(vals, o.f(o.lend(&a.vals[i]), o.lend(&b.vals[j])))
			o.own(&vals[len(vals)-1])
			i, j = i+1, j+1
		}
	}
	return run[C]{rows, vals}
}

// mergeAll combines panes, oldest first, in halves.
func (o folding[C]) mergeAll(t dataset.Task, all []keyedPane[C]) run[C] {
	switch n := len(all); n {
	case 0:
		return run[C]{}
	case 1:
		return all[0].run
	default:
		return o.merge(t, o.mergeAll(t, all[:n/2]), o.mergeAll(t, all[n/2:]))
	}
}

// fold combines many runs, oldest first, whose rows are below the given number: one value after the other, into a table
// by row. It is for runs that together have most rows.
func (o folding[C]) fold(t dataset.Task, all []run[C], rows int) run[C] {
	switch len(all) {
	case 0:
		return run[C]{}
	case 1:
		return all[0]
	}
	const (
		none = iota
		shared
		made // by user code: it may change it
	)
	vals, is := make([]C, rows), make([]uint8, rows)
	for _, r := range all {
		for i, row := range r.rows {
			if i%checkEvery == 0 {
				checkContext(t)
			}
			switch is[row] {
			case none:
				vals[row], is[row] = r.vals[i], shared
			case shared:
				vals[row], is[row] = o.f(o.lend(&vals[row]), o.lend(&r.vals[i])), made
			default:
				vals[row] = o.f(vals[row], o.lend(&r.vals[i]))
			}
		}
	}
	out := run[C]{rows: make([]int32, 0, rows), vals: vals[:0]}
	for row, from := range is {
		if from == none {
			continue
		}
		if from == made {
			o.own(&vals[row])
		}
		out.rows, out.vals = append(out.rows, int32(row)), append(out.vals, vals[row])
	}
	clear(vals[len(out.vals):]) // of values that stand before it by now
	return out
}

// A block (level, n) is the panes [n << level, (n+1) << level), combined.
type blockID struct {
	level uint8
	n     int64
}

func (b blockID) from() int64 { return b.n << b.level }

// blocksOf cuts the panes [from, to) into the fewest blocks, oldest first.
func blocksOf(from, to int64) (all []blockID) {
	for from < to {
		level := uint8(0)
		for from&(1<<level) == 0 && from+2<<level <= to {
			level++
		}
		all = append(all, blockID{level, from >> level})
		from += 1 << level
	}
	return all
}
