package batches

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

// Rule 12: all of the tests below. Stream 1 is read directly.

func startDirect(t *testing.T, change func(*fsm.ApplicationSubmitted), test func(s *stage)) {
	start(t, func(c *fsm.ApplicationSubmitted) {
		c.Inputs = append(c.Inputs, fsm.InputStream{Stream: 1, Source: "files"})
		if change != nil {
			change(c)
		}
	}, test)
}

// asked gives the last order to plan the n-th batch.
func (s *stage) asked(n int64) (last *job.PlanSources) {
	for _, p := range drivertest.Orders[*job.PlanSources](s.executor) {
		if p.Time == s.zero(n) {
			last = p
		}
	}
	return last
}

// part reads the positions first to last of partition "p".
func part(first, last uint64) connector.Part {
	return connector.Part{
		Data: fmt.Appendf(nil, "%d-%d", first, last), Records: int64(last - first + 1), Bytes: 10,
		Ranges: []connector.Range{{Partition: "p", First: first, Last: last}},
	}
}

// plan answers an order to plan.
func (s *stage) plan(o *job.PlanSources, plans ...job.StreamPlan) {
	s.Helper()
	s.executor.Must(&job.SourcesPlanned{App: s.app, Time: o.Time, Office: o.Office, Planned: o.Planned, Plans: plans})
}

func ofFiles(parts ...connector.Part) job.StreamPlan {
	return job.StreamPlan{Stream: 1, Plan: connector.Plan{Parts: parts}}
}

// planned waits until the n-th batch is to be planned, answers, and waits until it is allocated.
func (s *stage) planned(n int64, plans ...job.StreamPlan) *job.PlanSources {
	s.Helper()
	s.Until("the batch is to be planned", func() bool { return s.asked(n) != nil })
	o := s.asked(n)
	s.plan(o, plans...)
	s.Until("the batch is allocated", func() bool { return s.Rig.App(s.app).Allocated >= s.zero(n) })
	return o
}

// parts lists what the n-th batch is to read of stream 1.
func (s *stage) parts(n int64) (data []string) {
	s.Helper()
	s.Until("the batch is ordered", func() bool { return s.ordered(n) != nil })
	for _, in := range s.ordered(n).Inputs {
		if in.Stream == 1 && in.Time == s.zero(n) {
			for _, p := range in.Parts {
				data = append(data, string(p.Data))
			}
		}
	}
	return data
}

// unplanned lists why batches got nothing of direct streams, as people were told.
func (s *stage) unplanned() (reasons []string) {
	for _, c := range s.Raft.Applied() {
		if b, ok := c.(*fsm.BlocksAllocated); ok && b.Unplanned != "" {
			reasons = append(reasons, b.Unplanned)
		}
	}
	return reasons
}

func TestAllocationHoldsThePlansOfDirectStreams(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		o := s.planned(1, ofFiles(part(1, 3), part(4, 9)))
		if late := time.Now().UnixMilli() - int64(s.zero(1)); late > 20 {
			t.Errorf("allocated %d ms after its time", late)
		}
		a := s.Rig.App(s.app)
		want := &job.PlanSources{Epoch: s.View().Leadership().Epoch, Office: a.Office, App: driver.AppOf(a), Time: s.zero(1)}
		if d := cmp.Diff(want, o); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"1-3", "4-9"}, s.parts(1)); d != "" {
			t.Error(d)
		}
		s.complete(1)
		next := s.planned(2, ofFiles(part(10, 10)))
		if next.Planned != a.Planned || a.Planned == 0 {
			t.Errorf("positions of %d will do, expected those of the last plan, at %d", next.Planned, a.Planned)
		}
		at := driver.PositionsOf(s.View(), s.app, 1)
		if d := cmp.Diff([]connector.Range{{Partition: "p", Last: 10}}, at); d != "" {
			t.Error(d)
		}
		if r := s.unplanned(); len(r) > 0 {
			t.Errorf("people were told %q", r)
		}
	})
}

// An empty plan needs no place in the ledger: the positions that were read stay good.
func TestEmptyPlanIsNotTaken(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		s.planned(1, ofFiles())
		if o := s.planned(2, ofFiles()); o.Planned != 0 {
			t.Errorf("positions are to be read again after %d", o.Planned)
		}
	})
}

