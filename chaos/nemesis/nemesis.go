// Package nemesis runs schedules of faults against a cluster: it waits for each event's time, finds out which nodes have
// the role that the event names, has the fault injected and healed, and notes what took effect. It promises that every
// fault that was begun is healed when Run returns, whatever failed, and that a fault that could not be brought about is
// told, never left out in silence. It must not know what the cluster does, nor how faults are made.
package nemesis

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

// Times of one event.
const (
	defaultPatience = 2 * time.Second
	retryEvery      = 50 * time.Millisecond // to look for a node that can be hit
	againAfter      = time.Second           // after an injection that failed
	healTime        = 90 * time.Second      // of one fault: a node that catches up from nothing needs a while
)

// Nodes is the cluster as the nemesis sees it.
type Nodes interface {
	Names() []string
	// Up reports whether the node's process runs and is not paused.
	Up(name string) bool
	// Holders gives the nodes that have a role now: leader, coordinator or receiver.
	Holders(ctx context.Context, role string) ([]string, error)
	// Safe says why no node may lose what it has on disk now: others must hold all of it.
	Safe(ctx context.Context) error
}

// Phase is a step in the life of a fault.
type Phase string

// Phases, in order. A fault that is not in effect after all ends with Missed instead of Took.
const (
	Begin  Phase = "begin"
	Took   Phase = "took"
	Missed Phase = "missed"
	Heal   Phase = "heal"
	Healed Phase = "healed"
	Broken Phase = "broken" // it could not be healed, or not wholly
)

// Step is what a journal is told, as it happens.
type Step struct {
	Phase   Phase
	Event   schedule.Event
	Targets []string
	Proof   chaos.Proof // of Healed
	Err     error       // of Missed and Broken
}

// Options say what a run has to work with.
type Options struct {
	Nodes     Nodes
	Injectors map[schedule.Kind]chaos.Injector
	Journal   func(Step) // may be called from several goroutines at a time; nil: nobody is told
	// Patience is how long an event waits for a node of its role that can be hit. 0: 2 s.
	Patience time.Duration
}

// Outcome is what became of one event.
type Outcome struct {
	Event   schedule.Event `json:"event"`
	Targets []string       `json:"targets,omitempty"`
	// Injected: the fault was in effect, and its proof has bites.
	Injected bool        `json:"injected"`
	Proof    chaos.Proof `json:"proof"`
	Reason   string      `json:"reason,omitempty"` // why not
	Broken   string      `json:"broken,omitempty"` // what could not be healed
}

// Nemesis is one run of a schedule.
type Nemesis struct {
	o Options

	mu      sync.Mutex
	held    map[hold]schedule.Event
	damaged map[string]bool
}

// hold is what a fault has for itself: two faults of one class on one node would undo each other.
type hold struct {
	class class
	node  string // empty: the whole cluster
}

type class string

const (
	process class = "process" // whether the node runs, and what its disk does
	wall    class = "clock"
	cpu     class = "cpu"
	damage  class = "damage" // data that was safe is lost: one node at a time
	none    class = ""
)

func classOf(k schedule.Kind) class {
	switch k {
	case schedule.Cut, schedule.Delay, schedule.Loss, schedule.Duplicate, schedule.Reorder, schedule.Rate, schedule.Reset, schedule.Transfer:
		return none
	case schedule.ClockJump, schedule.ClockDrift, schedule.ClockStrobe:
		return wall
	case schedule.CPU:
		return cpu
	}
	return process
}

// Damages reports whether faults of a kind make a node lose data that it had synced.
func Damages(k schedule.Kind) bool {
	return k == schedule.BitFlip || k == schedule.Truncate || k == schedule.Wipe
}

// New prepares a run.
func New(o Options) *Nemesis {
	o.Patience = cmp.Or(o.Patience, defaultPatience)
	if o.Journal == nil {
		o.Journal = func(Step) {}
	}
	return &Nemesis{o: o, held: make(map[hold]schedule.Event), damaged: make(map[string]bool)}
}

// MayEnd reports whether a fault is in effect under which the node may, or must, end by itself: one of its disk.
func (n *Nemesis) MayEnd(node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch n.held[hold{process, node}].Kind {
	case schedule.PowerCut, schedule.SyncError, schedule.TornWrite, schedule.SlowSync, schedule.Full, schedule.BitFlip, schedule.Truncate:
		return true
	}
	return false
}

// Starved reports whether a fault is in effect that keeps the node from doing things in time.
func (n *Nemesis) Starved(node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.held[hold{cpu, node}]
	return ok
}

// Damaged reports whether a fault has damaged files of the node, which has them yet. It may come to them late, and refuse
// them then. A wiped disk holds nothing to refuse.
func (n *Nemesis) Damaged(node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.damaged[node]
}

// Replaced says that the node has a new disk: nothing on it is damaged.
func (n *Nemesis) Replaced(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.damaged, node)
}

