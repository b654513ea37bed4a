package apps

import (
	"errors"
	"strings"

	"github.com/raftstream/raftstream/dstream"
)

type wordCountParams struct {
	Source  string `json:"source"`            // ingest
	Out     string `json:"out,omitempty"`     // prefix of text files on a path that all nodes share; else print
	Window  string `json:"window,omitempty"`  // length/slide, 30s/1s
	Running bool   `json:"running,omitempty"` // totals since the start
}

// wordCount counts how often each word occurs in a batch.
func wordCount(c *dstream.Context, p wordCountParams) error {
	if p.Window != "" {
		return errors.New("parameter window: windows are not available in this version")
	}
	if p.Running {
		return errors.New("parameter running: totals since the start are not available in this version")
	}
	lines, err := source(c, p.Source)
	if err != nil {
		return err
	}
	words := dstream.FlatMap(lines, strings.FieldsSeq)
	pairs := dstream.Map(words, func(w string) dstream.KV[string, int64] { return dstream.Pair(w, int64(1)) })
	write(dstream.ReduceByKey(pairs, dstream.Sum), p.Out)
	return nil
}
