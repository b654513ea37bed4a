package lineage_test

import (
	"fmt"
	"testing"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
	"github.com/raftstream/raftstream/internal/table"
)

const windowKeys = 100_000

// paneOf is the batch of a pane: all keys or a tenth of them, in an order of its own.
func paneOf(pane, of int) []pair[string, int64] {
	in := make([]pair[string, int64], 0, windowKeys/of)
	for i := range windowKeys / of {
		in = append(in, pair[string, int64]{fmt.Sprintf("user-%08d", (i*of*7919+pane*31)%windowKeys), 1})
	}
	return in
}

func addInts(a, b int64) int64 { return a + b }

func subtractInts(a, b int64) int64 { return a - b }

// fullWindow runs windows until the window is full twice, and gives the next one.
func fullWindow(b *testing.B, panes int64, of int, inverse func(a, b int64) int64) (*windows[int64, int64], *lineage.Node[pair[string, int64]]) {
	w := reducing(b, panes, 1, addInts, inverse, nil)
	for i := range 2*int(panes) - 1 {
		n := w.next(b, [][]pair[string, int64]{paneOf(i, of)})
		if err := w.e.Try(n, func(t dataset.Task) { stateless(t, n) }); err != nil {
			b.Fatal(err)
		}
		w.e.Complete(w.at)
		w.e.Blocks = map[lineagetest.Input][]byte{}
	}
	return w, w.next(b, [][]pair[string, int64]{paneOf(2*int(panes)-1, of)})
}

// spend reports the processor time between its call and that of what it gives.
func spend(b *testing.B) func() {
	before := cpu(b)
	return func() { b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op") }
}

// BenchmarkWindow100k is a window of 100 000 keys that moves by a pane: the pane's records combined, the window made and
// read. By hand, the window is computed again: the pane's records are combined, and the tables of all panes are merged into
// another one and read.
func BenchmarkWindow100k(b *testing.B) {
	for _, of := range []int{1, 10} {
		for _, c := range []struct {
			name    string
			panes   int64
			inverse func(a, b int64) int64
		}{
			{"inverse", 60, subtractInts}, {"reduce", 8, nil}, {"reduce", 60, nil}, {"reduce", 240, nil},
		} {
			b.Run(fmt.Sprintf("%d%%/%s/%d", 100/of, c.name, c.panes), func(b *testing.B) {
				w, n := fullWindow(b, c.panes, of, c.inverse)
				b.ReportAllocs()
				defer spend(b)()
				for b.Loop() {
					w.e.Run.Attempt++
					rows := 0
					if err := w.e.Try(n, func(t dataset.Task) {
						n.Each(t, 0, func(pair[string, int64]) bool { rows++; return true })
					}); err != nil || rows != min(windowKeys, int(c.panes)*windowKeys/of) {
						b.Fatalf("%d rows, %v", rows, err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("%d%%/by hand/60", 100/of), func(b *testing.B) {
			key := codecOf[string](b)
			tables := make([]*table.Table[string, int64], 60)
			for i := range tables {
				tables[i] = table.New[string, int64](nil)
				for _, p := range paneOf(i, of) {
					v, _ := tables[i].Row(key.Hash(&p.K), p.K)
					*v += p.V
				}
			}
			last := paneOf(59, of)
			b.ReportAllocs()
			defer spend(b)()
			for b.Loop() {
				tables[59] = table.New[string, int64](key.Own)
				for i := range last {
					v, _ := tables[59].Row(key.Hash(&last[i].K), last[i].K)
					*v += last[i].V
				}
				all := table.New[string, int64](nil)
				for _, t := range tables {
					keys, vals := t.Keys(), t.Values()
					for i := range keys {
						v, _ := all.Row(key.Hash(&keys[i]), keys[i])
						*v += vals[i]
					}
				}
				sum := int64(0)
				for _, v := range all.Values() {
					sum += v
				}
				if all.Len() != windowKeys || sum != int64(60*windowKeys/of) {
					b.Fatalf("%d rows with %d", all.Len(), sum)
				}
			}
		})
	}
}
