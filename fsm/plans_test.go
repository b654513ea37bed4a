package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

const directStream = id.Stream(3)

// startDirect is an application with a direct stream besides its receiver.
func startDirect(t *testing.T) *running {
	t.Helper()
	l := startLedger(t)
	r := &running{ledger: l, a: l.session("A"), b: l.session("B")}
	c := submission("wc")
	c.Inputs = append(c.Inputs, InputStream{Stream: directStream, Source: "files"})
	r.app = id.App(l.done(c))
	r.instance = r.receiver(r.a, 0)
	r.coordinator(r.a)
	return r
}

// part reads first to last of a partition.
func part(partition string, first, last uint64) connector.Part {
	return connector.Part{
		Data: []byte(partition), Records: int64(last - first + 1), Bytes: 100,
		Ranges: []connector.Range{{Partition: partition, First: first, Last: last}},
	}
}

// planned is the next allocation with a plan.
func (r *running) planned(p connector.Plan) *BlocksAllocated {
	c := r.tick()
	c.Direct = []StreamPlan{{Stream: directStream, Plan: p}}
	return c
}

func (r *running) positions() map[string]uint64 {
	return maps.Collect(r.m.View().Positions(r.app, directStream))
}

// Rule 12: what a batch reads of a direct stream is fixed by its allocation, every range starts where the last one
// ended, and it is kept until the batch is cleaned; then the source's mark moves on.
func TestPlansGoOnFromThePositions(t *testing.T) {
	r := startDirect(t)
	r.done(r.add(r.block(1)))
	first := r.planned(connector.Plan{Parts: []connector.Part{part("f", 1, 3), part("f", 4, 5), part("g", 1, 2)}, Mark: "one"})
	at := r.done(first)
	if got := r.positions(); !maps.Equal(got, map[string]uint64{"f": 5, "g": 2}) {
		t.Fatalf("positions %v", got)
	}
	a := r.state()
	if a.Planned != at || a.Received != 17 || a.PendingRecs != 17 {
		t.Fatalf("planned at %d, %d received, %d pending: expected %d, 17, 17", a.Planned, a.Received, a.PendingRecs, at)
	}
	again := *first
	again.Direct = []StreamPlan{{Stream: directStream, Plan: connector.Plan{Parts: []connector.Part{part("f", 6, 9)}}}}
	if got := r.done(&again); got != at {
		t.Fatalf("repeated allocation at %d, expected %d: it never changes", got, at)
	}
	p, ok := r.m.View().Direct(r.app, 11_000, directStream)
	if !ok || len(p.Parts) != 3 || string(p.Parts[2].Data) != "g" {
		t.Fatalf("plan %+v %t, expected the three parts", p, ok)
	}
	r.done(r.planned(connector.Plan{Parts: []connector.Part{part("f", 6, 6)}, Forget: []string{"g", "h"}, Mark: "two"}))
	if got := r.positions(); !maps.Equal(got, map[string]uint64{"f": 6, "g": 2}) {
		t.Fatalf("positions %v, expected that of g to stay while a batch that reads it is not cleaned", got)
	}
	planned := r.state().Planned
	r.done(r.planned(connector.Plan{Mark: "two", Warning: "w"})) // nothing to read
	if got := r.state().Planned; got != planned {
		t.Fatalf("planned at %d, expected %d: no position has changed", got, planned)
	}
	if _, ok := r.m.View().Direct(r.app, 13_000, directStream); ok || r.m.View().SourceWarning(r.app, directStream) != "w" {
		t.Fatal("an empty plan is kept, or its warning is not")
	}
	for range 3 {
		r.done(r.complete())
	}
	if m := r.m.View().Mark(r.app, directStream); m != "" || !r.m.View().Cleanable(r.app, 11_000) {
		t.Fatalf("mark %q before cleaning", m)
	}
	r.done(&BatchesCleaned{App: r.app, UpTo: 11_000})
	if m := r.m.View().Mark(r.app, directStream); m != "one" {
		t.Fatalf("mark %q, expected one", m)
	}
	if _, ok := r.m.View().Direct(r.app, 11_000, directStream); ok {
		t.Fatal("the plan of a cleaned batch is kept")
	}
	r.done(&BatchesCleaned{App: r.app, UpTo: 12_000})
	if m := r.m.View().Mark(r.app, directStream); m != "two" || r.m.View().Cleanable(r.app, 13_000) {
		t.Fatalf("mark %q, expected two and nothing left to clean", m)
	}
	r.done(r.planned(connector.Plan{Forget: []string{"g", "h"}}))
	if got := r.positions(); !maps.Equal(got, map[string]uint64{"f": 6}) || r.state().Planned == planned {
		t.Fatalf("positions %v, expected that of g forgotten", got)
	}
	if a := r.state(); a.Processed != 18 {
		t.Fatalf("%d processed, expected 18", a.Processed)
	}
}

