package suite

import (
	"slices"
	"testing"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// What is replayed is the run that was: a schedule that is kept names what clients did.
func TestAScheduleThatIsGivenNamesTheWorkloadsOfItsRun(t *testing.T) {
	specs, err := workload.Named("append-set", "ledger")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Schedule: &schedule.Schedule{Nodes: 3, Rate: 1, TimeMS: 1000}}
	for _, s := range specs {
		o.Workloads = append(o.Workloads, s.New())
	}
	got, err := o.schedule(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"append-set", "ledger"}; !slices.Equal(got.Workloads, want) {
		t.Errorf("workloads %q, expected %q", got.Workloads, want)
	}
	if o.Schedule.Workloads != nil {
		t.Error("the schedule of the caller was changed")
	}
}

func TestFailpointsThatARunDoesNotComeToAreLeftOut(t *testing.T) {
	points := []string{"wal.synced", "snapshot.begun", "snapshot.restore", "checkpoint.piece", "block.copied"}
	specs, err := workload.Named("counter")
	if err != nil {
		t.Fatal(err)
	}
	keyed := []workload.Workload{specs[0].New()}
	for _, tt := range []struct {
		o    Options
		want []string
	}{
		{Options{Nodes: 3}, []string{"wal.synced", "block.copied"}},
		{Options{Nodes: 1}, []string{"wal.synced"}},
		{Options{Nodes: 3, Seed: 2}, []string{"wal.synced", "snapshot.begun", "block.copied"}},
		{Options{Nodes: 3, Workloads: keyed}, []string{"wal.synced", "checkpoint.piece", "block.copied"}},
	} {
		if got := tt.o.reached(points); !slices.Equal(got, tt.want) {
			t.Errorf("%d nodes, seed %d: %q, expected %q", tt.o.Nodes, tt.o.Seed, got, tt.want)
		}
	}
}
