package clock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

// strobes is how often a clock that goes to and fro changes in a second.
const strobes = 20

// Injector brings about faults of the kinds clock-jump, clock-drift and clock-strobe.
type Injector struct {
	path func(node string) string

	mu    sync.Mutex
	skews map[string]*Skew // by node
}

var _ chaos.Injector = (*Injector)(nil)

// NewInjector makes an injector for nodes that were built by Build and started with the file that path names for each of
// them. It is to be closed when no fault is in effect.
func NewInjector(path func(node string) string) *Injector {
	return &Injector{path: path, skews: map[string]*Skew{}}
}

// Kinds gives the kinds of faults that an Injector brings about.
func Kinds() []schedule.Kind {
	return []schedule.Kind{schedule.ClockJump, schedule.ClockDrift, schedule.ClockStrobe}
}

// Prepare makes the file of a node's clock, which must be there before the node starts, and gives the variable that
// belongs into its environment.
func (i *Injector) Prepare(node string) (variable string, err error) {
	if _, err := i.open(node); err != nil {
		return "", err
	}
	return Variable + "=" + i.path(node), nil
}

func (i *Injector) open(node string) (*Skew, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.skews[node]; s != nil {
		return s, nil
	}
	s, err := Open(i.path(node))
	if err != nil {
		return nil, fmt.Errorf("clock of %s: %w", node, err)
	}
	i.skews[node] = s
	return s, nil
}

// Inject implements chaos.Injector. A node that has not been given its clock is an error.
func (i *Injector) Inject(_ context.Context, e schedule.Event, targets []string) (chaos.Fault, error) {
	off := time.Duration(e.OffsetMS) * time.Millisecond
	var move func(*Skew) *Motion
	switch e.Kind {
	case schedule.ClockJump:
		move = func(s *Skew) *Motion { return s.Jump(off) }
	case schedule.ClockDrift:
		move = func(s *Skew) *Motion { return s.Drift(off, time.Duration(e.ForMS)*time.Millisecond) }
	case schedule.ClockStrobe:
		move = func(s *Skew) *Motion { return s.Strobe(off, strobes) }
	default:
		return nil, fmt.Errorf("fault of kind %s is none of a clock", e.Kind)
	}
	skews := make([]*Skew, len(targets))
	for k, node := range targets {
		s, err := i.open(node)
		if err != nil {
			return nil, err
		}
		if s.Mapped() == 0 {
			return nil, fmt.Errorf("clock of %s: no process has mapped %s: built without it, or not started with %s", node, i.path(node), Variable)
		}
		skews[k] = s
	}
	f := &fault{}
	for _, s := range skews {
		f.parts = append(f.parts, part{skew: s, reads: s.Reads(), motion: move(s)})
	}
	return f, nil
}

// Close gives the files back, with clocks that are right.
func (i *Injector) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for _, s := range i.skews {
		errs = append(errs, s.Close())
	}
	clear(i.skews)
	return errors.Join(errs...)
}

type fault struct{ parts []part }

type part struct {
	skew   *Skew
	reads  int64 // before the fault
	motion *Motion
}

// Heal implements chaos.Fault. Where faults of one clock overlap, a reading counts for each of them.
func (f *fault) Heal(context.Context) (chaos.Proof, error) {
	p := chaos.Proof{What: "readings of a clock that was off"}
	for _, x := range f.parts {
		p.Bites += x.skew.Reads() - x.reads
		x.motion.End()
	}
	return p, nil
}
