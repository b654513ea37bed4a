package lineage_test

import (
	"fmt"
	"testing"

	"github.com/raftstream/raftstream/internal/dataset"
)

// BenchmarkRestorePanes reads an image of a window of very many short panes: the time must follow the values.
func BenchmarkRestorePanes(b *testing.B) {
	const panes, keys = 10_000, 20
	w := reducing(b, panes, panes-1, addInts, nil, nil)
	w.show = func(int64) string { return "" }
	for pane := range panes - 2 {
		in := make([]pair[string, int64], keys)
		for i := range in {
			in[i] = pair[string, int64]{fmt.Sprintf("user-%08d", pane*keys+i), 1}
		}
		n := w.next(b, [][]pair[string, int64]{in})
		if err := w.e.Try(n, func(t dataset.Task) { stateless(t, n) }); err != nil {
			b.Fatal(err)
		}
		w.e.Complete(w.at)
		clear(w.e.Blocks)
	}
	s, at := w.e.State(windowPart)
	var chunks [][]byte
	s.Encode(0, true, 1<<20, func(chunk []byte, _ int64) bool { chunks = append(chunks, chunk); return true })
	n := w.node(b, w.at, nil)
	for b.Loop() {
		restored := n.Deps()[0].On.(dataset.Stateful).Blank()
		for _, chunk := range chunks {
			if err := restored.Decode(chunk, at); err != nil {
				b.Fatal(err)
			}
		}
		if restored.Len() != s.Len() {
			b.Fatalf("%d rows, want %d", restored.Len(), s.Len())
		}
	}
	b.ReportMetric(float64(len(chunks)), "chunks")
}
