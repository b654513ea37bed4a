package cluster

import (
	"strings"
	"testing"
	"time"
)

// apart makes the first three nodes drivers only, and the others executors only.
func apart(n *node) {
	if n.roles = "driver"; n.name > "n3" {
		n.roles = "executor"
	}
}

// Drivers that do not compute and executors that do not vote: word count works, and survives the death of the leader.
func TestDriversAndExecutorsAreNodesOfTheirOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	t.Parallel()
	lines := text(t, 20_000)
	c := newCluster(t, 5, apart)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 10*time.Second)
	await(t, 30*time.Second, "some processed records", func() bool { return c.app("wc").Processed > int64(len(lines))/10 })
	leader := c.waitLeader(30 * time.Second)
	if !leader.votes() {
		t.Fatalf("%s leads, though it is no driver", leader.name)
	}
	if err := leader.proc.Kill(); err != nil {
		t.Fatal(err)
	}
	c.waitLeaderOtherThan(leader, 30*time.Second)
	f.wait(t, 60*time.Second)
	c.start(leader)
	c.must("--timeout", "50s", "stop", "wc")
	await(t, 60*time.Second, "wc to be stopped", func() bool { return c.app("wc").State == "stopped" })
	sameTotals(t, total(t, prefix), oracle(lines))
	c.sameState()
}

// SIGTERM of one node after the other while lines come in, as an upgrade does: every one leaves with status 0 and says
// nothing above info of it, no batch fails, nothing is lost, with keyed state and without.
func TestRollingRestartLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	lines := text(t, 50_000)
	c := newCluster(t, 3)
	prefix := c.startWordCount("wc")
	totals := c.submitCount("totals", "500ms", "source=ingest", "running=true", "checkpoint=2s")
	f, g := c.feed("wc", "p1", lines, 15*time.Second), c.feed("totals", "p1", lines, 15*time.Second)
	for i, n := range c.nodes {
		await(t, 30*time.Second, "all nodes to be ready", c.allReady)
		await(t, 30*time.Second, "more processed records", func() bool { return c.app("wc").Processed > int64((i+1)*len(lines)/5) })
		if err := n.proc.Terminate(); err != nil {
			t.Fatal(err)
		}
		left := time.Now()
		await(t, 20*time.Second, n.name+" to end", n.ended)
		if status := n.proc.ExitCode(); status != 0 {
			t.Errorf("%s ended with status %d, expected 0", n.name, status)
		}
		t.Logf("%s left within %v", n.name, time.Since(left).Round(time.Millisecond))
		_, farewell, _ := strings.Cut(c.log(n), "leaving in order")
		for line := range strings.Lines(farewell) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				t.Errorf("%s does not leave quietly: %s", n.name, line)
			}
		}
		c.start(n)
	}
	f.wait(t, 60*time.Second)
	g.wait(t, 60*time.Second)
	c.stopped("totals")
	sameTotals(t, lastBatch(t, totals), oracle(lines))
	c.finish("wc", prefix, lines)
	for _, name := range []string{"wc", "totals"} {
		if events := c.must("events", name); strings.Contains(events, "batch failed") || !strings.Contains(events, "application ended") {
			t.Errorf("events of %s, expected its end and no failed batch:\n%s", name, events)
		}
	}
}

// A second SIGTERM ends a node at once, also where it could not leave in order: a leader that has no majority.
func TestSecondSignalEndsANodeAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newCluster(t, 3)
	c.startWordCount("wc")
	leader := c.waitLeader(30 * time.Second)
	for _, n := range c.nodes {
		if n != leader {
			if err := n.proc.Pause(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := leader.proc.Terminate(); err != nil {
		t.Fatal(err)
	}
	await(t, 10*time.Second, "the node to begin to leave", func() bool { return c.logHas(leader, "leaving in order") })
	began := time.Now()
	if err := leader.proc.Terminate(); err != nil && !leader.ended() {
		t.Fatal(err)
	}
	await(t, 10*time.Second, "the node to end", leader.ended)
	if took := time.Since(began); took > time.Second {
		t.Errorf("the node ended %v after the second signal, expected at once", took)
	}
}
