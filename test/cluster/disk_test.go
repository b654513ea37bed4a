package cluster

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An executor whose log of blocks cannot be written any more ends at once, names the log and acknowledges nothing that
// is not there; started again over a good disk it goes on. Nothing is lost.
func TestNodeEndsWhenItsLogCannotBeWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	t.Parallel()
	const limit = 256 << 10
	lines := text(t, 60_000)
	c := newCluster(t, 4, func(n *node) {
		if n.name == "n4" {
			n.roles = "executor"
		}
	})
	await(t, 30*time.Second, "all nodes to be ready", c.allReady)
	bad := c.nodes[3]
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 8*time.Second)
	if err := bad.proc.LimitFiles(limit); err != nil {
		t.Fatal(err)
	}
	await(t, 60*time.Second, bad.name+" to end by itself", bad.ended)
	if status := bad.proc.ExitCode(); status != 1 {
		t.Errorf("%s ended with status %d, expected 1", bad.name, status)
	}
	if says := tail(filepath.Join(c.dir, bad.name+".log"), 1); !strings.Contains(says, "log is unusable after a failed write or sync") || !strings.Contains(says, ".wal") {
		t.Errorf("last words of %s are %q, expected the log's file and why it is unusable", bad.name, says)
	}
	c.start(bad)
	f.wait(t, 60*time.Second)
	c.must("--timeout", "50s", "stop", "wc")
	await(t, 60*time.Second, "wc to be stopped", func() bool { return c.app("wc").State == "stopped" })
	sameTotals(t, total(t, prefix), oracle(lines))
}
