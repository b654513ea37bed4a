package suite

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/nemesis"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/cluster"
)

// site is what a run stands on: where its nodes live and what can be done to them.
type site struct {
	cluster   *cluster.Cluster
	injectors map[schedule.Kind]chaos.Injector
	leftOut   map[schedule.Kind]string // why a kind cannot be brought about here
	points    []string
	env       func(node string) []string
	closers   []func() error // of what was opened, in order
}

// openSite makes networks, disks and clocks, and prepares the cluster on them. It starts no node.
func openSite(o *Options, ended func(node string, status int)) (*site, error) {
	s := &site{injectors: make(map[schedule.Kind]chaos.Injector), leftOut: make(map[schedule.Kind]string)}
	if err := s.open(o, ended); err != nil {
		return nil, errors.Join(err, s.close())
	}
	for _, k := range schedule.Kinds() {
		if s.injectors[k] == nil && s.leftOut[k] == "" {
			s.leftOut[k] = "nothing injects it yet"
		}
	}
	return s, nil
}

func (s *site) open(o *Options, ended func(node string, status int)) (err error) {
	c := cluster.Options{Binary: o.Node.Path, Nodes: o.Nodes, Dir: o.Dir, Ended: ended, Env: s.environ}
	if s.cluster, err = cluster.New(c); err != nil {
		return err
	}
	s.closers = append(s.closers, s.cluster.Close)
	maps.Copy(s.injectors, nemesis.ProcessInjectors(s.cluster))
	return nil
}

func (s *site) environ(node string) []string {
	if s.env == nil {
		return nil
	}
	return s.env(node)
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
	if layer == Namespaces {
		return errors.New("network namespaces and disks are not wired in yet")
	}
	return nil
}

// Node is the binary that nodes run.
type Node struct {
	Path       string
	Failpoints bool // it was built with them
	Clocks     bool // its wall clock can be skewed
}

// Stock is a binary as it is delivered: nothing in it can be armed.
func Stock(path string) Node { return Node{Path: path} }
