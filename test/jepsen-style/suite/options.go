// Package suite owns runs: one is a cluster, workloads on it, a nemesis against it, the checks of what it left, and a
// verdict; many runs draw their schedules from seeds. It promises that a verdict is green only if everything that was
// planned happened and everything that must hold was checked; it must not know how faults are made or what workloads do.
package suite

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// Layers of a run. The third one needs root: what it has more, the second one leaves out, loudly.
const (
	Loopback   = 2 // real processes on loopback: faults of processes, of wall clocks, and at failpoints
	Namespaces = 3 // the same in network namespaces and on disks of their own
)

// Defaults of a run.
const (
	DefaultNodes = 3
	DefaultRate  = 500
	DefaultTime  = 45 * time.Second
)

// Options say what a run is made of.
type Options struct {
	Nodes int
	// Layer is Loopback or Namespaces. 0: the highest that works here.
	Layer     int
	Workloads []workload.Workload
	// Schedule is what goes wrong. nil: it is drawn from Seed, of those of Kinds that can be brought about here (nil: all).
	Schedule *schedule.Schedule
	Seed     uint64
	Kinds    []schedule.Kind
	// Every is the mean time between faults of a schedule that is drawn. 0: as Random has it.
	Every time.Duration
	Time  time.Duration
	// WholeLogs lets drivers keep all of the ledger's log also in a run whose seed would have them remove what snapshots hold.
	WholeLogs bool
	Rate      int // records a second of all workloads together
	// Dir is the run's folder, which must be new or empty.
	Dir  string
	Node Node
	// Replay is the command that repeats the run, for repeat.sh.
	Replay []string
	// Say tells people how the run goes on. nil: nobody.
	Say func(format string, args ...any)
}

func (o *Options) settle() error {
	o.Nodes = cmp.Or(o.Nodes, DefaultNodes)
	o.Time = cmp.Or(o.Time, DefaultTime)
	o.Rate = cmp.Or(o.Rate, DefaultRate)
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	if o.Layer == 0 {
		o.Layer = HighestLayer()
	}
	switch {
	case o.Layer != Loopback && o.Layer != Namespaces:
		return fmt.Errorf("layer is %d, expected %d or %d", o.Layer, Loopback, Namespaces)
	case len(o.Workloads) == 0:
		return errors.New("no workload is given")
	case o.Node.Path == "":
		return errors.New("no binary of a node is given")
	case o.Dir == "":
		return errors.New("no folder is given")
	}
	if err := unsupported(o.Layer); err != nil {
		return err
	}
	if s := o.Schedule; s != nil {
		if err := s.Check(); err != nil {
			return err
		}
		o.Nodes, o.Seed, o.Time, o.Rate = s.Nodes, s.Seed, time.Duration(s.TimeMS)*time.Millisecond, s.Rate
	}
	return o.folder()
}

// folder makes the run's folder. It must be empty: files of another run would be judged with it.
func (o *Options) folder() error {
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return fmt.Errorf("folder of the run: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("folder of the run: %w", err)
	}
	there, err := os.ReadDir(o.Dir)
	if err != nil {
		return fmt.Errorf("folder of the run: %w", err)
	}
	if len(there) > 0 {
		return fmt.Errorf("folder %s of the run is not empty", o.Dir)
	}
	return nil
}

// names of workloads, in order.
func names(all []workload.Workload) []string {
	var out []string
	for _, w := range all {
		out = append(out, w.Name())
	}
	return out
}

// schedule gives the concrete schedule of the run: the given one, or one of the kinds that can be brought about.
func (o *Options) schedule(available []schedule.Kind, points []string) (schedule.Schedule, error) {
	if o.Schedule != nil {
		s := *o.Schedule
		s.Workloads = names(o.Workloads) // a plan in text may name none
		return s, nil
	}
	if o.Kinds != nil {
		available = slices.DeleteFunc(slices.Clone(available), func(k schedule.Kind) bool { return !slices.Contains(o.Kinds, k) })
	}
	files := []string{"raft", "wal"}
	if o.snapshots() {
		files = append(files, "snapshots")
	}
	s, err := schedule.Random(o.Seed, schedule.Options{
		Files: files,
		Nodes: o.Nodes, Workloads: names(o.Workloads), Rate: o.Rate, Time: o.Time, Every: o.Every, Kinds: available, Points: o.reached(points),
	})
	s.Trim = o.trims()
	return s, err
}

// snapshots reports whether drivers write snapshots of the ledger all the time. Disks go by odd and even seeds already.
func (o *Options) snapshots() bool { return o.Seed/2%2 == 1 }

// trims reports whether drivers remove what their snapshots hold, so that who was away is sent one. Most runs keep whole logs,
// for oracles that read them.
func (o *Options) trims() bool {
	if o.Schedule != nil {
		return o.Schedule.Trim
	}
	return !o.WholeLogs && o.snapshots() && o.Seed/4%4 == 3
}

// raftFlags say how often drivers write snapshots and how much they keep behind them. A run has 100 to 300 entries a second:
// who is away for some seconds needs a snapshot, and there is time to send one.
func (o *Options) raftFlags() []string {
	switch {
	case o.trims():
		return []string{"--raft-snapshot-entries", "200", "--raft-snapshot-interval", "500ms", "--raft-trailing-entries", "300"}
	case o.snapshots():
		return []string{"--raft-snapshot-entries", "300", "--raft-snapshot-interval", "500ms", "--raft-trailing-entries", "10000000"}
	}
	return []string{"--raft-trailing-entries", "10000000"}
}

// reached leaves out failpoints that nodes of this run do not come to, or only by chance.
func (o *Options) reached(points []string) []string {
	keyed := slices.ContainsFunc(names(o.Workloads), func(w string) bool {
		return slices.Contains([]string{"counter", "map-counter", "window", "windows"}, w)
	})
	return slices.DeleteFunc(slices.Clone(points), func(p string) bool {
		switch what, _, _ := strings.Cut(p, "."); {
		case p == "snapshot.restore" || p == "ledger.opened" || p == "wal.segment":
			return true
		case what == "snapshot":
			return !o.snapshots()
		case what == "checkpoint" || what == "piece":
			return !keyed
		case p == "block.copied":
			return o.Nodes == 1
		}
		return false
	})
}