// Rules 10 and 12: a plan is taken whole or not at all, and at its limits.
func TestPlansThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		plans      []StreamPlan
	}{
		{"not at the position", `plan of stream 3: partition "f": `, plans(directStream, part("g", 1, 1), part("f", 5, 7))},
		{"a gap inside", `plan of stream 3: partition "f": `, plans(directStream, part("f", 4, 5), part("f", 7, 7))},
		{"a new partition not from 1", `plan of stream 3: partition "new": `, plans(directStream, part("new", 2, 2))},
		{"empty range", `part 0: partition "f": range 4 to 3 is empty`, plans(directStream, part("f", 4, 3))},
		{"no name", "part 0: partition name of 0 bytes, expected 1 to 1024", plans(directStream, part("", 1, 1))},
		{"read and forgotten", `partition "f" is read and forgotten`, []StreamPlan{{Stream: directStream, Plan: connector.Plan{
			Parts: []connector.Part{part("f", 1, 1)}, Forget: []string{"f"},
		}}}},
		{"a receiver's stream", "stream 0 is not a direct input", plans(0)},
		{"unknown stream", "stream 9 is not a direct input", plans(9)},
		{"twice", "stream 3 is planned twice", append(plans(directStream), plans(directStream)...)},
		{"many parts", "4097 parts, expected at most 4096", plans(directStream, make([]connector.Part, connector.MaxPlanParts+1)...)},
		{"long mark", "mark of 1025 bytes, expected at most 1024", []StreamPlan{{Stream: directStream, Plan: connector.Plan{Mark: strings.Repeat("m", 1025)}}}},
		{"long warning", "warning of 1025 bytes, expected at most 1024", []StreamPlan{{Stream: directStream, Plan: connector.Plan{Warning: strings.Repeat("m", 1025)}}}},
		{"large", fmt.Sprintf("%d bytes, expected at most %d", connector.MaxPlanBytes+1, connector.MaxPlanBytes), plans(directStream, sized(connector.MaxPlanBytes+1))},
		{"records", "part 0: -1 records, expected 0 to 1073741824", plans(directStream, connector.Part{Records: -1})},
		{"bytes", "part 0: 1099511627777 bytes, expected 0 to 1099511627776", plans(directStream, connector.Part{Bytes: 1<<40 + 1})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startDirect(t)
			r.done(r.planned(connector.Plan{Parts: []connector.Part{part("f", 1, 3)}}))
			r.done(r.add(r.block(1)))
			before := r.stateBytes()
			c := r.tick()
			c.Direct = tt.plans
			got := r.apply(c)
			if got.Outcome != Refused || !strings.Contains(got.Reason, tt.want) || !strings.HasPrefix(got.Reason, "application 4 (wc), batch 12000: ") {
				t.Fatalf("%+v, expected a refusal for %q", got, tt.want)
			}
			if !slices.Equal(before, r.stateBytes()) {
				t.Fatal("a refused plan has changed the state")
			}
			if e := slices.Collect(r.m.View().Events(r.app, r.index-1)); len(e) != 1 || e[0].Kind != EventPlanRefused {
				t.Fatalf("events %+v, expected that the plan was refused", e)
			}
		})
	}
}

func plans(s id.Stream, parts ...connector.Part) []StreamPlan {
	return []StreamPlan{{Stream: s, Plan: connector.Plan{Parts: parts}}}
}

