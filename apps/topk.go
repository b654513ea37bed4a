package apps

import (
	"cmp"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
)

const (
	defaultK = 10
	maxK     = 10_000
)

type topKParams struct {
	Source  string `json:"source"`            // ingest, socket:HOST:PORT, files:DIR or rate:N
	K       int    `json:"k,omitempty"`       // how many words, 10
	Window  string `json:"window,omitempty"`  // length/slide, 30s/1s
	Running bool   `json:"running,omitempty"` // of all batches since the start
	Out     string `json:"out,omitempty"`     // prefix of text files on a path that all nodes share; else print
}

// topK finds the most frequent words of a batch, or of a window, in order.
func topK(c *dstream.Context, p topKParams) error {
	if p.K == 0 {
		p.K = defaultK
	}
	if p.K < 1 || p.K > maxK {
		return fmt.Errorf("parameter k: %d, expected 1 to %d", p.K, maxK)
	}
	kind, err := kindOf(p.Window, p.Running)
	if err != nil {
		return err
	}
	lines, err := source(c, p.Source)
	if err != nil {
		return err
	}
	write(largest(counts(lines, kind), p.K), p.Out)
	return nil
}

// largest keeps the k words with the highest counts, in order and in one partition.
func largest(s *dstream.DStream[count], k int) *dstream.DStream[count] {
	return dstream.Transform(s, func(r rdd.RDD[count], _ time.Time) rdd.RDD[count] { return rdd.Bottom(r, k, order) })
}

// order puts frequent words first, and equally frequent ones in the order of the alphabet: it leaves nothing open, so
// that a batch that is run again gives the same.
func order(a, b count) int {
	return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(a.Key, b.Key))
}
