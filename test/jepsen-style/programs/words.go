package programs

import (
	"strings"
	"time"

	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

type count = dstream.KV[string, int64]

// pairs has each word of the lines with 1.
func pairs(lines *dstream.DStream[string]) *dstream.DStream[count] {
	words := dstream.FlatMap(lines, strings.FieldsSeq)
	return dstream.Map(words, func(w string) count { return dstream.Pair(w, int64(1)) })
}

type totalsParams struct {
	Out        string        `json:"out"` // prefix of text files on a path that all nodes share
	Checkpoint time.Duration `json:"checkpoint"`
}

// totals counts words since the start by MapWithState, and writes those of all words in every batch.
func totals(c *dstream.Context, p totalsParams) error {
	c.Checkpoint(p.Checkpoint)
	counted(ingest.TextStream(c)).SaveAsTextFiles(p.Out, "")
	return nil
}

// counted has the totals of all words, in every batch.
func counted(lines *dstream.DStream[string]) *dstream.DStream[count] {
	add := func(_ time.Time, _ string, n dstream.Opt[int64], s *dstream.State[int64]) dstream.Opt[int64] {
		total, _ := s.Get()
		s.Update(total + n.Value)
		return dstream.None[int64]()
	}
	return dstream.MapWithState(pairs(lines), add).StateSnapshots()
}

type windowsParams struct {
	Out string `json:"out"` // prefix of the prefixes of text files
}

// windows counts the words of windows of every form: merged panes, what leaves subtracted, input that is kept and read
// again, and one that is much longer than it slides.
func windows(c *dstream.Context, p windowsParams) error {
	batch := c.BatchInterval()
	lines := ingest.TextStream(c)
	words := pairs(lines)
	minus := func(a, b int64) int64 { return a - b }
	some := dstream.Keep(func(_ string, n int64) bool { return n > 0 })
	dstream.ReduceByKeyAndWindow(words, dstream.Sum, 3*batch, batch).SaveAsTextFiles(p.Out+"-reduced", "")
	dstream.ReduceByKeyAndWindowInverse(words, dstream.Sum, minus, 10*batch, 2*batch, some).SaveAsTextFiles(p.Out+"-inverse", "")
	lines.Window(4*batch, 2*batch).SaveAsTextFiles(p.Out+"-lines", "")
	dstream.ReduceByKeyAndWindow(words, dstream.Sum, 24*batch, 3*batch).SaveAsTextFiles(p.Out+"-long", "")
	return nil
}
