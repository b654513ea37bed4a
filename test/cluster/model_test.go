package cluster

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
	"github.com/raftstream/raftstream/test/cluster/model"
)

// Two windows, sessions with timeouts and a join run while every node is killed in turn, three times each. The application
// also writes which lines each batch had: from these the test kit computes what every batch had to give.
func TestTheWholeModelGivesWhatTheTestKitGivesWhoeverIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 11))
	binary := buildModel(t)
	c := newCluster(t, 3, func(n *node) { n.binary = binary })
	out := filepath.Join(c.dir, "out")
	c.must("submit", "model", "--name", "model", "--batch", model.Batch.String(), "--param", "out="+out)
	lines := text(t, 60_000)
	f := c.feed("model", "p1", lines, 35*time.Second)
	for range 3 {
		for _, i := range random.Perm(len(c.nodes)) {
			pause(t, time.Duration(500+random.IntN(2000))*time.Millisecond)
			n := c.nodes[i]
			if err := n.proc.Kill(); err != nil {
				t.Fatal(err)
			}
			hold := time.Duration(random.IntN(1500)) * time.Millisecond
			t.Logf("killed %s for %v", n.name, hold)
			pause(t, hold)
			c.start(n)
		}
	}
	f.wait(t, 180*time.Second)
	pause(t, 2*model.Window) // so that windows empty and sessions end
	c.stopped("model")
	compareModel(t, out, lines)
	c.sameState()
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
	for i := range all[1:] {
		if step := all[i+1].at - all[i].at; step != every.Milliseconds() {
			t.Errorf("%s: from batch %d to %d are %d ms, expected %v", prefix, all[i].at, all[i+1].at, step, every)
		}
	}
	return all
}

// compareModel computes again, with the test kit, what every batch had to write.
func compareModel(t *testing.T, out string, lines []string) {
	t.Helper()
	in := batchesOf(t, out+"/lines", model.Batch)
	var input [][]string
	var got []string
	for _, b := range in {
		input = append(input, append([]string{}, b.lines...))
		got = append(got, b.lines...)
	}
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(lines)); !slices.Equal(got, want) {
		t.Errorf("the batches had %d lines that are not the %d that were sent", len(got), len(want))
	}
	t.Logf("%d batches with %d lines", len(in), len(got))
	compareOutput(t, out+"/counts", model.Slide, input, model.Counts)
	compareOutput(t, out+"/sessions", model.Batch, input, model.Sessions)
}

func compareOutput(t *testing.T, prefix string, every time.Duration, input [][]string, graph func(*dstream.DStream[string]) *dstream.DStream[string]) {
	t.Helper()
	got := batchesOf(t, prefix, every)
	want := streamtest.Run(t, input, graph, streamtest.BatchInterval(model.Batch), streamtest.Partitions(4))
	if len(got) != len(want) {
		t.Fatalf("%s: %d batches were written, the test kit gives %d", prefix, len(got), len(want))
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
			t.Errorf("%s: batch %d (%d of %d) has %d records that are not the %d of the test kit", prefix, w.at, i+1, len(got), len(w.lines), len(want[i]))
		}
	}
	if wrong > 0 || records == 0 {
		t.Errorf("%s: %d of %d batches differ, of %d records", prefix, wrong, len(got), records)
	}
	t.Logf("%s: %d batches with %d records equal those of the test kit", prefix, len(got), records)
}
