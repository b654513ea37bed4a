package zoo

import (
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/suite"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// schedules are runs of real processes that show planted bugs: short ones, whose faults are those that matter. Power is
// cut, and processes are killed, on all nodes at once: what was acknowledged must be there afterwards.
var schedules = map[string]struct {
	layer    int
	workload string
	events   []schedule.Event
}{
	"kill-all": {suite.Loopback, "append-set", []schedule.Event{
		{ID: 1, AtMS: 4000, ForMS: 1000, Kind: schedule.Kill, Targets: []string{"n1", "n2", "n3"}},
		{ID: 2, AtMS: 9000, ForMS: 1000, Kind: schedule.Kill, Targets: []string{"n1", "n2", "n3"}},
	}},
	"powercut-all": {suite.Namespaces, "append-set", []schedule.Event{
		{ID: 1, AtMS: 4000, ForMS: 1000, Kind: schedule.PowerCut, Targets: []string{"n1", "n2", "n3"}},
		{ID: 2, AtMS: 9000, ForMS: 1000, Kind: schedule.PowerCut, Targets: []string{"n1", "n2", "n3"}},
	}},
	"failed-sync": {suite.Namespaces, "append-set", []schedule.Event{
		{ID: 1, AtMS: 3000, ForMS: 2000, Kind: schedule.SyncError, Targets: []string{"receiver"}, File: "wal"},
	}},
}

var named = flag.String("schedule", "", "the schedule that TestRunIsGreen runs")

// TestRunIsGreen runs one of the schedules. The node is built here: with a bug where one is laid over builds.
func TestRunIsGreen(t *testing.T) {
	s, ok := schedules[*named]
	if !ok {
		t.Skip("no -schedule is given: bugs of layers 2 and 3 name theirs")
	}
	if s.layer > suite.HighestLayer() {
		t.Skipf("layer %d does not work here", s.layer)
	}
	dir := t.TempDir()
	// Not by the suite, which lays a clock over the build: there is one overlay only, and it is the bug's.
	node := suite.Node{Path: filepath.Join(dir, "node"), Failpoints: true}
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoints", "-o", node.Path, "../node")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the node: %v\n%s", err, out)
	}
	specs, err := workload.Named(s.workload)
	if err != nil {
		t.Fatal(err)
	}
	const length = 14 * time.Second
	o := suite.Options{
		Layer: s.layer, Dir: filepath.Join(dir, "run"), Node: node, Say: t.Logf,
		Schedule: &schedule.Schedule{Nodes: 3, Rate: 500, TimeMS: length.Milliseconds(), Events: s.events},
	}
	for _, spec := range specs {
		o.Workloads = append(o.Workloads, spec.New())
		o.Schedule.Workloads = append(o.Schedule.Workloads, spec.Name)
	}
	v, err := suite.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if v.Outcome != suite.Green {
		t.Errorf("the run is %s: %s\n%s", v.Outcome, v.Line(), strings.Join(v.Reasons, "\n"))
	}
}
