package suite

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/clock"
	"github.com/raftstream/raftstream/chaos/disk"
	"github.com/raftstream/raftstream/chaos/limits"
	"github.com/raftstream/raftstream/chaos/link"
	"github.com/raftstream/raftstream/chaos/nemesis"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/cluster"
)

// site is what a run stands on: where its nodes live and what can be done to them.
type site struct {
	cluster   *cluster.Cluster
	injectors map[schedule.Kind]chaos.Injector
	leftOut   map[schedule.Kind]string // why a kind cannot be brought about here
	points    []string                 // failpoints that can be armed
	variables []func(node string) string
	closers   []func() error // of what was opened, in order

	network *link.Network
	volumes map[string]*disk.Volume
	faults  map[string]*disk.FaultFS
}

// Flags of nodes on small disks: what they leave free by default is more than there is.
const (
	volumeBytes = 400 << 20
	diskReserve = "48" // MiB
	raftReserve = "16"
)

// openSite makes networks, disks and clocks, and prepares the cluster on them. It starts no node. The site is there to be
// closed also where some step failed.
func openSite(o *Options, ended, left func(node string, status int)) (*site, error) {
	s := &site{
		injectors: make(map[schedule.Kind]chaos.Injector), leftOut: make(map[schedule.Kind]string),
		volumes: make(map[string]*disk.Volume), faults: make(map[string]*disk.FaultFS),
	}
	steps := []func() error{
		func() error { return s.openNetwork(o) },
		func() error { return s.openDisks(o) },
		func() error { return s.openClocks(o) },
		func() error { return s.openCluster(o, ended, left) },
		s.openLimits,
		func() error { return s.openFailpoints(o) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return s, err
		}
	}
	if o.Nodes == 1 {
		for _, k := range append(link.Kinds(), schedule.Transfer) {
			delete(s.injectors, k)
			s.leftOut[k] = "a cluster of one node has no links and nobody else who could lead"
		}
	}
	for _, k := range schedule.Kinds() {
		if s.injectors[k] == nil && s.leftOut[k] == "" {
			s.leftOut[k] = "nothing injects it"
		}
	}
	return s, nil
}

func (s *site) openNetwork(o *Options) (err error) {
	if o.Layer != Namespaces {
		s.leaveOut("links fail in layer 3 only, which takes root", link.Kinds()...)
		return nil
	}
	if s.network, err = link.Open(link.Config{Seed: o.Seed, Nodes: o.Nodes}); err != nil {
		return err
	}
	s.closers = append(s.closers, s.network.Close)
	for _, k := range link.Kinds() {
		s.injectors[k] = s.network
	}
	return nil
}

func (s *site) leaveOut(why string, kinds ...schedule.Kind) {
	for _, k := range kinds {
		s.leftOut[k] = why
	}
}

// Kinds of faults that need a volume, and those that need a file system that fails: one run has one of them.
var (
	onVolumes = []schedule.Kind{schedule.PowerCut}
	onFaultFS = []schedule.Kind{schedule.SyncError, schedule.TornWrite, schedule.SlowSync}
)

// openDisks gives every node a disk of its own. Of the two kinds of disks there is the one that the schedule needs, else the
// seed decides.
func (s *site) openDisks(o *Options) error {
	if o.Layer != Namespaces {
		s.leaveOut("disks fail in layer 3 only, which takes root", append(slices.Concat(onVolumes, onFaultFS), schedule.Full)...)
		return nil
	}
	volumes := o.Seed%2 == 0
	if o.Schedule != nil {
		needsVolumes := slices.ContainsFunc(o.Schedule.Events, func(e schedule.Event) bool { return slices.Contains(onVolumes, e.Kind) })
		needsFaultFS := slices.ContainsFunc(o.Schedule.Events, func(e schedule.Event) bool { return slices.Contains(onFaultFS, e.Kind) })
		if needsVolumes && needsFaultFS {
			return fmt.Errorf("the schedule has faults of kinds %v and of kinds %v: they need different disks, give it in two parts", onVolumes, onFaultFS)
		}
		volumes = needsVolumes || volumes && !needsFaultFS
	}
	for _, n := range cluster.Names(o.Nodes) {
		if err := s.openDisk(o, n, volumes); err != nil {
			return err
		}
	}
	if volumes {
		s.leaveOut("the disks of this run are volumes, which cannot: every other seed has file systems that fail", onFaultFS...)
	} else {
		s.leaveOut("the disks of this run are file systems that fail, which lose no power: every other seed has volumes", onVolumes...)
	}
	return nil
}

func (s *site) openDisk(o *Options, node string, volume bool) error {
	dir := filepath.Join(o.Dir, "data", node)
	if volume {
		v, err := disk.NewVolume(dir, volumeBytes)
		if err != nil {
			return err
		}
		s.volumes[node] = v
		s.closers = append(s.closers, v.Close)
		return nil
	}
	f, err := disk.NewFaultFS(filepath.Join(o.Dir, "disk", node), dir)
	if err != nil {
		return err
	}
	s.faults[node] = f
	s.closers = append(s.closers, f.Close)
	return nil
}

// dataDir is where a node's data is.
func (s *site) dataDir(o *Options, node string) string {
	if v := s.volumes[node]; v != nil {
		return filepath.Join(v.Dir(), "node")
	}
	return filepath.Join(o.Dir, "data", node, "node")
}