func TestBatchThatNobodyPlansIsAllocatedWithoutAndSaysSoOnce(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		block := s.add()
		s.Until("the batch is allocated", func() bool { return s.Rig.App(s.app).Allocated >= s.zero(1) })
		if late := time.Now().UnixMilli() - int64(s.zero(1)); late < 1000 || late > 1020 {
			t.Errorf("allocated %d ms after its time, expected after a second", late)
		}
		s.Until("it is ordered", func() bool { return s.ordered(1) != nil })
		if b := s.ordered(1).Inputs[0].Blocks; len(b) != 1 || b[0].ID != block {
			t.Errorf("blocks of the other stream are %v", b)
		}
		pass(10 * time.Second)
		if d := cmp.Diff([]string{"the coordinator did not plan them in time"}, s.unplanned()); d != "" {
			t.Error(d)
		}
		next := int64(s.Rig.App(s.app).Allocated-s.zero(0))/1000 + 1
		s.planned(next, ofFiles(part(1, 1)))
		pass(5 * time.Second)
		if n := len(s.unplanned()); n != 2 {
			t.Errorf("people were told %d times of two outages", n)
		}
	})
}

func TestRefusedPlanIsMadeAgain(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		s.Until("the batch is to be planned", func() bool { return s.asked(1) != nil })
		first := s.asked(1)
		s.plan(first, ofFiles(part(5, 6))) // there is nothing before 5
		s.Until("it is to be planned again", func() bool { return s.asked(1) != first })
		if s.asked(1).Planned <= first.Planned {
			t.Error("the positions that the refused plan was made of are still good")
		}
		s.plan(first, ofFiles(part(1, 1))) // late
		pass(10 * time.Millisecond)
		if s.Rig.App(s.app).Allocated != s.zero(0) {
			t.Fatal("an answer to an older order was taken")
		}
		s.plan(s.asked(1), ofFiles(part(1, 2)))
		if d := cmp.Diff([]string{"1-2"}, s.parts(1)); d != "" {
			t.Error(d)
		}
	})
}

func TestPlanThatIsAlwaysRefusedHoldsNothingUp(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		for range planRounds {
			before := s.asked(1)
			s.Until("it is to be planned", func() bool { return s.asked(1) != before })
			s.plan(s.asked(1), ofFiles(part(5, 6)))
		}
		s.Until("the batch is allocated", func() bool { return s.Rig.App(s.app).Allocated >= s.zero(1) })
		if late := time.Now().UnixMilli() - int64(s.zero(1)); late > 500 {
			t.Errorf("allocated %d ms after its time", late)
		}
		if d := cmp.Diff([]string{"the ledger refuses what was planned"}, s.unplanned()[:1]); d != "" {
			t.Error(d)
		}
	})
}

// A ledger that is overloaded has not looked at the plans: they stay good, and nobody is told that they were refused.
func TestPlansOutliveAnOverload(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		s.Until("the batch is to be planned", func() bool { return s.asked(1) != nil })
		o := s.asked(1)
		s.Raft.Fail(id.ErrOverloaded)
		s.plan(o, ofFiles(part(1, 2)))
		pass(200 * time.Millisecond)
		s.Raft.Fail(nil)
		if d := cmp.Diff([]string{"1-2"}, s.parts(1)); d != "" {
			t.Error(d)
		}
		if s.asked(1) != o {
			t.Error("it was planned again")
		}
		if r := s.unplanned(); len(r) > 0 {
			t.Errorf("people were told %q", r)
		}
	})
}

// What a source warns of reaches people when there is nothing to read too, and goes when it is over.
func TestWarningOfAnEmptyPlanIsShownUntilItIsOver(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		warned := job.StreamPlan{Stream: 1, Plan: connector.Plan{Warning: "file a is unreadable"}}
		s.planned(1, warned)
		if w := s.View().SourceWarning(s.app, 1); w != "file a is unreadable" {
			t.Errorf("shown is %q", w)
		}
		s.planned(2, warned)
		if o := s.planned(3, ofFiles()); o.Planned != 0 {
			t.Errorf("positions are to be read again after %d", o.Planned)
		}
		if w := s.View().SourceWarning(s.app, 1); w != "" {
			t.Errorf("%q is shown still", w)
		}
		told := 0
		for _, c := range s.Raft.Applied() {
			if b, ok := c.(*fsm.BlocksAllocated); ok {
				told += len(b.Direct)
			}
		}
		if told != 2 {
			t.Errorf("%d plans are in the ledger, expected those that change what is shown", told)
		}
	})
}

func TestOrderToPlanIsRepeatedToWhoeverCoordinates(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		s.Until("the batch is to be planned", func() bool { return s.asked(1) != nil })
		s.executor.Connect()
		s.Until("it is to be planned on the new connection", func() bool { return s.asked(1) != nil })
		old := s.asked(1)
		s.office(old.Office)
		s.Until("it is to be planned by the new office", func() bool { return s.asked(1).Office > old.Office })
		if reply, err := s.executor.Request(&job.SourcesPlanned{
			App: s.app, Time: old.Time, Office: old.Office, Plans: []job.StreamPlan{ofFiles(part(1, 1))},
		}); err != nil || reply.Outcome != job.Refused {
			t.Errorf("plan of the old office: %+v, %v; expected it refused", reply, err)
		}
		s.Raft.Lose()
		s.Until("the leadership is over", func() bool {
			_, leading := s.Driver.Leading()
			return !leading
		})
		s.Lead()
		s.executor.Connect()
		s.Until("it is to be planned for the new leader", func() bool { return s.asked(1) != nil })
		s.plan(s.asked(1), ofFiles(part(1, 2)))
		if d := cmp.Diff([]string{"1-2"}, s.parts(1)); d != "" {
			t.Error(d)
		}
	})
}

