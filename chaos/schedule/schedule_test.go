package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestAPlanBecomesWhatItSays(t *testing.T) {
	p, err := Parse(`
		seed=7 nodes=5 workload=append-set+counter rate=800/s time=30s   # the run
		at 9s   kill leader for 2s
		at 5s   cut n1,n2 to n3 both plane=raft for 8s
		at 6s   delay n4 from leader delay=200ms jitter=50ms for 1s
		at 7s   exit n5 point=wal.synced hit=3 for 1s
		at 8s   clock-jump all offset=-90s for 5s`)
	if err != nil {
		t.Fatal(err)
	}
	want := Schedule{Seed: 7, Nodes: 5, Workloads: []string{"append-set", "counter"}, Rate: 800, TimeMS: 30_000, Events: []Event{
		{ID: 1, AtMS: 5000, ForMS: 8000, Kind: Cut, Targets: []string{"n1", "n2"}, Peers: []string{"n3"}, Both: true, Plane: Raft},
		{ID: 2, AtMS: 6000, ForMS: 1000, Kind: Delay, Targets: []string{"leader"}, Peers: []string{"n4"}, DelayMS: 200, JitterMS: 50},
		{ID: 3, AtMS: 7000, ForMS: 1000, Kind: Exit, Targets: []string{"n5"}, Point: "wal.synced", Hit: 3},
		{ID: 4, AtMS: 8000, ForMS: 5000, Kind: ClockJump, Targets: []string{"n1", "n2", "n3", "n4", "n5"}, OffsetMS: -90_000},
		{ID: 5, AtMS: 9000, ForMS: 2000, Kind: Kill, Targets: []string{"leader"}},
	}}
	if diff := cmp.Diff(want, p.Expand()); diff != "" {
		t.Errorf("schedule differs (-want +got):\n%s", diff)
	}
}

// A plan is the same in lines and in one; comments end with their line, and errors name it.
func TestAPlanIsLinesOrOneLine(t *testing.T) {
	lines, err := Parse("# a storm; of kills\nnodes=5 time=10s # and no more; really\nat 1s kill n1 for 1s\n\nat 2s kill n2 for 1s")
	if err != nil {
		t.Fatal(err)
	}
	one, err := Parse("nodes=5 time=10s;at 1s kill n1 for 1s; ;at 2s kill n2 for 1s;")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := lines.Expand(), one.Expand(); len(a.Events) != 2 || a.Nodes != 5 || !cmp.Equal(a, b) {
		t.Errorf("in lines: %+v\nin one: %+v", a, b)
	}
	if _, err := Parse("# one\nat 1s kill n1 for 1s; at 2s push n1"); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a mistake in line 2: %v", err)
	}
	for text, want := range map[string]bool{
		"": false, "# nodes=3": false, "at 1s kill n1 for 1s": false, "# storm\nat 1s kill n1 for 1s": false,
		"nodes=3": true, "# storm\nnodes=3\nat 1s kill n1 for 1s": true, "at 1s kill n1 for 1s; nodes=3": true,
	} {
		if got := Headed(text); got != want {
			t.Errorf("%q gives the run: %t, expected %t", text, got, want)
		}
	}
}

func TestDisksAreDamagedWhereThePlanSays(t *testing.T) {
	p, err := Parse("nodes=5\nat 1s wipe n3 for 1s\nat 2s bit-flip leader for 1s\nat 3s truncate any for 1s\nat 4s wipe any for 1s")
	if err != nil {
		t.Fatal(err)
	}
	for p.Seed = range 20 {
		e := p.Expand().Events
		if e[0].Targets[0] != "n3" || e[1].Targets[0] != "leader" {
			t.Errorf("seed %d: wipe n3 and bit-flip leader hit %v and %v", p.Seed, e[0].Targets, e[1].Targets)
		}
		if diff := cmp.Diff(e[2].Targets, e[3].Targets); diff != "" {
			t.Errorf("seed %d: two disks of any node are damaged (-first +second):\n%s", p.Seed, diff)
		}
	}
}

func TestAWrongPlanIsRefusedByLineAndWord(t *testing.T) {
	tests := []struct{ plan, want string }{
		{"at 5s explode leader", `line 1: unknown fault "explode"`},
		{"seed=1\nat soon kill leader", `line 2: time is "soon"`},
		{"at 5s kill n4", `line 1: target is "n4", expected n1 to n3`},
		{"at 5s kill n01", `target is "n01"`},
		{"at 5s kill", `target is ""`},
		{"at 5s kill leader for 3s..1s", `time is "3s..1s"`},
		{"at 5s kill leader quickly", `"quickly", expected to, from, both, for or key=value`},
		{"at 5s delay n1 delay=much", `delay is "much", expected a duration`},
		{"at 5s loss n1 percent=9..1", `percent is "9..1"`},
		{"at 5s cut n1 plane=water", `plane is "water"`},
		{"at 5s cut n1 colour=red", `unknown key "colour"`},
		{"at 5s partition diagonal", `partition is "diagonal"`},
		{"every 1s oneof kill n1", `oneof is followed by "kill"`},
		{"every 1s oneof { kill n1", `"" in oneof`},
		{"every 1s oneof { kill n1 } now", `"now" after the end of oneof`},
		{"every 0s kill n1", "every 0s, expected 10ms or more"},
		{"nodes=0", "nodes is 0"},
		{"nodes=many", `nodes is "many"`},
		{"speed=9", `unknown key "speed"`},
		{"time=-1s", "time is -1s"},
		{"seed=1\nseed=2", `begins with "seed=2"`},
	}
	for _, tt := range tests {
		if _, err := Parse(tt.plan); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("plan %q: error %v, expected one with %q", tt.plan, err, tt.want)
		}
	}
}

