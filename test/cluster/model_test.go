package cluster

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream/streamtest"
	"github.com/raftstream/raftstream/test/cluster/model"
)

// modelRun is the application of package model on a cluster, while lines come in.
type modelRun struct {
	*cluster
	out    string
	batch  time.Duration
	params model.Params
	lines  []string
	feed   *feeder
}

// startModel starts three nodes and the application, and begins to send lines.
func startModel(t *testing.T, batch time.Duration, p model.Params, lines []string, over time.Duration) *modelRun {
	t.Helper()
	binary := buildModel(t)
	c := newCluster(t, 3, func(n *node) { n.binary = binary })
	p.Out = filepath.Join(c.dir, "out")
	args := []string{"submit", "model", "--name", "model", "--batch", batch.String(), "--param", "out=" + p.Out, "--param", fmt.Sprintf("window=%d", p.Window)}
	if p.Checkpoint > 0 {
		args = append(args, "--param", "checkpoint="+p.Checkpoint.String())
	}
	c.must(args...)
	return &modelRun{cluster: c, out: p.Out, batch: batch, params: p, lines: lines, feed: c.feed("model", "p1", lines, over)}
}

// finish waits until windows are empty and sessions have ended, stops the application and computes everything again.
func (r *modelRun) finish() {
	r.t.Helper()
	r.feed.wait(r.t, 180*time.Second)
	pause(r.t, time.Duration(r.params.Window+4)*r.batch)
	r.slowest()
	r.stopped("model")
	r.compare()
	r.sameState()
}

// slowest logs the batches that took longest.
func (r *modelRun) slowest() {
	all := r.ran("model", 1000)
	slices.SortFunc(all, func(a, b ran) int { return int(b.Processing - a.Processing) })
	for _, b := range all[:min(3, len(all))] {
		r.t.Logf("batch %d took %d ms, of %d batches", b.Time, b.Processing, len(all))
	}
}

// Every operator that looks back or keeps something runs while every node is killed in turn, three times each. The
// application also writes which lines each batch had: from these the test kit computes what every batch had to give.
func TestTheWholeModelGivesWhatTheTestKitGivesWhoeverIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 11))
	r := startModel(t, 200*time.Millisecond, model.Params{Window: 10}, text(t, 30_000), 30*time.Second)
	for range 3 {
		for _, i := range random.Perm(len(r.nodes)) {
			pause(t, time.Duration(500+random.IntN(2000))*time.Millisecond)
			n := r.nodes[i]
			if err := n.proc.Kill(); err != nil {
				t.Fatal(err)
			}
			hold := time.Duration(random.IntN(1500)) * time.Millisecond
			t.Logf("killed %s for %v", n.name, hold)
			pause(t, hold)
			r.start(n)
		}
	}
	r.finish()
}

// Nodes are killed, paused and stopped in order, up to three at a time, the coordinator and the leader among them, and the
// disk of one is wiped. Batches, windows and checkpoints differ from seed to seed.
func TestTheWholeModelGivesWhatTheTestKitGivesWhateverFails(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 12))
	batch := []time.Duration{200, 500, 1000}[random.IntN(3)] * time.Millisecond
	p := model.Params{Window: []int{4, 10, 30}[random.IntN(3)]}
	if random.IntN(3) > 0 {
		p.Checkpoint = batch * time.Duration(1+random.IntN(10))
	}
	t.Logf("batches of %v, %+v", batch, p)
	r := startModel(t, batch, p, text(t, 20_000), 30*time.Second)
	wipe := random.IntN(6)
	for i := range 6 {
		pause(t, time.Duration(200+random.IntN(2000))*time.Millisecond)
		switch roles := []string{"coordinator", "leader"}; {
		case i == wipe:
			r.wipe(r.nodes[random.IntN(len(r.nodes))])
		case random.IntN(3) == 0:
			r.killRole(random, roles[random.IntN(len(roles))], "model")
		default:
			r.fault(random)
		}
	}
	r.finish()
}