func (s *site) openCluster(o *Options, ended, left func(node string, status int)) (err error) {
	c := cluster.Options{
		Binary: o.Node.Path, Nodes: o.Nodes, Dir: o.Dir, Ended: ended, Left: left, Env: s.environ,
		Data: func(node string) string { return s.dataDir(o, node) },
	}
	if s.network != nil {
		c.Network = s.network
	}
	if len(s.volumes) > 0 {
		c.Flags = []string{"--disk-reserve", diskReserve, "--raft-disk-reserve", raftReserve}
	}
	c.Flags = append(c.Flags, o.raftFlags()...)
	if s.cluster, err = cluster.New(c); err != nil {
		return err
	}
	s.closers = append(s.closers, s.cluster.Close)
	maps.Copy(s.injectors, nemesis.ProcessInjectors(s.cluster))
	maps.Copy(s.injectors, nemesis.QuorumInjectors(s.cluster))
	d := disk.Config{
		Nodes: s.cluster, Seed: o.Seed, Refusals: func(node string) (int64, error) { return refusals(s.cluster.Logs()[node]) },
	}
	if len(s.volumes) > 0 {
		d.Volume = func(node string) *disk.Volume { return s.volumes[node] }
	}
	if len(s.faults) > 0 {
		d.Faults = func(node string) *disk.FaultFS { return s.faults[node] }
	}
	maps.Copy(s.injectors, disk.Injectors(d))
	return nil
}

// openClocks gives every node a wall clock that can be skewed.
func (s *site) openClocks(o *Options) error {
	if !o.Node.Clocks {
		s.leaveOut("this node has the usual clock; --node build has one that can be skewed", clock.Kinds()...)
		return nil
	}
	dir := filepath.Join(o.Dir, "clocks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("clocks: %w", err)
	}
	clocks := clock.NewInjector(func(node string) string { return filepath.Join(dir, node) })
	s.closers = append(s.closers, clocks.Close)
	variables := make(map[string]string)
	for _, n := range cluster.Names(o.Nodes) {
		v, err := clocks.Prepare(n)
		if err != nil {
			return err
		}
		variables[n] = v
	}
	s.variables = append(s.variables, func(node string) string { return variables[node] })
	for _, k := range clock.Kinds() {
		s.injectors[k] = clocks
	}
	return nil
}

// openLimits can keep memory and processor from nodes, where control groups work.
func (s *site) openLimits() error {
	for _, k := range limits.Kinds() {
		if err := limits.Available(k); err != nil {
			s.leaveOut(err.Error(), k)
		} else {
			s.injectors[k] = limits.New(s.cluster)
		}
	}
	return nil
}

// openFailpoints lets every node read the plan of its failpoints from a file.
func (s *site) openFailpoints(o *Options) error {
	if !o.Node.Failpoints {
		s.leaveOut("this node was built without failpoints; --node build has them", schedule.Exit)
		return nil
	}
	dir := filepath.Join(o.Dir, "failpoints")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("failpoints: %w", err)
	}
	plan := func(node string) string { return filepath.Join(dir, node) }
	for _, n := range cluster.Names(o.Nodes) {
		if err := os.WriteFile(plan(n), nil, 0o644); err != nil {
			return fmt.Errorf("failpoints: %w", err)
		}
	}
	s.variables = append(s.variables, func(node string) string { return "RAFTSTREAM_FAILPOINTS_FILE=" + plan(node) })
	s.injectors[schedule.Exit] = nemesis.ExitInjector(s.cluster, plan)
	s.points = points
	return nil
}

// points are the failpoints at which random schedules let processes end: those that a run of a minute comes to.
var points = []string{
	"ledger.propose", "ledger.proposed", "ledger.applied",
	"wal.written", "wal.synced", "block.stored", "block.copied", "block.report", "block.committed",
	"batch.allocated", "part.synced", "part.named", "output.success", "output.committed", "batch.report", "batch.committed",
}

func (s *site) environ(node string) []string {
	var env []string
	for _, v := range s.variables {
		env = append(env, v(node))
	}
	return env
}

// available are the kinds that can be brought about, in the order of schedule.Kinds.
func (s *site) available() []schedule.Kind {
	return slices.DeleteFunc(schedule.Kinds(), func(k schedule.Kind) bool { return s.injectors[k] == nil })
}

// lacks says why the schedule cannot be run here as it stands.
func (s *site) lacks(plan schedule.Schedule) error {
	for _, e := range plan.Events {
		if s.injectors[e.Kind] == nil {
			return fmt.Errorf("event %d is of kind %s: %s", e.ID, e.Kind, s.leftOut[e.Kind])
		}
	}
	return nil
}

// close undoes open, in reverse, whatever fails.
func (s *site) close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// HighestLayer is the highest layer that works here.
func HighestLayer() int {
	if unsupported(Namespaces) == nil {
		return Namespaces
	}
	return Loopback
}

// unsupported says why a layer does not work here.
func unsupported(layer int) error {
	if layer != Namespaces {
		return nil
	}
	if err := errors.Join(link.Available(), disk.VolumesAvailable(), disk.FaultFSAvailable()); err != nil {
		return fmt.Errorf("layer 3 does not work here: %w", err)
	}
	return nil
}
