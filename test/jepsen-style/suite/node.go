package suite

import (
	"context"
	"fmt"
	"os/exec"
	"slices"

	"github.com/raftstream/raftstream/chaos/clock"
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

// BuildNode builds a node with every application of the workloads, with failpoints, and with a wall clock that can be skewed
// where the toolchain is one for which that works; say hears why not. It needs Go and the sources of this module, at or
// above the current directory.
func BuildNode(ctx context.Context, path string, say func(string, ...any)) (Node, error) {
	const tag = "failpoints"
	n := Node{Path: path, Failpoints: true, Clocks: true}
	if err := clock.Build(ctx, nodePackage, path, tag); err != nil {
		n.Clocks = false
		say("LEFT OUT: clocks that can be skewed: %v", err)
		if out, err := exec.CommandContext(ctx, "go", "build", "-tags", tag, "-o", path, nodePackage).CombinedOutput(); err != nil {
			return Node{}, fmt.Errorf("build the node: %w\n%s", err, out)
		}
	}
	return n, nil
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
