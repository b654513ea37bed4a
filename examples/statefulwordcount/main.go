// Command statefulwordcount keeps a total for every word since the start, and has those of the words that each batch
// touched. The totals survive the death of any node.
package main

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

type params struct {
	Start map[string]int64 `json:"start,omitempty"` // totals to start from
}

type count = dstream.KV[string, int64]

func totals(lines *dstream.DStream[string], start map[string]int64) *dstream.StateStream[string, int64, count] {
	words := dstream.FlatMap(lines, strings.FieldsSeq)
	pairs := dstream.Map(words, func(w string) count { return dstream.Pair(w, int64(1)) })
	perBatch := dstream.ReduceByKey(pairs, dstream.Sum)
	add := func(_ time.Time, word string, n dstream.Opt[int64], s *dstream.State[int64]) dstream.Opt[count] {
		total, _ := s.Get()
		total += n.Value
		s.Update(total)
		return dstream.Some(dstream.Pair(word, total))
	}
	initial := func() iter.Seq2[string, int64] { // in order: what it gives must be the same whenever it is called
		return func(yield func(string, int64) bool) {
			for _, word := range slices.Sorted(maps.Keys(start)) {
				if !yield(word, start[word]) {
					return
				}
			}
		}
	}
	return dstream.MapWithState(perBatch, add, dstream.InitialState(initial))
}

func program(c *dstream.Context, p params) error {
	totals(ingest.TextStream(c), p.Start).Print()
	return nil
}

func main() {
	dstream.Register("statefulwordcount", program)
	cli.Main()
}
