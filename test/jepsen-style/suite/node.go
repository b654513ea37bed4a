package suite

import (
	"context"
	"fmt"
	"os/exec"
	"slices"

	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// Node is the binary that nodes run.
type Node struct {
	Path       string   `json:"path"`
	Programs   []string `json:"programs,omitempty"` // the applications that it has; nil: all that workloads use
	Failpoints bool     `json:"failpoints"`         // its failpoints can be armed
	Clocks     bool     `json:"clocks"`             // its wall clock can be skewed
}

// Stock is a binary as it is delivered: nothing in it can be armed.
func Stock(path string) Node {
	return Node{Path: path, Programs: []string{"wordcount", "grep", "topk"}}
}

// nodePackage is the main package of nodes that have every application of the workloads.
const nodePackage = "github.com/raftstream/raftstream/test/jepsen-style/node"

// BuildNode builds a node with every application of the workloads, with failpoints. It needs Go and the
// sources of this module, below the current directory.
func BuildNode(ctx context.Context, path string) (Node, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "failpoints", "-o", path, nodePackage)
	if out, err := cmd.CombinedOutput(); err != nil {
		return Node{}, fmt.Errorf("build the node: %w\n%s", err, out)
	}
	return Node{Path: path, Failpoints: true}, nil
}

// Runs splits workloads into those whose applications the node has, and the others.
func (n Node) Runs(all []workload.Spec) (runs, lacking []workload.Spec) {
	for _, s := range all {
		if n.Programs == nil || !slices.ContainsFunc(s.Programs, func(p string) bool { return !slices.Contains(n.Programs, p) }) {
			runs = append(runs, s)
		} else {
			lacking = append(lacking, s)
		}
	}
	return runs, lacking
}
