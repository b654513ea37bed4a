// Package apps owns the stock applications of bin/raftstream, written as a user would write his own: it promises to need
// nothing but packages dstream and connector.
package apps

import (
	"fmt"

	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

// Register makes the stock applications known to this binary.
func Register() {
	dstream.Register("wordcount", wordCount)
	dstream.Register("grep", grep)
}

// source gives the lines that parameter source names.
func source(c *dstream.Context, name string) (*dstream.DStream[string], error) {
	if name != "ingest" {
		return nil, fmt.Errorf("parameter source: %q is not available in this version, expected ingest", name)
	}
	return ingest.TextStream(c), nil
}

// write is the applications' output: text files where a prefix is given, else the first elements of every batch.
func write[T any](s *dstream.DStream[T], prefix string) {
	if prefix == "" {
		s.Print()
		return
	}
	s.SaveAsTextFiles(prefix, "")
}
