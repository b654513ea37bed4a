// Package apps owns the stock applications of bin/raftstream, written as a user would write his own: it promises to need
// nothing but packages dstream and connector.
package apps

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/raftstream/raftstream/connector/files"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/connector/rate"
	"github.com/raftstream/raftstream/connector/socket"
	"github.com/raftstream/raftstream/dstream"
)

// Register makes the stock applications known to this binary.
func Register() {
	dstream.Register("wordcount", wordCount)
	dstream.Register("grep", grep)
	dstream.Register("topk", topK)
}

// source gives the lines that parameter source names: KIND or KIND:WHERE.
func source(c *dstream.Context, name string) (*dstream.DStream[string], error) {
	kind, where, given := strings.Cut(name, ":")
	switch kind {
	case "ingest":
		if !given {
			return ingest.TextStream(c), nil
		}
	case "socket":
		if _, err := socket.NewReceiver(where); err != nil {
			return nil, fmt.Errorf("parameter source: %q: %w", name, err)
		}
		return socket.TextStream(c, where), nil
	case "files":
		if _, err := files.New(where); err != nil {
			return nil, fmt.Errorf("parameter source: %q: %w", name, err)
		}
		return files.TextStream(c, where), nil
	case "rate":
		perSecond, err := strconv.Atoi(where)
		if err == nil {
			_, err = rate.New(perSecond)
		}
		if err != nil {
			return nil, fmt.Errorf("parameter source: %q, expected rate:N with N lines a second: %w", name, err)
		}
		return rate.Lines(c, perSecond), nil
	}
	return nil, fmt.Errorf("parameter source: %q, expected ingest, socket:HOST:PORT, files:DIR or rate:N", name)
}

// write is the applications' output: text files where a prefix is given, else the first elements of every batch.
func write[T any](s *dstream.DStream[T], prefix string) {
	if prefix == "" {
		s.Print()
		return
	}
	s.SaveAsTextFiles(prefix, "")
}
