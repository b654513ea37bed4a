package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/coordinator"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// sourceFunc is a direct source.
type sourceFunc func(ctx context.Context, r connector.PlanRequest) (connector.Plan, error)

func (f sourceFunc) Plan(ctx context.Context, r connector.PlanRequest) (connector.Plan, error) {
	return f(ctx, r)
}

// plans is a coordinator of an application with direct streams; the positions are those of partition "p".
type plans struct {
	*coordinator.Coordinator
	t *testing.T

	mu       sync.Mutex
	position uint64
	asked    int
	answers  []*job.SourcesPlanned
}

func runPlans(t *testing.T, sources map[id.Stream]dataset.Direct, test func(t *testing.T, p *plans)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &states{parts: 1, outputs: []id.Stream{first}, direct: sources}
		p := &plans{t: t}
		p.Coordinator = coordinator.New(coordinator.Config{
			Build: "b", Graph: func(job.App) (dataset.App, error) { return g, nil },
			Guard: func(ctx context.Context, _ dataset.App, f func() error) *job.TaskError {
				err := f()
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				if err != nil {
					return &job.TaskError{Fault: job.UserFault, Text: err.Error()}
				}
				return nil
			},
			Peers:     func() (*job.Peers, <-chan struct{}) { return &job.Peers{}, nil },
			Positions: p.positions, Planned: p.planned, Logger: slog.New(slog.DiscardHandler),
		})
		p.Open()
		defer func() {
			if err := p.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		test(t, p)
	})
}

func (p *plans) positions(_ context.Context, _ id.App, s id.Stream) ([]connector.Range, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if s == 9 {
		return nil, errors.New("the stream is unknown")
	}
	return []connector.Range{{Partition: "p", Last: p.position}}, nil
}

func (p *plans) planned(_ context.Context, a *job.SourcesPlanned) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = append(p.answers, a)
	return nil
}

// ask orders to plan a batch, with the index of the last allocation that had a plan.
func (p *plans) ask(at id.Time, office id.Office, planned uint64) {
	p.Plan(&job.PlanSources{
		Office: office, App: job.App{ID: 7, Name: "direct", Spec: dataset.Spec{BatchMS: 2000}}, Time: at, Planned: planned,
	})
	rest(0)
}

// said lists the answers as time/office/planned, then the streams, each with the last position of its first part or !.
func (p *plans) said() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.answers {
		s := fmt.Sprintf("%d/%d/%d", a.Time, a.Office, a.Planned)
		for _, one := range a.Plans {
			s += fmt.Sprintf(" %d", one.Stream)
			switch {
			case one.Error != "":
				s += "!"
			case len(one.Plan.Parts) > 0:
				s += fmt.Sprintf(":%d", one.Plan.Parts[0].Ranges[0].Last)
			}
		}
		all = append(all, s)
	}
	return all
}

// ten takes ten positions.
func ten(_ context.Context, r connector.PlanRequest) (connector.Plan, error) {
	at := r.Position("p")
	return connector.Plan{Parts: []connector.Part{{Records: 10, Ranges: []connector.Range{{Partition: "p", First: at + 1, Last: at + 10}}}}}, nil
}

// Rule 12: a batch is planned from the positions that the ledger has, read again when another plan was taken.
func TestPlansStartAtThePositionsOfTheLedger(t *testing.T) {
	runPlans(t, map[id.Stream]dataset.Direct{1: sourceFunc(ten), 2: sourceFunc(ten)}, func(t *testing.T, p *plans) {
		p.ask(2000, 5, 0)
		p.position = 10
		p.ask(4000, 5, 100)
		p.ask(6000, 5, 100) // the batch before had no plan that was taken
		expect(t, "answers", p.said(), []string{"2000/5/0 2:10 1:10", "4000/5/100 1:20 2:20", "6000/5/100 2:20 1:20"})
		if p.asked != 4 {
			t.Errorf("positions were asked for %d times, expected twice for each stream", p.asked)
		}
	})
}

