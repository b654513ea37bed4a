package cluster

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// shape is how a cluster and its applications look in one run, drawn from the seed: so repeated runs get around.
type shape struct {
	size       int
	apart      bool // drivers and executors are nodes of their own
	batch      time.Duration
	checkpoint time.Duration
	words      int // few: checkpoints are images; many: mostly changes
}

func drawShape(random *rand.Rand) shape {
	s := shape{size: 3, batch: []time.Duration{50, 100, 200, 500, 1000}[random.IntN(5)] * time.Millisecond}
	if random.IntN(2) == 0 {
		s.size, s.apart = 5, random.IntN(2) == 0
	}
	s.checkpoint = s.batch * time.Duration(1+random.IntN(20))
	s.words = []int{500, 20_000}[random.IntN(2)]
	return s
}

// sentences gives lines of so many distinct words, so that totals are cheap to write and every word counts often.
func sentences(random *rand.Rand, count, distinct int) []string {
	lines := make([]string, count)
	for i := range lines {
		words := make([]string, 1+random.IntN(8))
		for k := range words {
			words[k] = fmt.Sprintf("w%d", random.IntN(distinct))
		}
		lines[i] = strings.Join(words, " ")
	}
	return lines
}

// Nodes of any role are killed, paused and stopped in order at random, also two and three at a time, under running
// totals of two kinds of source and a count without state. With all of their disks left, every number is exact. Cluster,
// batches and checkpoints differ from seed to seed; make soak runs many.
func TestRunningTotalsAreExactWhateverNodeFails(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 36))
	s := drawShape(random)
	t.Logf("%+v", s)
	lines := sentences(random, 40_000, s.words)
	change := []func(*node){func(n *node) { n.flags = []string{"--slots", "2"} }} // many small batches, so few parts of each
	if s.apart {
		change = append(change, apart)
	}
	c := newCluster(t, s.size, change...)
	in := filepath.Join(c.dir, "in")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	running := []string{"running=true", "checkpoint=" + s.checkpoint.String()}
	batches := c.submitCount("batches", s.batch.String(), "source=ingest")
	totals := c.submitCount("totals", s.batch.String(), slices.Concat(running, []string{"source=ingest"})...)
	files := c.submitCount("files", s.batch.String(), slices.Concat(running, []string{"source=files:" + in})...)
	const over = 25 * time.Second
	f, g := c.feed("batches", "p", lines, over), c.feed("totals", "p", lines, over)
	written := make(chan error, 1)
	go func() { written <- writeFiles(in, lines, 200, over) }()
	for range 10 {
		pause(t, time.Duration(200+random.IntN(2500))*time.Millisecond)
		c.fault(random)
	}
	f.wait(t, 180*time.Second)
	g.wait(t, 180*time.Second)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	await(t, 120*time.Second, "files to have read every line", func() bool { return c.app("files").Processed >= int64(len(lines)) })
	want := oracle(lines)
	for _, name := range []string{"batches", "totals", "files"} {
		if a := c.stopped(name); a.Processed != int64(len(lines)) {
			t.Errorf("%s processed %d records, expected %d", name, a.Processed, len(lines))
		}
	}
	sameTotals(t, total(t, batches), want)
	sameTotals(t, lastBatch(t, totals), want)
	sameTotals(t, lastBatch(t, files), want)
	c.sameState()
}
