package suite

import (
	"slices"
	"testing"
	"time"

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

// Of sixteen seeds in a row eight write snapshots, and two of these, one for each kind of disk, remove what those hold.
func TestSomeRunsRemoveWhatTheirSnapshotsHold(t *testing.T) {
	writes, trims := map[bool]int{}, map[bool]int{} // by disk
	for seed := range uint64(16) {
		o := Options{Seed: 160 + seed, Nodes: 3, Rate: 1, Time: time.Minute}
		flags := o.raftFlags()
		if slices.Contains(flags, "--raft-snapshot-entries") {
			writes[seed%2 == 0]++
		}
		if kept := flags[slices.Index(flags, "--raft-trailing-entries")+1]; len(kept) < 5 {
			trims[seed%2 == 0]++
			drawn, err := o.schedule([]schedule.Kind{schedule.Kill}, nil)
			if o.WholeLogs = true; err != nil || !drawn.Trim || o.trims() {
				t.Errorf("seed %d: %+v, %v, trimmed although logs are to be whole: %t", o.Seed, drawn, err, o.trims())
			}
			if again := (Options{Seed: o.Seed, Schedule: &drawn}); !again.trims() {
				t.Errorf("seed %d: its schedule does not trim", o.Seed)
			}
			if given := (Options{Seed: o.Seed, Schedule: &schedule.Schedule{}}); given.trims() {
				t.Errorf("seed %d: a schedule that says nothing of it trims", o.Seed)
			}
		}
	}
	if writes[true] != 4 || writes[false] != 4 || trims[true] != 1 || trims[false] != 1 {
		t.Errorf("snapshots %v, trimmed %v, expected 4 and 1 for each kind of disk", writes, trims)
	}
}