func TestSamePlanIsAnsweredAgain(t *testing.T) {
	calls := 0
	s := sourceFunc(func(ctx context.Context, r connector.PlanRequest) (connector.Plan, error) {
		calls++
		return ten(ctx, r)
	})
	runPlans(t, map[id.Stream]dataset.Direct{1: s}, func(t *testing.T, p *plans) {
		p.ask(2000, 5, 0)
		p.ask(2000, 5, 0) // after a reconnect
		expect(t, "answers", p.said(), []string{"2000/5/0 1:10", "2000/5/0 1:10"})
		if calls != 1 {
			t.Errorf("%d calls of Plan, expected 1", calls)
		}
	})
}

// Rule 12: what a source plans is checked before it travels. Each of these is an error that says what is wrong.
func TestPlansAreChecked(t *testing.T) {
	part := func(ranges ...connector.Range) connector.Part { return connector.Part{Ranges: ranges} }
	tests := []struct {
		name string
		plan connector.Plan
		err  error
		want string // "" for taken
	}{
		{name: "nothing"},
		{name: "two parts of a partition", plan: connector.Plan{Parts: []connector.Part{
			part(connector.Range{Partition: "p", First: 8, Last: 9}), part(connector.Range{Partition: "p", First: 10, Last: 12}, connector.Range{Partition: "q", First: 1, Last: 1}),
		}}},
		{name: "error", err: errors.New("directory is gone"), want: "directory is gone"},
		{name: "gap", plan: connector.Plan{Parts: []connector.Part{part(connector.Range{Partition: "p", First: 9, Last: 9})}}, want: `positions 9 to 9 of partition "p", expected them from 8`},
		{name: "repetition", plan: connector.Plan{Parts: []connector.Part{part(connector.Range{Partition: "p", First: 7, Last: 9})}}, want: "from 8"},
		{name: "empty range", plan: connector.Plan{Parts: []connector.Part{part(connector.Range{Partition: "p", First: 8, Last: 7})}}, want: "from 8"},
		{name: "too many parts", plan: connector.Plan{Parts: make([]connector.Part, connector.MaxPlanParts+1)}, want: "4097 parts, at most 4096"},
		{name: "as many as may be", plan: connector.Plan{Parts: make([]connector.Part, connector.MaxPlanParts)}},
		{name: "too large", plan: connector.Plan{Parts: []connector.Part{{Data: make([]byte, connector.MaxPlanBytes)}}}, want: "at most 262144"},
		{name: "long mark", plan: connector.Plan{Mark: strings.Repeat("x", connector.MaxMark+1)}, want: "mark of 1025 bytes"},
		{name: "negative", plan: connector.Plan{Parts: []connector.Part{{Records: -1}}}, want: "-1 records"},
		{name: "too many records", plan: connector.Plan{Parts: []connector.Part{{Records: connector.MaxPartRecords + 1}}}, want: "1073741825 records"},
		{name: "too many bytes", plan: connector.Plan{Parts: []connector.Part{{Bytes: connector.MaxPartBytes + 1}}}, want: "1099511627777 bytes"},
		{name: "empty name", plan: connector.Plan{Parts: []connector.Part{part(connector.Range{First: 1, Last: 1})}}, want: "name of 0 bytes"},
		{name: "long name", plan: connector.Plan{Parts: []connector.Part{part(connector.Range{Partition: strings.Repeat("x", connector.MaxPartition+1), First: 1, Last: 1})}}, want: "name of 1025 bytes"},
		{name: "read and forgotten", plan: connector.Plan{Forget: []string{"p"}, Parts: []connector.Part{part(connector.Range{Partition: "p", First: 8, Last: 8})}}, want: `reads and forgets partition "p"`},
		{name: "as many partitions as may be", plan: connector.Plan{Parts: []connector.Part{part(many(connector.MaxPartitions - 1)...)}}},
		{name: "too many partitions", plan: connector.Plan{Parts: []connector.Part{part(many(connector.MaxPartitions)...)}}, want: "10001 partitions"},
		{name: "others in their place", plan: connector.Plan{Forget: []string{"p", "p"}, Parts: []connector.Part{part(many(connector.MaxPartitions)...)}}},
		{name: "no text", plan: connector.Plan{Forget: []string{"\xff"}}, want: "UTF-8"},
		{name: "no name", plan: connector.Plan{Parts: []connector.Part{part(connector.Range{Partition: "\xff", First: 1, Last: 1})}}, want: "UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sourceFunc(func(context.Context, connector.PlanRequest) (connector.Plan, error) { return tt.plan, tt.err })
			runPlans(t, map[id.Stream]dataset.Direct{1: s, 2: sourceFunc(ten)}, func(t *testing.T, p *plans) {
				p.position = 7
				p.ask(4000, 5, 0)
				if len(p.answers) != 1 || len(p.answers[0].Plans) != 2 {
					t.Fatalf("answers are %+v", p.answers)
				}
				got := p.answers[0].Plans[0]
				if tt.want == "" && got.Error != "" || !strings.Contains(got.Error, tt.want) || tt.want != "" && len(got.Plan.Parts) > 0 {
					t.Errorf("plan is %d parts, error %q; expected %q in it", len(got.Plan.Parts), got.Error, tt.want)
				}
				if other := p.answers[0].Plans[1]; other.Error != "" {
					t.Errorf("the other stream has error %q", other.Error)
				}
			})
		})
	}
}

