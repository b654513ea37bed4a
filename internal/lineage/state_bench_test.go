package lineage_test

import (
	"fmt"
	"testing"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

const (
	million = 1_000_000
	touched = million / 100
)

// millions is a partition of a million keys, and a batch that touches one in a hundred.
func millions(b *testing.B) (*updates[string, int64, pair[int64, int64]], *lineage.Node[pair[string, pair[int64, int64]]]) {
	u := updating[string](b, 1, func(values []int64, s pair[int64, int64], _ bool) (pair[int64, int64], bool) {
		for _, v := range values {
			s.K++
			s.V = v
		}
		return s, true
	})
	var all, some []pair[string, int64]
	for i := range million {
		all = append(all, pair[string, int64]{fmt.Sprintf("user-%08d", i), int64(i)})
	}
	for i := range touched {
		some = append(some, pair[string, int64]{all[i*7919%million].K, 1})
	}
	n := u.next(b, [][]pair[string, int64]{all})
	if err := u.e.Try(n, func(t dataset.Task) { stateless(t, n) }); err != nil {
		b.Fatal(err)
	}
	u.e.Complete(u.at)
	return u, u.next(b, [][]pair[string, int64]{some})
}

// stateless advances the state and reads none of it.
func stateless[T any](t dataset.Task, n *lineage.Node[T]) {
	n.Each(t, 0, func(T) bool { return false })
}

// BenchmarkUpdateState1M is a batch of 1 % of a million keys: values grouped, the update of every key called, the delta
// installed; then the same with all pairs read, as an output does.
func BenchmarkUpdateState1M(b *testing.B) {
	u, n := millions(b)
	for name, read := range map[string]func(dataset.Task){
		"advance": func(t dataset.Task) { stateless(t, n) },
		"and-read": func(t dataset.Task) {
			n.Each(t, 0, func(pair[string, pair[int64, int64]]) bool { return true })
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				u.e.Run.Attempt++
				if err := u.e.Try(n, read); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/million, "ns/key")
		})
	}
	b.Run("install", func(b *testing.B) {
		s, _ := u.e.State(lineagetest.StatePart{Stream: states})
		var d dataset.Delta
		if err := u.e.Try(n, func(t dataset.Task) {
			_, d = t.State(n.Deps()[0].On.(dataset.Stateful), 0, nil)
		}); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			s.Install(d, u.at)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/touched, "ns/changed")
	})
}

// BenchmarkChunks1M writes and reads a checkpoint of a million keys.
func BenchmarkChunks1M(b *testing.B) {
	u, n := millions(b)
	if err := u.e.Try(n, func(t dataset.Task) { stateless(t, n) }); err != nil {
		b.Fatal(err)
	}
	u.e.Complete(u.at)
	s, at := u.e.State(lineagetest.StatePart{Stream: states})
	encode := func(full bool, keep func(chunk []byte)) (rows int64) {
		s.Encode(at-1000, full, 4<<20, func(chunk []byte, n int64) bool {
			keep(chunk)
			rows += n
			return true
		})
		return rows
	}
	perRow := func(b *testing.B, rows int64) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
	}
	for name, full := range map[string]bool{"image": true, "changes": false} {
		b.Run(name, func(b *testing.B) {
			var rows int64
			for b.Loop() {
				rows = encode(full, func([]byte) {})
			}
			perRow(b, rows)
		})
	}
	b.Run("decode", func(b *testing.B) {
		var chunks [][]byte
		rows := encode(true, func(c []byte) { chunks = append(chunks, c) })
		for b.Loop() {
			to := n.Deps()[0].On.(dataset.Stateful).Blank()
			for _, c := range chunks {
				if err := to.Decode(c, at); err != nil {
					b.Fatal(err)
				}
			}
		}
		perRow(b, rows)
	})
}
