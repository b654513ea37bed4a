package cluster

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Rule 8: two nodes of three are killed, and with them every copy of some blocks, while batches are pending. When they
// are back, under new sessions, the application goes on by itself and no failed batch is seen.
func TestApplicationGoesOnWhenAllHoldersOfBlocksComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 3))
	lines := text(t, lineCount)
	c := newCluster(t, 3)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 20*time.Second)
	for range 2 {
		await(t, 30*time.Second, "all nodes to be ready", c.allReady)
		before := c.app("wc").Processed
		await(t, 30*time.Second, "records to be processed", func() bool { return c.app("wc").Processed > before+lineCount/20 })
		order := random.Perm(len(c.nodes))
		killed := order[:2]
		for _, i := range killed {
			if err := c.nodes[i].proc.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		survivor := c.nodes[order[2]]
		pause(t, time.Duration(random.IntN(4000))*time.Millisecond)
		for _, i := range killed {
			c.start(c.nodes[i])
		}
		t.Logf("%s survived alone for a while", survivor.name)
		c.waitLeader(60 * time.Second)
		if a := c.app("wc"); a.State != "running" {
			t.Fatalf("the application is %s: %s", a.State, a.Error)
		}
	}
	f.wait(t, 120*time.Second)
	c.finish("wc", prefix, lines)
}
