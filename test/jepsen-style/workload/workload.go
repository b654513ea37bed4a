// Package workload owns what clients do to a cluster under test, and how it is judged: each workload submits its
// applications, sends and reads through the public client alone, records every operation, and checks the folder of the
// run afterwards. It must not know faults.
package workload

import (
	"context"

	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// Env is what a workload has to work with. Workloads of one run share a cluster and a history.
type Env struct {
	// Dir is the workload's own folder inside the run's, on a path that all nodes see: outputs go there.
	Dir     string
	History *history.Log
	// Client gives a new client that knows every node; At one that knows the named node alone. The caller closes them.
	Client func() (*client.Client, error)
	At     func(node string) (*client.Client, error)
	Nodes  []string
	Seed   uint64
	Rate   int // operations or records a second that this workload aims at
}

// Workload is one kind of use. Its methods are called once each, in this order.
type Workload interface {
	Name() string
	// Start submits applications and returns when they run.
	Start(ctx context.Context, e *Env) error
	// Run works until ctx ends, through all faults, and returns nil then. Operations that failed are history, not errors.
	Run(ctx context.Context, e *Env) error
	// Finish is called when all faults are healed: it brings what is open to an end, drains and stops the applications,
	// and makes the final reads.
	Finish(ctx context.Context, e *Env) error
	// Check judges the run from its folder: dir as of Env.Dir, run with what the runner has gathered from the nodes.
	Check(dir string, run *checker.Run) []checker.Result
}
