package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// dumpTime bounds how long the dumps of all ledgers may take.
const dumpTime = 60 * time.Second

// Hash is where a node's copy of the ledger stands.
type Hash struct {
	Node  string `json:"node"`
	Index uint64 `json:"index"`
	Hash  string `json:"hash"`
}

// Hashes waits until every driver runs and has applied the same entries, and gives the hashes of their states. The caller
// compares them.
func (c *Cluster) Hashes(ctx context.Context) (all []Hash, err error) {
	err = Await(ctx, "at the same index on all nodes", func(ctx context.Context) error {
		all = nil
		for _, n := range c.nodes {
			if !n.votes {
				continue
			}
			if !c.Up(n.name) {
				return fmt.Errorf("%s is not up", n.name)
			}
			ask, cancel := context.WithTimeout(ctx, askTime)
			r, err := c.each[n.name].GetLedger(ask)
			cancel()
			if err != nil {
				return err
			}
			all = append(all, Hash{Node: n.name, Index: r.GetAppliedIndex(), Hash: r.GetStateHash()})
			if first := all[0]; first.Index != r.GetAppliedIndex() {
				return fmt.Errorf("%s is at %d, %s at %d", first.Node, first.Index, n.name, r.GetAppliedIndex())
			}
		}
		return nil
	})
	return all, err
}

// Dump writes the ledger of every stopped driver below dir as JSON lines, and gives the paths by node.
func (c *Cluster) Dump(ctx context.Context, dir string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, dumpTime)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("dump the ledgers: %w", err)
	}
	paths := make(map[string]string)
	for _, n := range c.nodes {
		if !n.votes {
			continue
		}
		path := filepath.Join(dir, n.name+".jsonl")
		if err := c.dump(ctx, n, path); err != nil {
			return paths, err
		}
		paths[n.name] = path
	}
	return paths, nil
}

func (c *Cluster) dump(ctx context.Context, n *node, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("dump the ledger of %s: %w", n.name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	cmd := exec.CommandContext(ctx, c.o.Binary, "ledger", "log", "--data", n.dir, "-o", "json")
	var said errorText
	cmd.Stdout, cmd.Stderr = f, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("dump the ledger of %s: %w: %s", n.name, err, said.text)
	}
	return nil
}

// errorText keeps the first bytes that a command says.
type errorText struct{ text []byte }

// Write keeps what there is room for.
func (e *errorText) Write(b []byte) (int, error) {
	const room = 2000
	e.text = append(e.text, b[:min(len(b), room-min(len(e.text), room))]...)
	return len(b), nil
}
