// Command node is the node that workloads run on: the stock applications, and those of package programs.
package main

import (
	"github.com/raftstream/raftstream/apps"
	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/test/jepsen-style/programs"
)

func main() {
	apps.Register()
	programs.Register()
	cli.Main()
}
