package programs

import (
	"fmt"
	"iter"
	"time"

	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

type slowParams struct {
	Out       string `json:"out"`        // prefix of text files on a path that all nodes share
	PerSecond int    `json:"per_second"` // records that a task gets done
}

// slow writes its input as it is, and takes its time for it.
func slow(c *dstream.Context, p slowParams) error {
	if p.PerSecond < 1 {
		return fmt.Errorf("parameter per_second: %d, expected 1 and more", p.PerSecond)
	}
	dstream.MapPartitions(ingest.TextStream(c), p.pace).SaveAsTextFiles(p.Out, "")
	return nil
}

// pace gives on the records of a partition at the rate.
func (p slowParams) pace(in iter.Seq[string]) iter.Seq[string] {
	return func(yield func(string) bool) {
		portion := max(1, p.PerSecond/50)
		wait := time.Duration(portion) * time.Second / time.Duration(p.PerSecond)
		n := 0
		for line := range in {
			if n++; n%portion == 0 {
				<-time.After(wait)
			}
			if !yield(line) {
				return
			}
		}
	}
}
