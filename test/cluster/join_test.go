package cluster

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// add starts one more node, which joins the cluster that runs.
func (c *cluster) add(change ...func(*node)) *node {
	c.t.Helper()
	ports := freePorts(c.t, 3)
	name := fmt.Sprintf("n%d", len(c.nodes)+1)
	n := &node{name: name, dir: filepath.Join(c.dir, name), rpc: ports[0], gossip: ports[1], http: ports[2], joins: true}
	for _, f := range change {
		f(n)
	}
	c.nodes = append(c.nodes, n)
	c.start(n)
	return n
}

// member gives the status that a node is shown with.
func (c *cluster) member(n *node) string {
	var m members
	if c.read(&m, "members") {
		for _, x := range m.Members {
			if x.Name == n.name {
				return x.Status
			}
		}
	}
	return ""
}

// logsHave reports whether the log of any node has a line with all the texts.
func (c *cluster) logsHave(texts ...string) bool {
	c.t.Helper()
	for _, n := range c.nodes {
		for line := range strings.Lines(c.log(n)) {
			if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(line, s) }) {
				return true
			}
		}
	}
	return false
}

// Executors that join get receivers and keyed state without a restart; then they carry everything alone, after those
// that were there first have died one by one, for good.
func TestExecutorsThatJoinCanTakeOverEverything(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	const apps = 4 // so that each of two executors has two receivers
	lines := text(t, 20_000)
	c := newCluster(t, 5, apart)
	first := c.nodes[3:]
	await(t, 30*time.Second, "all nodes to be ready", c.allReady)
	prefixes := make([]string, apps)
	feeds := make([]*feeder, apps)
	for i := range apps {
		name := fmt.Sprintf("totals%d", i)
		prefixes[i] = c.submitCount(name, "500ms", "source=ingest", "running=true", "checkpoint=1s")
		feeds[i] = c.feed(name, "p", lines, 30*time.Second)
	}
	for i := range apps {
		await(t, 60*time.Second, "keyed state on the first two", func() bool { return c.app(fmt.Sprintf("totals%d", i)).Checkpoint > 0 })
	}
	joined := []*node{c.add(apart), c.add(apart)}
	await(t, 60*time.Second, "a receiver on every executor", func() bool {
		has := map[string]bool{}
		for i := range apps {
			for _, r := range c.receivers(fmt.Sprintf("totals%d", i)) {
				has[r.Node] = has[r.Node] || r.State == "active"
			}
		}
		return len(has) == 4 && has[joined[0].name] && has[joined[1].name]
	})
	for _, n := range joined {
		await(t, 60*time.Second, "keyed state on "+n.name, func() bool {
			return c.logsHave("a partition of keyed state moves", "to="+n.name)
		})
	}
	for _, n := range first {
		for i := range apps {
			name := fmt.Sprintf("totals%d", i)
			await(t, 60*time.Second, "all copies of what "+name+" has", func() bool { return c.copies(name) })
		}
		if err := n.proc.Kill(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s is dead for good", n.name)
		before := c.app("totals0").Completed
		await(t, 60*time.Second, "batches without "+n.name, func() bool { return c.app("totals0").Completed > before+5000 })
	}
	for _, f := range feeds {
		f.wait(t, 120*time.Second)
	}
	want := oracle(lines)
	for i, prefix := range prefixes {
		c.stopped(fmt.Sprintf("totals%d", i))
		sameTotals(t, lastBatch(t, prefix), want)
	}
	c.sameState()
}

// Two of five nodes, the leader among them, are killed at once. The three others go on; what only the two had is there
// again as soon as one of them is back, which says what it holds. The other one stays away.
func TestTwoOfFiveNodesMayDieAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	lines := text(t, 50_000)
	c := newCluster(t, 5)
	await(t, 30*time.Second, "all nodes to be ready", c.allReady)
	batches := c.submitCount("batches", "200ms", "source=ingest")
	totals := c.submitCount("totals", "500ms", "source=ingest", "running=true", "checkpoint=2s")
	f, g := c.feed("batches", "p", lines, 20*time.Second), c.feed("totals", "p", lines, 20*time.Second)
	await(t, 30*time.Second, "a checkpoint", func() bool { return c.app("totals").Checkpoint > 0 })
	leader := c.waitLeader(30 * time.Second)
	other := c.holder("coordinator", "totals")
	if other == nil || other == leader {
		other = c.nodes[(slices.Index(c.nodes, leader)+1)%len(c.nodes)]
	}
	for _, n := range []*node{leader, other} {
		if err := n.proc.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	next := c.waitLeaderOtherThan(leader, 30*time.Second)
	t.Logf("%s and %s are dead, %s leads", leader.name, other.name, next.name)
	before := c.app("batches").Allocated
	await(t, 60*time.Second, "batches to be allocated by three nodes", func() bool { return c.app("batches").Allocated > before+5000 })
	c.start(leader)
	f.wait(t, 120*time.Second)
	g.wait(t, 120*time.Second)
	for _, name := range []string{"batches", "totals"} {
		await(t, 60*time.Second, "all copies of what "+name+" has", func() bool { return c.copies(name) })
	}
	c.stopped("totals")
	sameTotals(t, lastBatch(t, totals), oracle(lines))
	c.finish("batches", batches, lines)
}

// A node that is gone for good is taken out of the quorum, and a new one at another address takes its place: after that
// the cluster survives the next death. Leadership goes where it is told.
func TestReplacementAtAnotherAddressTakesTheDeadNodesPlace(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	lines := text(t, 50_000)
	c := newCluster(t, 3)
	await(t, 30*time.Second, "all nodes to be ready", c.allReady)
	totals := c.submitCount("totals", "500ms", "source=ingest", "running=true", "checkpoint=2s")
	f := c.feed("totals", "p", lines, 20*time.Second)
	await(t, 30*time.Second, "some processed records", func() bool { return c.app("totals").Processed > int64(len(lines))/10 })
	gone := c.waitLeader(30 * time.Second)
	if err := gone.proc.Kill(); err != nil {
		t.Fatal(err)
	}
	c.waitLeaderOtherThan(gone, 30*time.Second)
	await(t, 60*time.Second, gone.name+" to be shown as dead", func() bool { return c.member(gone) == "dead" })
	c.must("members", "remove", gone.name)
	replacement := c.add()
	await(t, 60*time.Second, replacement.name+" to be a voter, and three members in all", func() bool { return c.threeMembers(replacement) })
	await(t, 60*time.Second, "all copies of what totals has", func() bool { return c.copies("totals") })
	c.must("members", "transfer", replacement.name)
	await(t, 30*time.Second, replacement.name+" to lead", func() bool { return c.leader() == replacement })
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n != gone && n != replacement })
	if err := c.nodes[i].proc.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s was replaced by %s, %s was killed for good", gone.name, replacement.name, c.nodes[i].name)
	f.wait(t, 120*time.Second)
	c.stopped("totals")
	sameTotals(t, lastBatch(t, totals), oracle(lines))
	c.sameState()
}
