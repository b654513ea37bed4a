package cluster

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

const lineCount = 100_000

// startWordCount submits wordcount on ingest with its batches written below the cluster's directory.
func (c *cluster) startWordCount(name string) (prefix string) {
	c.t.Helper()
	prefix = filepath.Join(c.dir, "out", name)
	c.must("submit", "wordcount", "--name", name, "--batch", "200ms", "--param", "source=ingest", "--param", "out="+prefix)
	return prefix
}

// finish stops the application in order and checks everything that must hold at the end.
func (c *cluster) finish(name, prefix string, lines []string) {
	c.t.Helper()
	c.must("--timeout", "50s", "stop", name)
	await(c.t, 120*time.Second, name+" to be stopped", func() bool { return c.app(name).State == "stopped" })
	a := c.app(name)
	if a.Received != int64(len(lines)) || a.Processed != int64(len(lines)) {
		c.t.Errorf("%s received %d records and processed %d, expected %d", name, a.Received, a.Processed, len(lines))
	}
	sameTotals(c.t, total(c.t, prefix), oracle(lines))
	c.sameState()
}

// Kill the leading driver five times at random moments while lines come in; nothing is lost, nothing counted twice.
func TestSumsAreExactWhenTheLeaderIsKilledFiveTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	random := rand.New(rand.NewPCG(seed(t), 1))
	lines := text(t, lineCount)
	c := newCluster(t, 3)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 25*time.Second)
	terms := map[uint64]bool{}
	for kill := range 5 {
		pause(t, time.Duration(1000+random.IntN(2500))*time.Millisecond)
		leader := c.waitLeader(30 * time.Second)
		if err := leader.proc.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		next := c.waitLeaderOtherThan(leader, 30*time.Second)
		t.Logf("kill %d: %s was killed, %s leads after %v", kill+1, leader.name, next.name, time.Since(killed).Round(time.Millisecond))
		pause(t, time.Duration(random.IntN(1000))*time.Millisecond)
		c.start(leader)
		var m members
		if c.read(&m, "members") {
			terms[m.Term] = true
		}
	}
	f.wait(t, 120*time.Second)
	if len(terms) < 2 {
		t.Errorf("only %d terms were seen over five kills: the fault took no effect", len(terms))
	}
	c.finish("wc", prefix, lines)
}

// Stop the leader for four seconds: another one acts, and what the first had under way is refused when it wakes.
func TestOneLeaderActsAtATimeWhenTheLeaderIsPaused(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	random := rand.New(rand.NewPCG(seed(t), 2))
	lines := text(t, lineCount)
	c := newCluster(t, 3)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 20*time.Second)
	for range 2 {
		pause(t, time.Duration(2000+random.IntN(2000))*time.Millisecond)
		leader := c.waitLeader(30 * time.Second)
		if err := leader.proc.Pause(); err != nil {
			t.Fatal(err)
		}
		next := c.waitLeaderOtherThan(leader, 4*time.Second)
		pause(t, 4*time.Second)
		if err := leader.proc.Continue(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s was paused for four seconds, %s led", leader.name, next.name)
	}
	f.wait(t, 120*time.Second)
	c.finish("wc", prefix, lines)
}

// Kill every node at once and start them again: the application goes on by itself.
func TestApplicationGoesOnWhenAllNodesWereKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	lines := text(t, lineCount)
	c := newCluster(t, 3)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 12*time.Second)
	await(t, 30*time.Second, "some processed records", func() bool { return c.app("wc").Processed > lineCount/10 })
	for _, n := range c.nodes {
		if err := n.proc.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.nodes {
		c.start(n)
	}
	c.waitLeader(60 * time.Second)
	f.wait(t, 120*time.Second)
	c.finish("wc", prefix, lines)
}

// pause lets load run for a while: the only wait that no condition can replace, because time itself is the fault's.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	<-time.After(d)
}

func (c *cluster) waitLeaderOtherThan(old *node, limit time.Duration) *node {
	c.t.Helper()
	var found *node
	await(c.t, limit, fmt.Sprintf("a leader other than %s", old.name), func() bool {
		found = c.leader()
		return found != nil && found != old
	})
	return found
}
