package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is a cluster made up: faults take effect at once, unless it is told otherwise.
type town struct {
	mu     sync.Mutex
	names  []string
	lead   string // "" for none
	down   map[string]bool
	safe   error
	refuse map[string]error // of injections, by node
	blunt  bool             // faults do not bite
	stuck  error            // of heals
	steps  []string
	open   map[string]int // faults in effect, by node
	most   int            // at a time on one node
}

func newTown(nodes int) *town {
	t := &town{lead: "n1", down: map[string]bool{}, refuse: map[string]error{}, open: map[string]int{}}
	for i := range nodes {
		t.names = append(t.names, fmt.Sprintf("n%d", i+1))
	}
	return t
}

func (t *town) Names() []string { return t.names }

func (t *town) Up(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.down[name]
}

func (t *town) Holders(_ context.Context, role string) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.lead == "":
		return nil, errors.New("nobody answers")
	case role == Coordinator:
		return t.names[:2], nil
	}
	return []string{t.lead}, nil
}

func (t *town) Safe(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.safe
}

func (t *town) Inject(_ context.Context, e schedule.Event, targets []string) (chaos.Fault, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range targets {
		if err := t.refuse[n]; err != nil {
			return nil, err
		}
	}
	for _, n := range targets {
		t.open[n]++
		t.most = max(t.most, t.open[n])
	}
	return healing(func(context.Context) (chaos.Proof, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, n := range targets {
			t.open[n]--
		}
		proof := chaos.Proof{Bites: int64(len(targets)), What: "bites"}
		if t.blunt {
			proof.Bites = 0
		}
		return proof, t.stuck
	}), nil
}

// run runs events and gives their outcomes. Times are those of the bubble.
func (t *town) run(ctx context.Context, events ...schedule.Event) []Outcome {
	for i := range events {
		events[i].ID = i + 1
	}
	began := time.Now()
	injectors := map[schedule.Kind]chaos.Injector{}
	for _, k := range schedule.Kinds() {
		if k != schedule.Memory {
			injectors[k] = t
		}
	}
	n := New(Options{Nodes: t, Injectors: injectors, Journal: func(s Step) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.steps = append(t.steps, fmt.Sprintf("%v %d %s %s", time.Since(began), s.Event.ID, s.Phase, strings.Join(s.Targets, "+")))
	}})
	out := n.Run(ctx, schedule.Schedule{Events: events})
	if len(n.held) > 0 {
		t.steps = append(t.steps, fmt.Sprintf("still held: %v", n.held))
	}
	return out
}

func TestEventsHappenAtTheirTimesAndAreHealedAfterTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(3)
		out := w.run(t.Context(),
			schedule.Event{AtMS: 1000, ForMS: 500, Kind: schedule.Kill, Targets: []string{"leader"}},
			schedule.Event{AtMS: 1200, ForMS: 2000, Kind: schedule.Pause, Targets: []string{"n2"}})
		want := []string{"1s 1 begin n1", "1s 1 took n1", "1.2s 2 begin n2", "1.2s 2 took n2", "1.5s 1 heal n1", "1.5s 1 healed n1", "3.2s 2 heal n2", "3.2s 2 healed n2"}
		if !slices.Equal(w.steps, want) {
			t.Errorf("steps %q, expected %q", w.steps, want)
		}
		for _, o := range out {
			if !o.Injected || o.Broken != "" || o.Proof.Bites != 1 {
				t.Errorf("outcome %+v, expected an injected fault", o)
			}
		}
	})
}

