package cluster

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Nodes are replaced by another build one by one under load. Batches stay with the old build until the last of its
// nodes goes, then they go on in the new one; a node of another build is named in the log. Nothing is lost.
func TestUpgradeNodeByNodeLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	t.Parallel()
	upgraded := filepath.Join(t.TempDir(), "upgraded")
	build := exec.Command("go", "build", "-ldflags", "-X github.com/raftstream/raftstream/cli.version=upgraded",
		"-o", upgraded, "github.com/raftstream/raftstream/cmd/node")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the upgraded node: %v\n%s", err, out)
	}
	lines := text(t, 50_000)
	c := newCluster(t, 3)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 15*time.Second)
	for i, n := range c.nodes {
		await(t, 30*time.Second, "all nodes to be ready", c.allReady)
		await(t, 60*time.Second, "more processed records", func() bool { return c.app("wc").Processed > int64((i+1)*len(lines)/5) })
		if err := n.proc.Terminate(); err != nil {
			t.Fatal(err)
		}
		await(t, 20*time.Second, n.name+" to end", n.ended)
		n.binary = upgraded
		c.start(n)
	}
	f.wait(t, 90*time.Second)
	c.finish("wc", prefix, lines)
	var named bool
	for _, n := range c.nodes {
		named = named || strings.Contains(c.log(n), "executor runs another build")
	}
	if !named {
		t.Error("no log says that an executor runs another build")
	}
}
