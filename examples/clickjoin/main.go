// Command clickjoin finds the impressions of an advertisement that were clicked within a minute, and those that were
// not. Impressions and clicks come as lines "imp ID" and "click ID".
package main

import (
	"iter"
	"strings"
	"time"

	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

type params struct {
	Window time.Duration `json:"window"` // how long a click may come after its impression, "60s"
	Out    string        `json:"out"`    // prefix of text files: the id, and whether it was clicked
}

type marked = dstream.KV[string, bool]

// ids has the ids of the lines of one kind.
func ids(lines *dstream.DStream[string], kind string) *dstream.DStream[marked] {
	return dstream.FlatMap(lines, func(line string) iter.Seq[marked] {
		return func(yield func(marked) bool) {
			if of, id, ok := strings.Cut(line, " "); ok && of == kind {
				yield(dstream.Pair(id, true))
			}
		}
	})
}

// clicked judges the impressions of each window, which follow each other without overlap, by the clicks of that window.
func clicked(lines *dstream.DStream[string], window time.Duration) *dstream.DStream[marked] {
	first := func(a, _ bool) bool { return a }
	impressions := dstream.ReduceByKeyAndWindow(ids(lines, "imp"), first, window, window)
	clicks := dstream.ReduceByKeyAndWindow(ids(lines, "click"), first, window, window)
	joined := dstream.LeftOuterJoin(impressions, clicks)
	return dstream.MapValues(joined, func(j dstream.Joined[bool, dstream.Opt[bool]]) bool { return j.Right.OK })
}

func program(c *dstream.Context, p params) error {
	clicked(ingest.TextStream(c), p.Window).SaveAsTextFiles(p.Out, "tsv")
	return nil
}

func main() {
	dstream.Register("clickjoin", program)
	cli.Main()
}
