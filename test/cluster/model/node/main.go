// Command node is a node that has the application of package model.
package main

import (
	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/test/cluster/model"
)

func main() {
	dstream.Register("model", model.Program)
	cli.Main()
}