// wipe takes the disk of a node when nothing has its only copy there, and waits until it is a member again.
func (r *modelRun) wipe(n *node) {
	r.t.Helper()
	await(r.t, 60*time.Second, "all nodes to be ready", r.allReady)
	await(r.t, 60*time.Second, "copies of everything", func() bool { return r.copies("model") })
	if err := n.proc.Kill(); err != nil {
		r.t.Fatal(err)
	}
	if err := os.RemoveAll(n.dir); err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("%s: wiped %s", time.Now().UTC().Format("15:04:05.000"), n.name)
	r.start(n)
	await(r.t, 60*time.Second, n.name+" to be a voter, and three members in all", func() bool { return r.threeMembers(n) })
	await(r.t, 60*time.Second, "all nodes to be ready", r.allReady)
	await(r.t, 60*time.Second, "the copies of what "+n.name+" held", func() bool { return r.copies("model") })
}

// buildModel builds the node that has the application.
func buildModel(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	if b, err := exec.Command("go", append(args, "github.com/raftstream/raftstream/test/cluster/model/node")...).CombinedOutput(); err != nil {
		t.Fatalf("build the node: %v\n%s", err, b)
	}
	return path
}

// written is what an output wrote of a batch, line by line in order of partition.
type written struct {
	at    int64
	lines []string
}

// batchesOf reads all batches of an output, which must be complete and without gaps.
func batchesOf(t *testing.T, prefix string, every time.Duration) (all []written) {
	t.Helper()
	dirs, err := filepath.Glob(prefix + "-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		at, err := strconv.ParseInt(strings.TrimPrefix(dir, prefix+"-"), 10, 64)
		if err != nil {
			t.Fatalf("batch directory %s: %v", dir, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "_SUCCESS")); err != nil {
			t.Errorf("batch directory %s is not complete: %v", dir, err)
		}
		w := written{at: at}
		names, err := filepath.Glob(filepath.Join(dir, "part-*"))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(b)) {
				w.lines = append(w.lines, strings.TrimSuffix(line, "\n"))
			}
		}
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b written) int { return int(a.at - b.at) })
	for i := range max(0, len(all)-1) {
		if step := all[i+1].at - all[i].at; step != every.Milliseconds() {
			t.Errorf("%s: from batch %d to %d are %d ms, expected %v", prefix, all[i].at, all[i+1].at, step, every)
		}
	}
	return all
}

// compare computes again, with the test kit, what every batch had to write.
func (r *modelRun) compare() {
	r.t.Helper()
	in := batchesOf(r.t, filepath.Join(r.out, model.Lines), r.batch)
	var input [][]string
	var got []string
	for _, b := range in {
		input = append(input, append([]string{}, b.lines...))
		got = append(got, b.lines...)
	}
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(r.lines)); !slices.Equal(got, want) {
		r.t.Errorf("the batches had %d lines that are not the %d that were sent", len(got), len(want))
	}
	r.t.Logf("%d batches with %d lines", len(in), len(got))
	for _, o := range r.params.Outputs(r.batch) {
		r.compareOutput(o, input)
	}
}

func (r *modelRun) compareOutput(o model.Output, input [][]string) {
	t := r.t
	t.Helper()
	got := batchesOf(t, filepath.Join(r.out, o.Name), time.Duration(o.Every)*r.batch)
	want := streamtest.Run(t, input, o.Graph, streamtest.BatchInterval(r.batch), streamtest.Partitions(4))
	if len(got) != len(want) {
		t.Errorf("%s: %d batches were written, the test kit gives %d", o.Name, len(got), len(want))
		return
	}
	records, wrong := 0, 0
	for i, w := range got {
		slices.Sort(w.lines)
		slices.Sort(want[i])
		records += len(want[i])
		if slices.Equal(w.lines, want[i]) {
			continue
		}
		if wrong++; wrong <= 3 {
			t.Errorf("%s: batch %d (%d of %d) has %d records that are not the %d of the test kit", o.Name, w.at, i+1, len(got), len(w.lines), len(want[i]))
		}
	}
	if wrong > 0 || records == 0 {
		t.Errorf("%s: %d of %d batches differ, of %d records", o.Name, wrong, len(got), records)
	}
	t.Logf("%s: %d batches with %d records equal those of the test kit", o.Name, len(got)-wrong, records)
}