func TestANodeThatIsTakenOrDownIsWaitedForAndAnotherOneOfTheRoleIsTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*town)
		events []schedule.Event
		want   string // targets of the last event, or why it was not injected
	}{
		"the coordinator that is down is left, the other one is taken": {
			func(w *town) { w.down["n1"] = true }, []schedule.Event{{Kind: schedule.Kill, Targets: []string{"coordinator"}}}, "n2",
		},
		"a node whose fault ends in time": {
			nil, []schedule.Event{{Kind: schedule.Pause, ForMS: 1000, Targets: []string{"n3"}}, {AtMS: 100, Kind: schedule.Kill, Targets: []string{"n3"}}}, "n3",
		},
		"a node whose fault does not end": {
			nil, []schedule.Event{{Kind: schedule.Pause, ForMS: 9000, Targets: []string{"n3"}}, {AtMS: 100, Kind: schedule.Kill, Targets: []string{"n3"}}}, "can be hit",
		},
		"links and clocks of a node with another fault": {
			nil, []schedule.Event{{Kind: schedule.Pause, ForMS: 9000, Targets: []string{"n3"}}, {AtMS: 100, Kind: schedule.ClockJump, Targets: []string{"n3"}}}, "n3",
		},
		"a node that is down for good":      {func(w *town) { w.down["n2"] = true }, []schedule.Event{{Kind: schedule.Kill, Targets: []string{"n2"}}}, "can be hit"},
		"no leader":                         {func(w *town) { w.lead = "" }, []schedule.Event{{Kind: schedule.Kill, Targets: []string{"leader"}}}, "nobody answers"},
		"followers are all but the leader":  {nil, []schedule.Event{{Kind: schedule.Kill, Targets: []string{"followers"}}}, "n2+n3"},
		"an injection that fails elsewhere": {func(w *town) { w.refuse["n2"] = errors.New("no") }, []schedule.Event{{Kind: schedule.Kill, Targets: []string{"follower"}}}, "n3"},
		"an injection that fails always":    {func(w *town) { w.refuse["n1"] = errors.New("no way") }, []schedule.Event{{Kind: schedule.Kill, Targets: []string{"n1"}}}, "no way"},
		"an unknown target":                 {nil, []schedule.Event{{Kind: schedule.Kill, Targets: []string{"n9"}}}, "n9"},
		"a kind that nothing injects":       {nil, []schedule.Event{{Kind: schedule.Memory, Targets: []string{"n1"}}}, "nothing here injects"},
		"data is damaged where it is safe":  {nil, []schedule.Event{{Kind: schedule.Wipe, Targets: []string{"n1"}}}, "n1"},
		"data is not damaged where it is the only copy": {
			func(w *town) { w.safe = errors.New("one copy") }, []schedule.Event{{Kind: schedule.Wipe, Targets: []string{"n1"}}}, "one copy",
		},
		"one node's data is damaged at a time": {
			nil, []schedule.Event{{Kind: schedule.Wipe, ForMS: 9000, Targets: []string{"n1"}}, {AtMS: 1, Kind: schedule.BitFlip, Targets: []string{"n2"}}}, "is taken",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(3)
				if tt.change != nil {
					tt.change(w)
				}
				all := w.run(t.Context(), tt.events...)
				last := all[len(all)-1]
				if got := strings.Join(last.Targets, "+"); last.Injected && got != tt.want || !last.Injected && !strings.Contains(last.Reason, tt.want) {
					t.Errorf("outcome %+v, expected %s; steps %q", last, tt.want, w.steps)
				}
			})
		})
	}
}

func TestAFaultWithoutBiteIsNotInjectedAndOneThatStaysIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(1)
		w.blunt, w.stuck = true, errors.New("rusted")
		o := w.run(t.Context(), schedule.Event{Kind: schedule.Kill, Targets: []string{"n1"}})[0]
		if o.Injected || !strings.Contains(o.Reason, "no effect") || o.Broken != "rusted" {
			t.Errorf("outcome %+v", o)
		}
	})
}

