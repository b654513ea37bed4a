// Command networkwordcount counts the words of each batch of lines that a TCP server sends.
package main

import (
	"strings"

	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/connector/socket"
	"github.com/raftstream/raftstream/dstream"
)

type params struct {
	Addr string `json:"addr"` // host:port of the server
}

func counts(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
	words := dstream.FlatMap(lines, strings.FieldsSeq)
	pairs := dstream.Map(words, func(w string) dstream.KV[string, int64] { return dstream.Pair(w, int64(1)) })
	return dstream.ReduceByKey(pairs, dstream.Sum)
}

func program(c *dstream.Context, p params) error {
	counts(socket.TextStream(c, p.Addr)).Print()
	return nil
}

func main() {
	dstream.Register("networkwordcount", program)
	cli.Main()
}
