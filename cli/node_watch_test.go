package cli

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asNode is the environment variable that makes this test binary the node's binary, with more flags for start.
const asNode = "TEST_AS_NODE"

var failovers = flag.Int("failovers", 0, "TestFailoverTimes: kills of the leader, each with the election watch on and off")

// watchCluster is three nodes, each a process.
type watchCluster struct {
	*demoNodes
	t     *testing.T
	flags string
}

func newWatchCluster(t *testing.T, flags string) *watchCluster {
	t.Helper()
	nodes, err := newDemoNodes(t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	c := &watchCluster{demoNodes: nodes, t: t, flags: flags}
	t.Cleanup(func() {
		c.stopAll(context.Background())
		for _, n := range c.nodes {
			if t.Failed() {
				t.Logf("end of the log of %s:\n%s", n.name, tail(n.log))
			}
		}
	})
	for _, n := range c.nodes {
		c.restart(n)
	}
	c.awaitReady()
	return c
}

func (c *watchCluster) restart(n *demoNode) {
	c.t.Helper()
	c.t.Setenv(asNode, c.flags)
	if err := c.start(n); err != nil {
		c.t.Fatal(err)
	}
}

// await polls a condition of processes.
func (c *watchCluster) await(what string, ok func() bool) {
	c.t.Helper()
	end := time.NewTimer(time.Minute)
	defer end.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end.C:
			c.t.Fatalf("after a minute still not: %s", what)
		case <-tick.C:
		}
	}
}

// awaitReady waits until every node knows a leader and works under a session. What others hear of a node's start
// takes a moment more, and so does their connection to it.
func (c *watchCluster) awaitReady() {
	c.t.Helper()
	c.await("all nodes are ready", func() bool {
		for _, n := range c.nodes {
			r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/ready", n.http))
			if err != nil {
				return false
			}
			r.Body.Close()
			if r.StatusCode != http.StatusOK {
				return false
			}
		}
		return true
	})
	<-time.After(800 * time.Millisecond)
}

var leadingLine = regexp.MustCompile(`time=(\S+) level=INFO msg=leading .*term=(\d+)`)

// reign is a leadership as its leader logged it, after its first commit.
type reign struct {
	term uint64
	by   *demoNode
	at   time.Time
}

// reigns are all leaderships so far, in order of their terms.
func (c *watchCluster) reigns() (all []reign) {
	c.t.Helper()
	for _, n := range c.nodes {
		log, err := os.ReadFile(n.log)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, m := range leadingLine.FindAllStringSubmatch(string(log), -1) {
			at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", m[1])
			if err != nil {
				c.t.Fatal(err)
			}
			term, err := strconv.ParseUint(m[2], 10, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			all = append(all, reign{term, n, at})
		}
	}
	slices.SortFunc(all, func(a, b reign) int { return int(a.term) - int(b.term) })
	return all
}

// last is the newest leadership.
func (c *watchCluster) last() reign {
	c.t.Helper()
	all := c.reigns()
	if len(all) == 0 {
		c.t.Fatal("nobody has led yet")
	}
	return all[len(all)-1]
}

// next waits for a leadership after one.
func (c *watchCluster) next(after reign) (r reign) {
	c.t.Helper()
	c.await("another leader", func() bool {
		r = c.last()
		return r.term > after.term
	})
	return r
}

// stood counts how often nodes stood because the leader's process was over.
func (c *watchCluster) stood() (times int) {
	c.t.Helper()
	for _, n := range c.nodes {
		log, err := os.ReadFile(n.log)
		if err != nil {
			c.t.Fatal(err)
		}
		times += strings.Count(string(log), "the leader's process is over: standing for election")
	}
	return times
}

// killLeader kills the leader and gives how long it took until the next one's first commit, and how many terms.
func (c *watchCluster) killLeader() (took time.Duration, terms uint64) {
	c.t.Helper()
	old := c.last()
	began := time.Now()
	if err := old.by.kill(); err != nil {
		c.t.Fatal(err)
	}
	now := c.next(old)
	c.restart(old.by)
	c.awaitReady()
	return now.at.Sub(began), now.term - old.term
}

func (c *watchCluster) signal(n *demoNode, s os.Signal) {
	c.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

func TestKilledLeaderIsReplacedByEvidence(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newWatchCluster(t, "")
	for kill := range 3 {
		before := c.stood()
		took, terms := c.killLeader()
		t.Logf("kill %d: first commit after %v", kill+1, took)
		if terms != 1 || c.stood() != before+1 {
			t.Errorf("kill %d: %d terms, %d nodes stood by evidence, expected 1 and 1", kill+1, terms, c.stood()-before)
		}
	}
}

// A stopped process is silent, not dead: raft's timeouts decide. It comes back as a follower.
func TestStoppedLeaderIsReplacedByTimeouts(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newWatchCluster(t, "")
	old := c.last()
	c.signal(old.by, syscall.SIGSTOP)
	now := c.next(old)
	c.signal(old.by, syscall.SIGCONT)
	c.awaitReady()
	if times := c.stood(); times != 0 {
		t.Errorf("%d nodes stood by evidence of a process that lives", times)
	}
	if last := c.last(); last != now {
		t.Errorf("%s leads with term %d after the stopped one is back, expected %s with term %d", last.by.name, last.term, now.by.name, now.term)
	}
}

func TestWatchIsSwitchedOff(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newWatchCluster(t, "--election-watch=false")
	took, _ := c.killLeader()
	t.Logf("first commit after %v", took)
	if times := c.stood(); times != 0 {
		t.Errorf("%d nodes stood by evidence", times)
	}
}

// A leader that leaves hands over: nobody waits for a timeout, and nobody needs evidence.
func TestLeavingLeaderHandsOver(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newWatchCluster(t, "--election-watch=false")
	old := c.last()
	began := time.Now()
	c.signal(old.by, syscall.SIGTERM)
	now := c.next(old)
	t.Logf("first commit %v after the signal", now.at.Sub(began))
	<-old.by.exited
	if old.by.err != nil {
		t.Errorf("the leader ended with %v", old.by.err)
	}
	if now.term != old.term+1 {
		t.Errorf("%d terms passed, expected one", now.term-old.term)
	}
	log, err := os.ReadFile(old.by.log)
	if err != nil {
		t.Fatal(err)
	}
	if _, farewell, _ := strings.Cut(string(log), "leaving in order"); strings.Contains(farewell, "is not handed over") {
		t.Errorf("it did not hand over: %s", farewell)
	}
}

// TestFailoverTimes measures: go test ./cli -run TestFailoverTimes -v -timeout 30m -failovers 60
func TestFailoverTimes(t *testing.T) {
	if *failovers == 0 {
		t.Skip("a measurement; give -failovers")
	}
	clusters := map[string]*watchCluster{
		"watch on": newWatchCluster(t, ""), "watch off": newWatchCluster(t, "--election-watch=false"),
	}
	times := map[string][]time.Duration{}
	terms := map[string]uint64{}
	for range *failovers {
		for mode, c := range clusters { // in an order that chance decides
			took, more := c.killLeader()
			times[mode] = append(times[mode], took)
			terms[mode] += more
		}
	}
	for mode, all := range times {
		slices.Sort(all)
		at := func(percent int) time.Duration { return all[(len(all)*percent+99)/100-1] }
		t.Logf("%-9s n=%d p50 %v p90 %v max %v, %d terms", mode, len(all), at(50), at(90), at(100), terms[mode])
	}
}