// Run runs the schedule and returns when every event is over and every fault is healed: at the end of the last one, or
// soon after ctx ends. Outcomes are in the order of the schedule's events.
func (n *Nemesis) Run(ctx context.Context, s schedule.Schedule) []Outcome {
	began := time.Now()
	out := make([]Outcome, len(s.Events))
	var all sync.WaitGroup
	for i, e := range s.Events {
		all.Go(func() {
			if err := wait(ctx, time.Until(began.Add(time.Duration(e.AtMS)*time.Millisecond))); err != nil {
				out[i] = n.missed(e, nil, fmt.Errorf("the run ended before its time: %w", err))
				return
			}
			out[i] = n.run(ctx, e)
		})
	}
	all.Wait()
	return out
}

// run brings one event about, holds it and heals it.
func (n *Nemesis) run(ctx context.Context, e schedule.Event) Outcome {
	injector := n.o.Injectors[e.Kind]
	if injector == nil {
		return n.missed(e, nil, fmt.Errorf("nothing here injects faults of kind %s", e.Kind))
	}
	planned := e
	until, cancel := context.WithTimeout(ctx, n.o.Patience)
	defer cancel()
	tried := make(map[string]bool)
	for {
		targets, err := n.claim(until, e, tried)
		if err == nil {
			e.Peers, err = n.peers(ctx, planned, targets)
		}
		if err != nil {
			n.release(e)
			return n.missed(e, targets, err)
		}
		n.o.Journal(Step{Phase: Begin, Event: e, Targets: targets})
		fault, err := injector.Inject(ctx, e, targets)
		if err == nil {
			if h, ok := fault.(interface{ Hit() []string }); ok {
				targets = h.Hit() // it decides itself
			}
			n.o.Journal(Step{Phase: Took, Event: e, Targets: targets})
			_ = wait(ctx, time.Duration(e.ForMS)*time.Millisecond) // a run that ends heals early
			return n.heal(ctx, e, targets, fault)
		}
		n.release(e)
		out := n.missed(e, targets, err)
		if wait(until, againAfter) != nil {
			return out
		}
		for _, t := range targets {
			tried[t] = true // another one first, where the role has others
		}
	}
}

// heal ends a fault also when the run has ended.
func (n *Nemesis) heal(ctx context.Context, e schedule.Event, targets []string, fault chaos.Fault) Outcome {
	defer n.release(e)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healTime)
	defer cancel()
	n.o.Journal(Step{Phase: Heal, Event: e, Targets: targets})
	proof, err := fault.Heal(ctx)
	if e.Kind == schedule.Wipe || proof.Replaced == int64(len(targets)) {
		for _, t := range targets {
			n.Replaced(t)
		}
	}
	out := Outcome{Event: e, Targets: targets, Proof: proof, Injected: proof.Bites > 0}
	if !out.Injected {
		out.Reason = "it took no effect: 0 " + proof.What
	}
	if err != nil {
		out.Broken = err.Error()
		n.o.Journal(Step{Phase: Broken, Event: e, Targets: targets, Proof: proof, Err: err})
		return out
	}
	n.o.Journal(Step{Phase: Healed, Event: e, Targets: targets, Proof: proof})
	return out
}

func (n *Nemesis) missed(e schedule.Event, targets []string, err error) Outcome {
	n.o.Journal(Step{Phase: Missed, Event: e, Targets: targets, Err: err})
	return Outcome{Event: e, Targets: targets, Reason: err.Error()}
}

// claim waits until nodes of the event's roles can be hit, and holds them for it.
func (n *Nemesis) claim(ctx context.Context, e schedule.Event, tried map[string]bool) ([]string, error) {
	for {
		targets, err := n.resolve(ctx, e, tried)
		if err == nil {
			if err = n.tryHold(e, targets); err == nil {
				return targets, nil
			}
		}
		if wait(ctx, retryEvery) != nil {
			return targets, err
		}
		clear(tried) // there was no other one
	}
}

func (n *Nemesis) tryHold(e schedule.Event, targets []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	claims := claims(e, targets)
	for _, h := range claims {
		if by, taken := n.held[h]; taken {
			return fmt.Errorf("%s of node %q is taken by event %d", h.class, h.node, by.ID)
		}
	}
	for _, h := range claims {
		n.held[h] = e
		if h.node != "" && (e.Kind == schedule.BitFlip || e.Kind == schedule.Truncate) {
			n.damaged[h.node] = true
		}
	}
	return nil
}

func claims(e schedule.Event, targets []string) []hold {
	var all []hold
	c := classOf(e.Kind)
	if c == none {
		return nil
	}
	for _, t := range targets {
		all = append(all, hold{c, t})
	}
	if Damages(e.Kind) {
		all = append(all, hold{class: damage})
	}
	return all
}

func (n *Nemesis) release(e schedule.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for h, by := range n.held {
		if by.ID == e.ID {
			delete(n.held, h)
		}
	}
}

// free reports whether the event could have the node.
func (n *Nemesis) free(e schedule.Event, node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, taken := n.held[hold{classOf(e.Kind), node}]
	return !taken && n.o.Nodes.Up(node)
}

// wait waits for d or the end of ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