// sized is a part that makes a plan of n bytes.
func sized(n int) connector.Part { return connector.Part{Data: make([]byte, n-16)} }

// Rule 10: plans of one application that are not cleaned have a limit; ticks wait.
func TestPlansThatAreKeptAreLimited(t *testing.T) {
	r := startDirect(t)
	most := connector.Plan{Parts: []connector.Part{sized(connector.MaxPlanBytes)}}
	for range blocktracker.MaxPlannedBytes / connector.MaxPlanBytes {
		r.done(r.planned(most))
		r.done(r.complete())
	}
	r.limited(r.planned(most), fmt.Sprintf("application 4 (wc), batch %d: plan of stream 3: not now: plans of 67108864 bytes are not cleaned, expected at most 67108864",
		r.state().Interval(r.state().Allocated, 1)))
	r.done(&BatchesCleaned{App: r.app, UpTo: 11_000})
	r.done(r.planned(most))
}

// Rules 4 and 12: positions of a direct stream are never forgotten by age, so their number has a hard limit.
func TestPositionsOfADirectStreamAtTheirLimit(t *testing.T) {
	r := startDirect(t)
	of := func(from, to int) connector.Plan {
		var p connector.Part
		for n := from; n < to; n++ {
			p.Ranges = append(p.Ranges, connector.Range{Partition: fmt.Sprint(n), First: 1, Last: 1})
		}
		return connector.Plan{Parts: []connector.Part{p}}
	}
	for n := 0; n < blocktracker.MaxPositions; n += 5000 {
		c := r.planned(of(n, n+5000))
		r.done(c)
	}
	one := r.planned(of(blocktracker.MaxPositions, blocktracker.MaxPositions+1))
	one.NowMS = 1 << 50
	for _, one.Direct[0].Plan.Forget = range [][]string{nil, {"7", "7", "unknown"}} { // a batch that is not cleaned reads 7
		r.refused(one, "application 4 (wc), batch 13000: plan of stream 3: 10001 partitions of stream 3 would have a position, expected at most 10000")
	}
	r.done(r.complete())
	r.done(r.complete())
	r.done(&BatchesCleaned{App: r.app, UpTo: 11_000})
	r.done(one)
	if n := len(r.positions()); n != blocktracker.MaxPositions {
		t.Fatalf("%d positions, expected %d", n, blocktracker.MaxPositions)
	}
}

// Rule 11: what stop --now gives up includes what was planned and not read.
func TestStopAtOnceDiscardsPlans(t *testing.T) {
	r := startDirect(t)
	r.done(r.planned(connector.Plan{Parts: []connector.Part{part("f", 1, 3)}}))
	r.done(r.planned(connector.Plan{Parts: []connector.Part{part("f", 4, 7)}, Mark: "m"}))
	res := r.apply(&ApplicationStopped{App: r.app, Now: true})
	if res.Reason != "4 acknowledged records discarded" {
		t.Fatalf("%q", res.Reason)
	}
	r.done(r.complete())
	r.done(&ApplicationEnded{App: r.app})
	if a := r.state(); a.Processed != 3 || a.Discarded != 4 || r.m.View().Mark(r.app, directStream) != "" {
		t.Fatalf("%d processed, %d discarded, mark %q", a.Processed, a.Discarded, r.m.View().Mark(r.app, directStream))
	}
}

// Rule 12: an application's direct streams may give nothing, visibly; a source's warning is told when it changes.
func TestWhyABatchHasNoPlanIsShown(t *testing.T) {
	r := startDirect(t)
	c := r.tick()
	c.Unplanned = "nobody is there"
	from := r.done(c) - 1
	r.done(r.tick())
	for _, w := range []string{"a", "a", "", "b\xff"} {
		r.done(r.planned(connector.Plan{Warning: w}))
	}
	var got []string
	for e := range r.m.View().Events(r.app, from) {
		got = append(got, fmt.Sprint(e.Kind, ": ", e.Text, " ", e.Warning))
	}
	want := []string{
		"direct sources not planned: batch 11000: nobody is there true", "source warning: stream 3: a true",
		"source warning: stream 3: b\uFFFD true",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("events %q, expected %q", got, want)
	}
}
