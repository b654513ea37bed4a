// Command node is bin/raftstream: a node of a cluster and the command line for it, with the stock applications. The
// main function of an own application looks the same, with dstream.Register in the place of apps.Register.
package main

import (
	"github.com/raftstream/raftstream/apps"
	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/test/jepsen-style/command"
)

func main() {
	apps.Register()
	cli.Main(command.Chaos)
}