// many are first positions of so many partitions.
func many(n int) (all []connector.Range) {
	for i := range n {
		all = append(all, connector.Range{Partition: fmt.Sprint(i), First: 1, Last: 1})
	}
	return all
}

// Rule 10: the plans of all streams travel in one command. The streams take turns in being the one that waits.
func TestPlansOfAllStreamsTogetherAreBounded(t *testing.T) {
	s := sourceFunc(func(context.Context, connector.PlanRequest) (connector.Plan, error) {
		return connector.Plan{Parts: []connector.Part{{Data: make([]byte, connector.MaxPlanBytes-100)}}}, nil
	})
	sources := map[id.Stream]dataset.Direct{}
	for n := range id.Stream(4) {
		sources[n+1] = s
	}
	runPlans(t, sources, func(t *testing.T, p *plans) {
		waits := map[id.Stream]int{}
		for n := range id.Time(4) {
			p.ask(2000*(n+1), 5, 0)
			for _, one := range p.answers[n].Plans {
				if one.Error != "" {
					waits[one.Stream]++
				}
			}
		}
		if len(waits) != 4 {
			t.Errorf("streams wait %v times, expected each once", waits)
		}
	})
}

func TestPositionsThatAreNotKnownAreAnErrorOfTheStream(t *testing.T) {
	runPlans(t, map[id.Stream]dataset.Direct{1: sourceFunc(ten), 9: sourceFunc(ten)}, func(t *testing.T, p *plans) {
		p.ask(4000, 5, 0)
		expect(t, "answers", p.said(), []string{"4000/5/0 1:10 9!"})
	})
}

// A source that takes too long has no plan in this batch; while its call lasts it is not called again, and the others go
// on.
func TestSlowSourceIsNotWaitedFor(t *testing.T) { // rule 12
	open := make(chan struct{})
	calls := 0
	slow := func(context.Context, connector.PlanRequest) (connector.Plan, error) {
		calls++
		<-open // user code that does not look at its context
		return connector.Plan{}, nil
	}
	runPlans(t, map[id.Stream]dataset.Direct{1: sourceFunc(slow), 2: sourceFunc(ten)}, func(t *testing.T, p *plans) {
		open = make(chan struct{}) // of this bubble
		p.ask(4000, 5, 0)
		rest(1400 * time.Millisecond)
		expect(t, "answers", p.said(), nil)
		rest(200 * time.Millisecond)
		expect(t, "answers", p.said(), []string{"4000/5/0 1! 2:10"})
		if text := p.answers[0].Plans[0].Error; !strings.Contains(text, "1.5s") {
			t.Errorf("error is %q", text)
		}
		p.ask(8000, 5, 0)
		rest(200 * time.Millisecond)
		if len(p.answers) != 2 || !strings.Contains(p.answers[1].Plans[0].Error, "earlier call") {
			t.Fatalf("answers are %+v", p.said())
		}
		expect(t, "answers", p.said()[1:], []string{"8000/5/0 1! 2:10"})
		close(open)
		rest(0)
		p.ask(12000, 5, 0)
		expect(t, "answers", p.said()[2:], []string{"12000/5/0 1 2:10"})
		if calls != 2 {
			t.Errorf("%d calls of the slow source, expected 2", calls)
		}
	})
}

