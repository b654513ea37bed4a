// Package model owns the application of the tests that compare a cluster under faults with the test kit: every operator
// that looks back or keeps something, and an output of each. It promises that its results depend on which lines each batch
// has and on nothing else, not even their order: that is what makes the two comparable.
package model

import (
	"time"

	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

// Params are the application's parameters.
type Params struct {
	Out        string        `json:"out"`                  // directory below which the outputs are written, on a path that all nodes share
	Window     int           `json:"window"`               // batches of the longest windows: 4 and more, and even
	Checkpoint time.Duration `json:"checkpoint,omitempty"` // 0: as Context.Checkpoint says
}

// Output is one of the application's, written as text below its name.
type Output struct {
	Name  string
	Every int // batches from one of its own to the next
	Graph func(lines *dstream.DStream[string]) *dstream.DStream[string]
}

// Outputs are what the application computes.
func (p Params) Outputs(batch time.Duration) []Output {
	s := spans{window: time.Duration(p.Window) * batch, slide: 2 * batch, short: 4 * batch, batch: batch}
	return []Output{
		{"counts", 2, s.counts},
		{"sessions", 1, s.sessions},
		{"snapshots", 1, s.snapshots},
		{"recent", 2, s.recent},
		{"reduced", 1, s.reduced},
		{"totals", 1, s.totals},
		{"number", 1, s.number},
		{"sliced", 1, s.sliced},
	}
}

// Lines is the output that says which lines each batch had.
const Lines = "lines"

// Program is the build function.
func Program(c *dstream.Context, p Params) error {
	if p.Checkpoint > 0 {
		c.Checkpoint(p.Checkpoint)
	}
	lines := ingest.TextStream(c)
	lines.SaveAsTextFiles(p.Out+"/"+Lines, "")
	for _, o := range p.Outputs(c.BatchInterval()) {
		o.Graph(lines).SaveAsTextFiles(p.Out+"/"+o.Name, "")
	}
	return nil
}
