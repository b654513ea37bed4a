package cluster

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// No quorum for ten seconds: nothing that was acknowledged is lost, and the senders go on by themselves.
func TestTotalsAreExactWhenTwoOfThreeAreAwayForTenSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 34))
	lines := text(t, lineCount)
	c := newCluster(t, 3)
	batches := c.submitCount("batches", "200ms", "source=ingest")
	totals := c.submitCount("totals", "500ms", "source=ingest", "running=true")
	f, g := c.feed("batches", "p", lines, 20*time.Second), c.feed("totals", "p", lines, 20*time.Second)
	await(t, 30*time.Second, "some processed records", func() bool { return c.app("totals").Processed > lineCount/5 })
	order := random.Perm(len(c.nodes))
	for _, i := range order[:2] {
		if err := c.nodes[i].proc.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	pause(t, 10*time.Second)
	for _, i := range order[:2] {
		c.start(c.nodes[i])
	}
	f.wait(t, 120*time.Second)
	g.wait(t, 120*time.Second)
	c.stopped("totals")
	sameTotals(t, lastBatch(t, totals), oracle(lines))
	c.finish("batches", batches, lines)
}

// copies reports whether every block and every piece of a checkpoint of an application has its copies.
func (c *cluster) copies(name string) bool {
	var a struct {
		UnderReplicated *int64 `json:"under_replicated"`
	}
	return c.read(&a, "app", name) && a.UnderReplicated != nil && *a.UnderReplicated == 0
}

// A node's disk is wiped while the cluster runs. It comes back as a new member, the copies that it held are made again,
// and then another node, killed for good, takes nothing with it.
func TestASecondNodeCanDieAfterAWipedOneWasRepaired(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 35))
	lines := text(t, lineCount)
	c := newCluster(t, 3)
	totals := c.submitCount("totals", "500ms", "source=ingest", "running=true")
	f := c.feed("totals", "p", lines, 40*time.Second)
	await(t, 60*time.Second, "a committed checkpoint", func() bool { return c.app("totals").Checkpoint > 0 })
	order := random.Perm(len(c.nodes))
	wiped, second := c.nodes[order[0]], c.nodes[order[1]]
	if err := wiped.proc.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(wiped.dir); err != nil {
		t.Fatal(err)
	}
	c.start(wiped)
	await(t, 60*time.Second, wiped.name+" to be a voter, and three members in all", func() bool { return c.threeMembers(wiped) })
	await(t, 60*time.Second, "all nodes to be ready", c.allReady)
	await(t, 60*time.Second, "the copies of what "+wiped.name+" held", func() bool { return c.copies("totals") })
	if err := second.proc.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s was wiped, %s was killed for good", wiped.name, second.name)
	f.wait(t, 120*time.Second)
	c.stopped("totals")
	sameTotals(t, lastBatch(t, totals), oracle(lines))
}

// A state of a million keys survives the death of any one node, and the batch after it takes at most ten times the
// usual time: that is read from the batches themselves, not from a clock of the test.
func TestAMillionKeysSurviveTheDeathOfAnyNode(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for minutes; left out by -short")
	}
	const keys, perLine = 1_000_000, 50
	var lines []string
	for first := 0; first < keys; first += perLine {
		var words []string
		for k := first; k < first+perLine; k++ {
			words = append(words, fmt.Sprintf("key-%08d", k))
		}
		lines = append(lines, strings.Join(words, " "))
	}
	c := newCluster(t, 3)
	totals := c.submitCount("totals", "3s", "source=ingest", "running=true")
	c.feed("totals", "keys", lines, time.Second).wait(t, 120*time.Second)
	await(t, 60*time.Second, "every key to be counted", func() bool { return c.app("totals").Processed == int64(len(lines)) })
	sent := slices.Clone(lines)
	for round, n := range c.nodes {
		usual := c.usual(t, "totals", 4)
		if err := n.proc.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now().UnixMilli()
		more := lines[round*100 : round*100+1000] // some keys once more
		sent = append(sent, more...)
		f := c.feed("totals", fmt.Sprintf("more%d", round), more, time.Second)
		after := c.firstAfter(t, "totals", killed)
		t.Logf("%s killed: usual %d ms, the batch after it %d ms of work, %d ms in all", n.name, usual, after.Processing, after.Total)
		if after.Processing > 10*usual {
			t.Errorf("the batch after the death of %s took %d ms, usual are %d ms", n.name, after.Processing, usual)
		}
		f.wait(t, 120*time.Second)
		c.start(n)
		await(t, 60*time.Second, "all nodes to be ready", c.allReady)
	}
	c.stopped("totals")
	sameTotals(t, lastBatch(t, totals), oracle(sent))
}

// ran is what the command batches shows of one.
type ran struct {
	Time       int64 `json:"time_ms"`
	State      string
	Processing int64 `json:"processing_ms"`
	Total      int64 `json:"total_delay_ms"`
}

func (c *cluster) ran(name string, last int) (done []ran) {
	var r struct{ Batches []ran }
	if !c.read(&r, "batches", name, "--last", fmt.Sprint(last)) {
		return nil
	}
	return slices.DeleteFunc(r.Batches, func(b ran) bool { return b.State != "completed" })
}

// usual gives the median processing time of the next count batches.
func (c *cluster) usual(t *testing.T, name string, count int) int64 {
	t.Helper()
	since := time.Now().UnixMilli()
	var times []int64
	await(t, 120*time.Second, fmt.Sprintf("%d batches of %s", count, name), func() bool {
		times = nil
		for _, b := range c.ran(name, 50) {
			if b.Time > since {
				times = append(times, max(b.Processing, 1))
			}
		}
		return len(times) >= count
	})
	slices.Sort(times)
	return times[len(times)/2]
}

// firstAfter waits for the first batch that was completed after a moment.
func (c *cluster) firstAfter(t *testing.T, name string, after int64) (first ran) {
	t.Helper()
	await(t, 120*time.Second, "a batch of "+name+" after the fault", func() bool {
		for _, b := range c.ran(name, 50) {
			if b.Time+b.Total > after {
				first = b
				return true
			}
		}
		return false
	})
	return first
}
