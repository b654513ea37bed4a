// Command windowedwordcount counts the words of the last minute, anew every ten seconds. What leaves the window is
// subtracted, so that a long window costs no more than a short one.
package main

import (
	"strings"
	"time"

	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

type params struct {
	Window time.Duration `json:"window"` // "60s"
	Slide  time.Duration `json:"slide"`  // "10s"
}

type count = dstream.KV[string, int64]

func counts(lines *dstream.DStream[string], p params) *dstream.DStream[count] {
	words := dstream.FlatMap(lines, strings.FieldsSeq)
	pairs := dstream.Map(words, func(w string) count { return dstream.Pair(w, int64(1)) })
	minus := func(a, b int64) int64 { return a - b }
	// Without Keep a word that left the window would stay for ever, with a count of 0.
	some := func(_ string, n int64) bool { return n > 0 }
	return dstream.ReduceByKeyAndWindowInverse(pairs, dstream.Sum, minus, p.Window, p.Slide, dstream.Keep(some))
}

func program(c *dstream.Context, p params) error {
	counts(ingest.TextStream(c), p).Print()
	return nil
}

func main() {
	dstream.Register("windowedwordcount", program)
	cli.Main()
}
