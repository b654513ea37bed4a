package programs

import (
	"errors"
	"io/fs"
	"iter"
	"os"

	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

type brittleParams struct {
	Out  string `json:"out"`  // prefix of text files on a path that all nodes share
	Trap string `json:"trap"` // path, that all nodes share, of a file: while it is there, records are tripped over
}

// Tripped is what program brittle panics with.
const Tripped = "brittle: tripped over the trap"

// brittle writes its input as it is, and fails over it while there is a trap.
func brittle(c *dstream.Context, p brittleParams) error {
	dstream.MapPartitions(ingest.TextStream(c), p.cross).SaveAsTextFiles(p.Out, "")
	return nil
}

// cross gives on the records of a partition, and panics over the trap when it has given on all of them: that is where an
// output has most to forget. A partition without records does not look.
func (p brittleParams) cross(in iter.Seq[string]) iter.Seq[string] {
	return func(yield func(string) bool) {
		some := false
		for line := range in {
			some = true
			if !yield(line) {
				return
			}
		}
		if !some {
			return
		}
		if _, err := os.Stat(p.Trap); !errors.Is(err, fs.ErrNotExist) {
			panic(Tripped)
		}
	}
}