// Only faults of a disk explain that a node ends by itself; what was damaged may be refused later, until the disk is another.
func TestWhatANodeMayDoUnderAFault(t *testing.T) {
	for _, k := range schedule.Kinds() {
		switch k {
		case schedule.PowerCut, schedule.SyncError, schedule.TornWrite, schedule.SlowSync, schedule.Full, schedule.BitFlip, schedule.Truncate:
		default:
			n := New(Options{Nodes: newTown(1)})
			must(t, n.tryHold(schedule.Event{ID: 1, Kind: k}, []string{"n1"}))
			if n.MayEnd("n1") || n.Damaged("n1") || n.Starved("n1") != (k == schedule.CPU) {
				t.Errorf("%s: may end %v, damaged %v, starved %v", k, n.MayEnd("n1"), n.Damaged("n1"), n.Starved("n1"))
			}
			continue
		}
		n := New(Options{Nodes: newTown(1)})
		e := schedule.Event{ID: 1, Kind: k}
		must(t, n.tryHold(e, []string{"n1"}))
		if !n.MayEnd("n1") || n.MayEnd("n2") {
			t.Errorf("%s: n1 may end: %v, n2: %v", k, n.MayEnd("n1"), n.MayEnd("n2"))
		}
		n.release(e)
		if n.MayEnd("n1") || n.Damaged("n1") != (k == schedule.BitFlip || k == schedule.Truncate) {
			t.Errorf("%s is over: n1 may end: %v, is damaged: %v", k, n.MayEnd("n1"), n.Damaged("n1"))
		}
	}
	for _, tt := range []struct {
		kind     schedule.Kind
		replaced int64
		want     bool
	}{{schedule.BitFlip, 0, true}, {schedule.BitFlip, 1, false}, {schedule.Kill, 0, true}, {schedule.Wipe, 0, false}} {
		n := New(Options{Nodes: newTown(1)})
		n.damaged["n1"] = true
		n.heal(t.Context(), schedule.Event{Kind: tt.kind}, []string{"n1"}, healing(func(context.Context) (chaos.Proof, error) {
			return chaos.Proof{Bites: 1, Replaced: tt.replaced}, nil
		}))
		if n.Damaged("n1") != tt.want {
			t.Errorf("%s with %d disks replaced: damaged %v, expected %v", tt.kind, tt.replaced, n.Damaged("n1"), tt.want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestTheEndOfTheRunHealsAtOnceWhatIsInEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(2)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		out := w.run(ctx, schedule.Event{Kind: schedule.Pause, ForMS: 60_000, Targets: []string{"n1"}}, schedule.Event{AtMS: 9000, Kind: schedule.Kill, Targets: []string{"n2"}})
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the run took %v, expected 3s", took)
		}
		if !out[0].Injected || out[1].Injected || w.open["n1"] != 0 {
			t.Errorf("outcomes %+v, open %v", out, w.open)
		}
	})
}

func TestPeersAreResolvedAndNeverTheTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			targets, peers []string
			want           string
		}{
			{[]string{"n2"}, []string{"leader"}, "n1"},
			{[]string{"n1"}, []string{"leader"}, ""},
			{[]string{"leader"}, []string{"followers"}, "n2 n3"},
			{[]string{"n3"}, []string{Client, "n1", "n3"}, "client n1"},
		} {
			n := New(Options{Nodes: newTown(3)})
			e := schedule.Event{Kind: schedule.Cut, Targets: tt.targets, Peers: tt.peers}
			targets, err := n.claim(t.Context(), e, map[string]bool{})
			peers, perr := n.peers(t.Context(), e, targets)
			if got := strings.Join(peers, " "); err != nil || perr != nil || got != tt.want {
				t.Errorf("peers %v of %v: %q, %v, %v, expected %q", tt.peers, tt.targets, got, err, perr, tt.want)
			}
		}
	})
}

// Whatever overlaps, every fault that begins ends, nothing is held afterwards, and no node has two faults of its process.
func TestOverlappingEventsNeverHangAndNeverMeet(t *testing.T) {
	kinds := []schedule.Kind{schedule.Kill, schedule.Pause, schedule.Terminate, schedule.PowerCut, schedule.Wipe}
	rapid.Check(t, func(r *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) schedule.Event {
			return schedule.Event{
				AtMS: rapid.Int64Range(0, 5000).Draw(r, "at"), ForMS: rapid.Int64Range(0, 4000).Draw(r, "for"), Kind: rapid.SampledFrom(kinds).Draw(r, "kind"),
				Targets: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"n1", "n2", "n3", "leader", "follower", "coordinator"}), 1, 2, rapid.ID).Draw(r, "targets"),
			}
		}), 1, 8).Draw(r, "events")
		synctest.Test(t, func(*testing.T) {
			w := newTown(3)
			out := w.run(context.Background(), events...)
			for n, open := range w.open {
				if open != 0 {
					r.Errorf("%d faults of %s are left", open, n)
				}
			}
			if w.most > 1 {
				r.Errorf("%d faults of one node's process at a time", w.most)
			}
			for _, o := range out {
				if o.Injected == (o.Reason != "") {
					r.Errorf("outcome %+v is neither injected nor explained", o)
				}
			}
			if last := w.steps[len(w.steps)-1]; strings.HasPrefix(last, "still held") {
				r.Error(last)
			}
		})
	})
}
