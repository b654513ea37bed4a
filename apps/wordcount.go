package apps

import (
	"strings"
	"time"

	"github.com/raftstream/raftstream/dstream"
)

type wordCountParams struct {
	Source  string `json:"source"`            // ingest, socket:HOST:PORT, files:DIR or rate:N
	Out     string `json:"out,omitempty"`     // prefix of text files on a path that all nodes share; else print
	Window  string `json:"window,omitempty"`  // length/slide, 30s/1s
	Running bool   `json:"running,omitempty"` // totals since the start: every batch has those of all words

	Checkpoint time.Duration `json:"checkpoint,omitempty"` // how often running totals are saved; 0: as Context.Checkpoint says
}

// count is a word and how often it occurs.
type count = dstream.KV[string, int64]

// wordCount counts how often each word occurs in a batch, within a window, or since the start.
func wordCount(c *dstream.Context, p wordCountParams) error {
	kind, err := kindOf(p.Window, p.Running)
	if err != nil {
		return err
	}
	lines, err := source(c, p.Source)
	if err != nil {
		return err
	}
	if p.Checkpoint != 0 {
		c.Checkpoint(p.Checkpoint)
	}
	write(counts(lines, kind), p.Out)
	return nil
}

// counts are the counts of the words of each batch, of a window, or of all batches up to it.
func counts(lines *dstream.DStream[string], k kind) *dstream.DStream[count] {
	words := dstream.FlatMap(lines, strings.FieldsSeq)
	pairs := dstream.Map(words, func(w string) count { return dstream.Pair(w, int64(1)) })
	perBatch := dstream.ReduceByKey(pairs, dstream.Sum)
	switch {
	case k.running:
		return dstream.UpdateStateByKey(perBatch, total)
	case k.window > 0:
		minus := func(a, b int64) int64 { return a - b }
		some := func(_ string, n int64) bool { return n > 0 }
		return dstream.ReduceByKeyAndWindowInverse(perBatch, dstream.Sum, minus, k.window, k.slide, dstream.Keep(some))
	}
	return perBatch
}

// total adds what a batch has of a word to what there was.
func total(values []int64, state dstream.Opt[int64]) dstream.Opt[int64] {
	for _, v := range values {
		state.Value += v
	}
	return dstream.Some(state.Value)
}