func TestOneBatchOfARunGetsThePlan(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		s.Raft.Lose()
		pass(5500 * time.Millisecond)
		s.Lead()
		s.executor.Connect()
		s.planned(1, ofFiles(part(1, 2)))
		if got := s.allocations(); len(got) != 1 || got[0] != [2]id.Time{s.zero(1), s.zero(5)} {
			t.Errorf("allocated %v", got)
		}
		if d := cmp.Diff([]string{"1-2"}, s.parts(1)); d != "" {
			t.Error(d)
		}
		if got := s.parts(2); len(got) > 0 {
			t.Errorf("the second batch reads %v", got)
		}
	})
}

// Rule 11: what a direct source holds has no end, so a stop ends what is read of it.
// What the ledger would refuse of one stream does not keep the others from their input for ever.
func TestPlanBeyondTheLedgersLimitsDoesNotHoldUpTheOthers(t *testing.T) {
	startDirect(t, func(c *fsm.ApplicationSubmitted) {
		c.Inputs = append(c.Inputs, fsm.InputStream{Stream: 2, Source: "files"})
	}, func(s *stage) {
		long := part(1, 1)
		long.Ranges[0].Partition = strings.Repeat("p", 2000)
		s.planned(1, ofFiles(part(1, 2)), job.StreamPlan{Stream: 2, Plan: connector.Plan{Parts: []connector.Part{long}}})
		if d := cmp.Diff([]string{"1-2"}, s.parts(1)); d != "" {
			t.Error(d)
		}
		want := []string{"stream 2: part 0: partition name of 2000 bytes, expected 1 to 1024"}
		if d := cmp.Diff(want, s.unplanned()); d != "" {
			t.Error(d)
		}
	})
}

func TestDirectStreamsGetNothingAfterAStop(t *testing.T) {
	startDirect(t, nil, func(s *stage) {
		s.Must(&fsm.ApplicationStopped{App: s.app})
		s.executor.Must(&job.ReceiverStopped{App: s.app, Instance: s.instance, Message: "drained"})
		s.Until("the last batch is given", func() bool { return s.Rig.App(s.app).LastGiven })
		if s.asked(1) != nil || len(s.unplanned()) > 0 {
			t.Error("a batch after the stop was to be planned")
		}
	})
}

func TestStreamThatCannotBePlannedDoesNotHoldUpTheOthers(t *testing.T) {
	startDirect(t, func(c *fsm.ApplicationSubmitted) {
		c.Inputs = append(c.Inputs, fsm.InputStream{Stream: 2, Source: "files"}, fsm.InputStream{Stream: 3, Source: "files"})
	}, func(s *stage) {
		s.planned(1, job.StreamPlan{Stream: 2, Error: "no such directory"}, ofFiles(part(1, 2)))
		if d := cmp.Diff([]string{"1-2"}, s.parts(1)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"stream 2: no such directory; stream 3: not planned"}, s.unplanned()); d != "" {
			t.Error(d)
		}
	})
}

// BenchmarkFillWithoutDirectStreams measures what planning costs a turn of applications that have nothing to plan.
func BenchmarkFillWithoutDirectStreams(b *testing.B) {
	r := drivertest.NewRaft()
	term := r.Gain()
	apply := func(c fsm.Command) uint64 {
		res, err := r.Apply(term, c)
		if err != nil || res.Outcome != fsm.Done {
			b.Fatal(res, err)
		}
		return res.Index
	}
	apply(&fsm.Epoch{Term: term, Leader: drivertest.Node})
	commands := map[id.App]fsm.Command{}
	for i := range 100 {
		app := id.App(apply(&fsm.ApplicationSubmitted{
			Name: fmt.Sprint("app", i), Program: "p", BatchMS: 1000, BlockMS: 200, Partitions: 2, Factor: 1,
			Inputs: []fsm.InputStream{{Stream: 0, Source: strings.Repeat("s", 10), Receiver: true}},
		}))
		commands[app] = &fsm.BlocksAllocated{App: app, From: 1000, To: 1000}
	}
	v := r.View()
	p := newPlans(driver.NewHub(r, slog.New(slog.DiscardHandler)), 1, func(id.App) bool { return false }, nil, slog.New(slog.DiscardHandler))
	for b.Loop() {
		p.fill(v, commands)
	}
	if len(commands) != 100 {
		b.Fatal("an allocation was held up")
	}
}
