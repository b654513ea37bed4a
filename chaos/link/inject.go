package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

var kinds = []schedule.Kind{
	schedule.Cut, schedule.Delay, schedule.Loss, schedule.Duplicate, schedule.Reorder, schedule.Rate, schedule.Reset,
}

// Kinds gives the kinds of faults that a Network injects.
func Kinds() []schedule.Kind { return slices.Clone(kinds) }

// Fault is a fault of links that is in effect.
type Fault struct {
	network *Network
	rule    *rule

	mu     sync.Mutex
	healed bool
}

// Inject begins a fault of links: of the frames from the targets to the event's peers, and back if the event says both.
// Without peers they are all nodes that are no targets or, if every node is one, all other nodes; the Client is a peer only
// if it is named. A fault of one plane meets connections from the first byte that says their plane on: they can be opened.
// A fault of all planes meets everything, also the packets that look for addresses.
//
// A reset ends the TCP connections that are open, also those that send nothing, and those that are opened as long as the
// fault is in effect, when they send. Frames that are late already when a fault ends stay late.
func (n *Network) Inject(_ context.Context, e schedule.Event, targets []string) (chaos.Fault, error) {
	r, err := newRule(e)
	if err != nil {
		return nil, fmt.Errorf("fault %d of links: %w", e.ID, err)
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("fault %d of links: it has no target", e.ID)
	}
	for _, name := range slices.Concat(targets, e.Peers) {
		if _, err := n.place(name); err != nil {
			return nil, fmt.Errorf("fault %d of links: %w", e.ID, err)
		}
	}
	peers := e.Peers
	if len(peers) == 0 {
		peers = slices.DeleteFunc(n.Nodes(), func(name string) bool { return slices.Contains(targets, name) })
	}
	if len(peers) == 0 {
		peers = n.nodes
	}
	pairs := func(from, to string) bool {
		there := slices.Contains(targets, from) && slices.Contains(peers, to)
		back := e.Both && slices.Contains(peers, from) && slices.Contains(targets, to)
		return there || back
	}
	if n.wire.install(r, pairs) == 0 {
		return nil, fmt.Errorf("fault %d of links: there is no link from %v to %v", e.ID, targets, peers)
	}
	if r.kind == schedule.Reset {
		n.wire.resetSilent(r, pairs)
	}
	return &Fault{network: n, rule: r}, nil
}

// newRule checks what the event says.
func newRule(e schedule.Event) (*rule, error) {
	r := &rule{
		kind:   e.Kind,
		plane:  e.Plane,
		delay:  time.Duration(e.DelayMS) * time.Millisecond,
		jitter: time.Duration(e.JitterMS) * time.Millisecond,
		share:  e.Percent / 100,
	}
	if r.plane == "" {
		r.plane = schedule.AllPlanes
	}
	if !slices.Contains(kinds, e.Kind) {
		return nil, fmt.Errorf("kind %q, expected one of %v", e.Kind, kinds)
	}
	switch e.Kind {
	case schedule.Loss, schedule.Duplicate, schedule.Reorder:
		if !(r.share > 0 && r.share <= 1) {
			return nil, fmt.Errorf("%s of %v percent, expected more than 0 and at most 100", e.Kind, e.Percent)
		}
	case schedule.Rate:
		if e.Bytes <= 0 {
			return nil, fmt.Errorf("rate of %d bytes a second, expected more than 0", e.Bytes)
		}
		r.perByte = float64(time.Second) / float64(e.Bytes)
	}
	if e.Kind == schedule.Delay && (e.DelayMS < 0 || e.JitterMS < 0 || e.DelayMS+e.JitterMS == 0) {
		return nil, fmt.Errorf("delay of %d ms, give or take %d, expected one above 0 and none below", e.DelayMS, e.JitterMS)
	}
	if e.Kind == schedule.Reorder && e.DelayMS <= 0 {
		return nil, fmt.Errorf("reorder by %d ms, expected more than 0", e.DelayMS)
	}
	return r, nil
}

// errHealed says that a fault was ended before.
var errHealed = errors.New("the fault is healed already")

// Heal ends the fault and says what it did.
func (f *Fault) Heal(context.Context) (chaos.Proof, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.healed {
		return chaos.Proof{}, errHealed
	}
	f.healed = true
	f.network.wire.remove(f.rule)
	c := f.Counts()
	switch f.rule.kind {
	case schedule.Delay:
		return chaos.Proof{Bites: c.Delayed.Frames, What: "frames delayed"}, nil
	case schedule.Duplicate:
		return chaos.Proof{Bites: c.Duplicated.Frames, What: "frames duplicated"}, nil
	case schedule.Reorder:
		return chaos.Proof{Bites: c.Reordered.Frames, What: "frames sent late"}, nil
	case schedule.Rate:
		return chaos.Proof{Bites: c.Delayed.Frames + c.Dropped.Frames, What: "frames held back or dropped"}, nil
	case schedule.Reset:
		return chaos.Proof{Bites: c.Reset.Frames, What: "connections reset and frames answered by a reset"}, nil
	default:
		return chaos.Proof{Bites: c.Dropped.Frames, What: "frames dropped"}, nil
	}
}

// Counts is what a fault did to the frames that it met.
type Counts struct {
	Passed     Count // those that went on, whatever else was done to them
	Dropped    Count
	Delayed    Count
	Reordered  Count
	Duplicated Count
	Reset      Count // those that were answered by a reset to both ends, and silent connections that were reset
}

// Counts gives what the fault did until now.
func (f *Fault) Counts() Counts {
	r := f.rule
	return Counts{
		Passed: r.passed.count(), Dropped: r.dropped.count(), Delayed: r.delayed.count(),
		Reordered: r.reordered.count(), Duplicated: r.duplicated.count(), Reset: r.reset.count(),
	}
}
