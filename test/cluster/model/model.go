// Package model owns the application of the test that compares a cluster under faults with the test kit: two windows,
// sessions with timeouts, a join, and outputs of them. It promises that its results depend on which lines each batch has
// and on nothing else, not even their order: that is what makes the two comparable.
package model

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

const (
	// Batch is the interval that the application must be submitted with.
	Batch = 200 * time.Millisecond
	// Slide is that of the counts; the rest goes by the batch.
	Slide = 2 * Batch
	// Window is how far back counts look.
	Window = 2 * time.Second
	// Longest is how far back the longest lines are looked for.
	Longest = time.Second
	// Idle ends a session of a word.
	Idle = 600 * time.Millisecond
)

type count = dstream.KV[string, int64]

// Params are the application's parameters.
type Params struct {
	Out string `json:"out"` // directory below which the outputs are written, on a path that all nodes share
}

// Program is the build function.
func Program(c *dstream.Context, p Params) error {
	lines := ingest.TextStream(c)
	lines.SaveAsTextFiles(p.Out+"/lines", "")
	Counts(lines).SaveAsTextFiles(p.Out+"/counts", "")
	Sessions(lines).SaveAsTextFiles(p.Out+"/sessions", "")
	return nil
}

func words(lines *dstream.DStream[string]) *dstream.DStream[count] {
	return dstream.Map(dstream.FlatMap(lines, strings.FieldsSeq), func(w string) count { return dstream.Pair(w, int64(1)) })
}

// Counts are how often each word occurred within Window, every Slide.
func Counts(lines *dstream.DStream[string]) *dstream.DStream[string] {
	minus := func(a, b int64) int64 { return a - b }
	some := func(_ string, n int64) bool { return n != 0 }
	counts := dstream.ReduceByKeyAndWindowInverse(words(lines), dstream.Sum, minus, Window, Slide, dstream.Keep(some))
	return dstream.Map(counts, count.String)
}

// Sessions has, for each word of the window Longest, the most words of a line that it stands in, joined with how often it
// occurred in a session that ends in this batch.
func Sessions(lines *dstream.DStream[string]) *dstream.DStream[string] {
	lengths := dstream.FlatMap(lines, func(line string) iter.Seq[count] {
		return func(yield func(count) bool) {
			all := strings.Fields(line)
			for _, w := range all {
				if !yield(dstream.Pair(w, int64(len(all)))) {
					return
				}
			}
		}
	})
	longest := dstream.ReduceByKeyAndWindow(lengths, func(a, b int64) int64 { return max(a, b) }, Longest, Batch)
	sessions := dstream.MapWithState(words(lines), session, dstream.Timeout(Idle))
	joined := dstream.FullOuterJoin(longest, sessions.DStream)
	return dstream.Map(joined, func(p dstream.KV[string, dstream.Joined[dstream.Opt[int64], dstream.Opt[int64]]]) string {
		return fmt.Sprint(p)
	})
}

// session counts a word until it was idle for long enough.
func session(_ time.Time, word string, n dstream.Opt[int64], s *dstream.State[int64]) dstream.Opt[count] {
	total, _ := s.Get()
	if s.TimingOut() {
		return dstream.Some(dstream.Pair(word, total))
	}
	s.Update(total + n.Value)
	return dstream.None[count]()
}