// obedient waits for the end of its context in batches up to the time.
func obedient(upTo int64) sourceFunc {
	return func(ctx context.Context, r connector.PlanRequest) (connector.Plan, error) {
		if r.Time.UnixMilli() > upTo {
			return ten(ctx, r)
		}
		<-ctx.Done()
		return connector.Plan{}, ctx.Err()
	}
}

func TestNewerOrderReplacesThePlanning(t *testing.T) {
	tests := []struct {
		name string
		do   func(p *plans)
		want []string
	}{
		{"same order", func(p *plans) { p.ask(2000, 5, 0) }, []string{"2000/5/0 1!"}},
		{"later batch", func(p *plans) { p.ask(4000, 5, 0) }, []string{"4000/5/0 1:10"}},
		{"newer office", func(p *plans) { p.ask(4000, 9, 0) }, []string{"4000/9/0 1:10"}},
		{"newer office by a batch", func(p *plans) { p.Order(order(1000, 9, 9)) }, nil},
		{"older office", func(p *plans) { p.ask(4000, 3, 0) }, []string{"2000/5/0 1!"}},
		{"two later batches", func(p *plans) { p.ask(1900, 5, 0); p.ask(4000, 5, 0) }, []string{"4000/5/0 1:10"}},
		{"application ended", func(p *plans) { p.Ended(7) }, nil},
		{"session over", func(p *plans) { _ = p.Stop(context.Background()) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			runPlans(t, map[id.Stream]dataset.Direct{1: obedient(2000)}, func(t *testing.T, p *plans) {
				p.ask(2000, 5, 0)
				tt.do(p)
				rest(3 * time.Second)
				expect(t, "answers", p.said(), tt.want)
			})
		})
	}
}

// A source is asked for one batch at a time, also when orders come quickly.
func TestOneCallOfASourceAtATime(t *testing.T) {
	var mu sync.Mutex
	running := 0
	s := sourceFunc(func(ctx context.Context, r connector.PlanRequest) (connector.Plan, error) {
		mu.Lock()
		running++
		if running > 1 {
			t.Error("two calls at a time")
		}
		mu.Unlock()
		<-ctx.Done()
		time.Sleep(time.Millisecond) // a clock of the bubble: it is slow to end
		mu.Lock()
		defer mu.Unlock()
		running--
		return connector.Plan{}, ctx.Err()
	})
	runPlans(t, map[id.Stream]dataset.Direct{1: s}, func(t *testing.T, p *plans) {
		for n := range id.Time(10) {
			p.ask(2000*(n+1), 5, 0)
		}
		rest(5 * time.Second)
		if said := p.said(); len(said) == 0 || !slices.Contains(said, "20000/5/0 1!") {
			t.Errorf("answers are %v", said)
		}
	})
}

func TestEachSourceIsToldTheLimitOfItsStream(t *testing.T) {
	told := map[id.Stream]int64{}
	var mu sync.Mutex
	of := func(s id.Stream) dataset.Direct {
		return sourceFunc(func(_ context.Context, r connector.PlanRequest) (connector.Plan, error) {
			mu.Lock()
			defer mu.Unlock()
			told[s] = r.MaxRecords
			return connector.Plan{}, nil
		})
	}
	runPlans(t, map[id.Stream]dataset.Direct{1: of(1), 2: of(2), 3: of(3)}, func(t *testing.T, p *plans) {
		p.Plan(&job.PlanSources{
			Office: 5, App: job.App{ID: 7, Name: "direct", Spec: dataset.Spec{BatchMS: 2000}}, Time: 2000,
			Limits: []job.SourceLimit{{Stream: 3, Records: 30}, {Stream: 1, Records: 10}},
		})
		rest(0)
		mu.Lock()
		defer mu.Unlock()
		if len(told) != 3 || told[1] != 10 || told[2] != 0 || told[3] != 30 {
			t.Errorf("sources were told %v, expected 10 for stream 1, no limit for 2, 30 for 3", told)
		}
	})
}
