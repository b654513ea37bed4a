// Command tophashtags finds the hashtags that were used most in the last minutes, the most frequent first, anew
// every few seconds.
package main

import (
	"cmp"
	"strings"
	"time"

	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
)

type params struct {
	Window time.Duration `json:"window"` // "5m"
	Slide  time.Duration `json:"slide"`  // how often, "10s"
	Top    int           `json:"top"`    // how many hashtags
}

type count = dstream.KV[string, int64]

// fewer orders hashtags by how often they were used. It leaves nothing open, so that a batch that is run again has the
// same result.
func fewer(a, b count) int {
	return cmp.Or(cmp.Compare(a.Value, b.Value), cmp.Compare(b.Key, a.Key))
}

func top(posts *dstream.DStream[string], p params) *dstream.DStream[count] {
	words := dstream.FlatMap(posts, strings.FieldsSeq)
	tags := words.Filter(func(w string) bool { return len(w) > 1 && w[0] == '#' })
	counts := dstream.CountByValueAndWindow(dstream.Map(tags, strings.ToLower), p.Window, p.Slide)
	return dstream.Transform(counts, func(r rdd.RDD[count], _ time.Time) rdd.RDD[count] { return rdd.Top(r, p.Top, fewer) })
}

func program(c *dstream.Context, p params) error {
	top(ingest.TextStream(c), p).Print(p.Top)
	return nil
}

func main() {
	dstream.Register("tophashtags", program)
	cli.Main()
}
