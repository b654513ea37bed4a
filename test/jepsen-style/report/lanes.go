package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// Sizes of the timeline, in pixels.
const (
	laneHeight   = 14
	laneGap      = 4
	narrowest    = 1000
	widest       = 16_000
	perSecond    = 14
	lanesOfWork  = 60 // lanes of one workload; what goes on in more at a time is left out, and said so
	namedOpsMost = 2000
)

// lane is one row of the timeline: a process, and those that took over from it.
type lane struct {
	label string
	ops   []*history.Op
	by    int   // process that has it
	until int64 // when that process is over
}

// lanes lays operations out in rows: a process has one row, and when it is over, its row is taken by another one of the
// same workload. So there are as many rows as there were clients at a time. more counts operations without a row.
func lanes(ops []history.Op) (rows []*lane, more int) {
	over := map[int]int64{} // process -> end of its last operation
	for i := range ops {
		o := &ops[i]
		over[o.Invoke.Process] = max(over[o.Invoke.Process], o.Ended())
	}
	by := map[string][]*lane{}
	of := map[int]*lane{}
	var names []string
	for i := range ops {
		o := &ops[i]
		p, w := o.Invoke.Process, o.Invoke.Workload
		l, ok := of[p]
		if !ok {
			if l = free(by[w], o.Start()); l == nil && len(by[w]) < lanesOfWork {
				if len(by[w]) == 0 {
					names = append(names, w)
				}
				l = &lane{label: w}
				by[w] = append(by[w], l)
			}
			of[p] = l
			if l != nil {
				l.by, l.until = p, over[p]
			}
		}
		if l == nil {
			more++
			continue
		}
		l.ops = append(l.ops, o)
	}
	slices.Sort(names)
	for _, w := range names {
		rows = append(rows, by[w]...)
	}
	return rows, more
}

// free finds a row whose process is over.
func free(rows []*lane, at int64) *lane {
	for _, l := range rows {
		if l.until < at {
			return l
		}
	}
	return nil
}

// canvas turns times into places.
type canvas struct {
	d     *data
	width int
}

func newCanvas(d *data) canvas {
	return canvas{d, min(max(int(time.Duration(d.end).Seconds()*perSecond), narrowest), widest)}
}

func (c canvas) x(t int64) float64 {
	if c.d.end == 0 {
		return 0
	}
	return float64(c.d.upTo(t)) / float64(c.d.end) * float64(c.width)
}

// marks are the pixels that operations of one kind cover in a row, as runs, so that a row has no more of them than pixels
// however many operations it has.
type marks []bool

func (m marks) cover(from, to float64) {
	first := min(max(int(from), 0), len(m)-1)
	for x := first; x <= min(int(to), len(m)-1); x++ {
		m[x] = true
	}
}

// path draws the runs; "" if there are none.
func (m marks) path(y int) string {
	var b strings.Builder
	for x := 0; x < len(m); x++ {
		if !m[x] {
			continue
		}
		n := 1
		for x+n < len(m) && m[x+n] {
			n++
		}
		fmt.Fprintf(&b, "M%d %dh%d", x, y, n)
		x += n
	}
	return b.String()
}

// types are in the order in which they are drawn: the last ones are seen where they cover the same pixels.
var types = []history.Type{history.OK, history.Fail, history.Info}

// row draws one lane at a height.
func (c canvas) row(b *strings.Builder, l *lane, y int) {
	for _, of := range types {
		m := make(marks, c.width)
		for _, o := range l.ops {
			if o.Type() == of {
				m.cover(c.x(o.Start()), c.x(o.Ended()))
			}
		}
		if path := m.path(y + laneHeight/2); path != "" {
			fmt.Fprintf(b, `<path class="%s" d="%s"/>`+"\n", of, path)
		}
	}
}

// pack gives every fault a row in which it does not overlap others.
func pack(faults []history.Fault) [][]*history.Fault {
	var rows [][]*history.Fault
	sorted := make([]*history.Fault, 0, len(faults))
	for i := range faults {
		sorted = append(sorted, &faults[i])
	}
	slices.SortStableFunc(sorted, func(a, b *history.Fault) int { return cmp.Compare(a.Start(), b.Start()) })
next:
	for _, f := range sorted {
		for i, row := range rows {
			if last := row[len(row)-1]; last.Ended() <= f.Start() {
				rows[i] = append(row, f)
				continue next
			}
		}
		rows = append(rows, []*history.Fault{f})
	}
	return rows
}