func TestInARingEveryNodeSeesAMajority(t *testing.T) {
	for nodes := 3; nodes <= 7; nodes++ {
		p, err := Parse("nodes=" + Node(nodes)[1:] + "\nat 1s partition majorities-ring for 1s")
		if err != nil {
			t.Fatal(err)
		}
		if nodes == 3 {
			continue
		}
		blind := map[string]int{}
		for _, e := range p.Expand().Events {
			for _, peer := range e.Peers {
				blind[e.Targets[0]]++
				blind[peer]++
			}
		}
		for n := 1; n <= nodes; n++ {
			if sees := nodes - blind[Node(n)]; sees <= nodes/2 || sees == nodes {
				t.Errorf("%s of %d nodes sees %d, expected a majority and not all", Node(n), nodes, sees)
			}
		}
	}
}

func TestARandomScheduleCanBeRunAndReplayed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfDistinct(rapid.SampledFrom(Kinds()), rapid.ID).Draw(t, "kinds")
		o := Options{
			Nodes: rapid.IntRange(1, 7).Draw(t, "nodes"), Rate: 100, Time: 60 * time.Second, Kinds: kinds,
			Points: []string{"wal.synced"}, Workloads: []string{"append-set"},
		}
		seed := rapid.Uint64().Draw(t, "seed")
		s, err := Random(seed, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		again, _ := Random(seed, o)
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var read Schedule
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(s, again) || !cmp.Equal(s, read) {
			t.Fatal("the same seed, or the file, gives another schedule")
		}
		destroyed := 0
		for _, e := range s.Events {
			if !slices.Contains(kinds, e.Kind) {
				t.Fatalf("kind %s cannot be injected here", e.Kind)
			}
			if slices.Contains(destructive, e.Kind) {
				destroyed += len(e.Targets)
			}
		}
		if destroyed > 1 {
			t.Fatalf("%d disks lose synced data, expected one at most", destroyed)
		}
	})
}

func TestEveryKindHasARecipe(t *testing.T) {
	for _, k := range Kinds() {
		if len(recipes[k]) == 0 {
			t.Errorf("kind %s is never drawn", k)
		}
	}
	if len(recipes) != len(Kinds()) {
		t.Errorf("%d recipes for %d kinds", len(recipes), len(Kinds()))
	}
}

func TestAScheduleOfAFileIsChecked(t *testing.T) {
	good := Schedule{Nodes: 3, Rate: 1, TimeMS: 1000}
	for _, tt := range []struct {
		event Event
		want  string
	}{
		{Event{Kind: "melt", Targets: []string{"n1"}}, "unknown fault"},
		{Event{Kind: Kill}, "no target"},
		{Event{Kind: Kill, Targets: []string{"any"}}, "chances are drawn before"},
		{Event{Kind: Kill, Targets: []string{"n9"}}, `target is "n9"`},
		{Event{Kind: Kill, Targets: []string{"n1"}, AtMS: -1}, "time is -1 ms"},
		{Event{Kind: Cut, Targets: []string{"n1"}, Plane: "sea"}, `plane is "sea"`},
	} {
		s := good
		s.Events = []Event{tt.event}
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, expected one with %q", tt.event, err, tt.want)
		}
	}
}

func TestShrinkFindsTheEventsThatMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "events")
		guilty := rapid.SliceOfNDistinct(rapid.IntRange(1, n), 1, min(n, 3), rapid.ID).Draw(t, "guilty")
		s := Schedule{Nodes: 3, TimeMS: 100_000}
		for i := range n {
			s.Events = append(s.Events, Event{ID: i + 1, AtMS: int64(i) * 1000, ForMS: 4000})
		}
		least, err := Shrink(t.Context(), s, func(_ context.Context, c Schedule) (bool, error) {
			for _, g := range guilty {
				at := slices.IndexFunc(c.Events, func(e Event) bool { return e.ID == g })
				if at < 0 || c.Events[at].ForMS < 1000 {
					return false, nil
				}
			}
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(least.Events) != len(guilty) {
			t.Fatalf("%d events are left, expected %d", len(least.Events), len(guilty))
		}
		for _, e := range least.Events {
			if e.ForMS != 1000 || e.AtMS+e.ForMS > least.TimeMS {
				t.Fatalf("event %+v in %d ms, expected it short and inside", e, least.TimeMS)
			}
		}
	})
}

func TestShrinkGivesTheBestWhenItIsBrokenOff(t *testing.T) {
	s := Schedule{Nodes: 3, TimeMS: 1000, Events: make([]Event, 8)}
	runs, over := 0, errors.New("over")
	least, err := Shrink(t.Context(), s, func(context.Context, Schedule) (bool, error) {
		if runs++; runs == 2 {
			return false, over
		}
		return true, nil
	})
	if !errors.Is(err, over) || len(least.Events) != 4 {
		t.Errorf("%d events, error %v; expected 4 events and the error", len(least.Events), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("seed=1 nodes=3\nat 5s partition minority plane=raft for 8s..15s\nevery 4s..8s oneof { kill any for 1s | pause leader }")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		for _, s := range p.statements {
			if s.every && p.Time/s.at.low > 10_000 {
				t.Skip("many events")
			}
		}
		if err := p.Expand().Check(); err != nil {
			t.Errorf("plan %q: %v", text, err)
		}
	})
}
