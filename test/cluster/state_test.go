package cluster

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stateLines is how many lines the tests of whole clusters with keyed state send.
const stateLines = 200_000

// submitCount submits wordcount with its batches written below the cluster's directory.
func (c *cluster) submitCount(name, batch string, params ...string) (prefix string) {
	c.t.Helper()
	prefix = filepath.Join(c.dir, "out", name)
	args := []string{"submit", "wordcount", "--name", name, "--batch", batch, "--param", "out=" + prefix}
	for _, p := range params {
		args = append(args, "--param", p)
	}
	c.must(args...)
	return prefix
}

// stopped stops an application in order and waits for its end.
func (c *cluster) stopped(name string) app {
	c.t.Helper()
	c.must("--timeout", "110s", "stop", name)
	await(c.t, 120*time.Second, name+" to be stopped", func() bool { return c.app(name).State == "stopped" })
	return c.app(name)
}

// lastBatch reads the newest complete batch directory of a prefix: what an application of running totals ended with.
func lastBatch(t *testing.T, prefix string) map[string]int64 {
	t.Helper()
	dirs, err := filepath.Glob(prefix + "-*")
	if err != nil {
		t.Fatal(err)
	}
	var newest string
	var at int64
	for _, dir := range dirs {
		ms, err := strconv.ParseInt(strings.TrimPrefix(dir, prefix+"-"), 10, 64)
		if err != nil {
			t.Fatalf("batch directory %s: %v", dir, err)
		}
		if ms > at {
			newest, at = dir, ms
		}
	}
	if newest == "" {
		t.Fatalf("no batch directory of %s", prefix)
	}
	return sumOf(t, newest)
}

// receiver is what the command receivers shows of one.
type receiver struct{ Source, State, Node string }

func (c *cluster) receivers(name string) []receiver {
	c.t.Helper()
	var r struct{ Receivers []receiver }
	await(c.t, 30*time.Second, "an answer about the receivers of "+name, func() bool { return c.read(&r, "receivers", name) })
	return r.Receivers
}

// holder gives the node in a role for an application: "leader", "coordinator" or "receiver"; nil while there is none.
func (c *cluster) holder(role, name string) *node {
	c.t.Helper()
	var at string
	switch role {
	case "leader":
		return c.leader()
	case "coordinator":
		at = c.app(name).Coordinator
	case "receiver":
		if r := c.receivers(name); len(r) == 1 && r[0].State == "active" {
			at = r[0].Node
		}
	}
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == at })
	if i < 0 || c.nodes[i].ended() {
		return nil
	}
	return c.nodes[i]
}

// killRole kills the node that has a role and starts it again after a moment.
func (c *cluster) killRole(random *rand.Rand, role, name string) {
	c.t.Helper()
	var victim *node
	await(c.t, 60*time.Second, "a "+role+" of "+name, func() bool {
		victim = c.holder(role, name)
		return victim != nil
	})
	if err := victim.proc.Kill(); err != nil {
		c.t.Fatal(err)
	}
	hold := time.Duration(random.IntN(1500)) * time.Millisecond
	c.t.Logf("killed %s, the %s of %s, for %v", victim.name, role, name, hold)
	pause(c.t, hold)
	c.start(victim)
}

// Leader, coordinator and receiver are killed in turn, five times each and more, while two applications get the same
// lines: one counts every batch, the other keeps running totals. The sum of the batches and the last totals are both
// exact.
func TestTotalsAreExactWhoeverIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for minutes; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 31))
	lines := text(t, stateLines)
	c := newCluster(t, 3)
	batches := c.submitCount("batches", "200ms", "source=ingest")
	totals := c.submitCount("totals", "1s", "source=ingest", "running=true")
	over := 60 * time.Second
	f, g := c.feed("batches", "p", lines, over), c.feed("totals", "p", lines, over)
	for range 5 {
		for _, role := range []string{"leader", "coordinator", "receiver"} {
			pause(t, time.Duration(500+random.IntN(2500))*time.Millisecond)
			c.killRole(random, role, "totals")
		}
	}
	f.wait(t, 180*time.Second)
	g.wait(t, 180*time.Second)
	want := oracle(lines)
	if a := c.stopped("totals"); a.Processed != int64(len(lines)) {
		t.Errorf("totals processed %d records, expected %d", a.Processed, len(lines))
	}
	sameTotals(t, lastBatch(t, totals), want)
	c.finish("batches", batches, lines)
}

// The same for files: they appear in a directory while nodes are killed.
func TestFilesAreCountedOnceWhoeverIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for minutes; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 32))
	lines := text(t, stateLines)
	c := newCluster(t, 3)
	dir := filepath.Join(c.dir, "in")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	batches := c.submitCount("batches", "200ms", "source=files:"+dir)
	totals := c.submitCount("totals", "1s", "source=files:"+dir, "running=true")
	written := make(chan error, 1)
	go func() { written <- writeFiles(dir, lines, 400, 45*time.Second) }()
	for range 5 {
		for _, role := range []string{"leader", "coordinator"} {
			pause(t, time.Duration(500+random.IntN(2500))*time.Millisecond)
			c.killRole(random, role, "totals")
		}
		pause(t, time.Duration(500+random.IntN(1500))*time.Millisecond)
		c.fault(random)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"batches", "totals"} {
		await(t, 120*time.Second, name+" to have read every line", func() bool { return c.app(name).Processed >= int64(len(lines)) })
	}
	want := oracle(lines)
	c.stopped("totals")
	c.stopped("batches")
	sameTotals(t, lastBatch(t, totals), want)
	sameTotals(t, total(t, batches), want)
	c.sameState()
}

// writeFiles writes lines as count files over a while: each under a hidden name first, then renamed.
func writeFiles(dir string, lines []string, count int, over time.Duration) error {
	tick := time.NewTicker(over / time.Duration(count))
	defer tick.Stop()
	for i := range count {
		part := lines[i*len(lines)/count : (i+1)*len(lines)/count]
		name := fmt.Sprintf("part-%05d.txt", i)
		hidden := filepath.Join(dir, "."+name)
		if err := os.WriteFile(hidden, []byte(strings.Join(part, "\n")+"\n"), 0o644); err != nil {
			return err
		}
		if err := os.Rename(hidden, filepath.Join(dir, name)); err != nil {
			return err
		}
		<-tick.C
	}
	return nil
}
