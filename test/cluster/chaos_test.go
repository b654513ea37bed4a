package cluster

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos"
)

// Nodes of any role are killed and paused in a random order, also two and three at a time, while two producers send.
// With all of their disks left, nothing is lost and nothing counted twice.
func TestSumsAreExactWhateverNodeFails(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 3))
	lines := text(t, lineCount)
	c := newCluster(t, 3)
	prefix := c.startWordCount("wc")
	half := len(lines) / 2
	a := c.feed("wc", "a", lines[:half], 30*time.Second)
	b := c.feed("wc", "b", lines[half:], 30*time.Second)
	for range 10 {
		pause(t, time.Duration(500+random.IntN(2500))*time.Millisecond)
		c.fault(random)
	}
	a.wait(t, 180*time.Second)
	b.wait(t, 180*time.Second)
	c.finish("wc", prefix, lines)
}

// fault does one thing to the cluster and undoes it.
func (c *cluster) fault(random *rand.Rand) {
	c.t.Helper()
	order := random.Perm(len(c.nodes))
	hold := time.Duration(random.IntN(3000)) * time.Millisecond
	count := 1
	if random.IntN(3) == 0 { // mostly it is one node at a time
		count += random.IntN(3)
	}
	kinds := []struct {
		name   string
		inject func(*chaos.Process) error
	}{{"kill", (*chaos.Process).Kill}, {"pause", (*chaos.Process).Pause}, {"terminate", (*chaos.Process).Terminate}}
	kind := kinds[[]int{0, 0, 0, 1, 1, 2}[random.IntN(6)]]
	for _, i := range order[:count] {
		n := c.nodes[i]
		c.t.Logf("%s: %s %s, for %v", time.Now().UTC().Format("15:04:05.000"), kind.name, n.name, hold)
		if err := kind.inject(n.proc); err != nil {
			c.t.Fatal(err)
		}
	}
	pause(c.t, hold)
	for _, i := range order[:count] {
		n := c.nodes[i]
		if kind.name == "pause" {
			if err := n.proc.Continue(); err != nil {
				c.t.Fatal(err)
			}
			continue
		}
		await(c.t, 30*time.Second, n.name+" to end", n.ended)
		c.start(n)
	}
}
