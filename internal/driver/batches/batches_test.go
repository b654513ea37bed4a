package batches

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

// pass lets time pass, which costs none under synctest.
func pass(d time.Duration) { time.Sleep(d) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a rig with the duty, one executor that coordinates, and one application with an instance that adds blocks.
type stage struct {
	*drivertest.Rig
	executor *drivertest.Executor
	app      id.App
	instance id.Instance
	added    uint64
}

func start(t *testing.T, change func(*fsm.ApplicationSubmitted), test func(s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		clock := NewClock(drivertest.Node, 0)
		s := &stage{Rig: drivertest.Start(t, clock.Observe, func(r *drivertest.Rig) []driver.Duty {
			return []driver.Duty{New(r.Hub, clock, r.Logger)}
		})}
		s.Lead()
		s.executor = s.Executor("a")
		s.app = s.Submit("wc", change)
		s.instance = id.Instance(s.Must(&fsm.ReceiverScheduled{App: s.app, Session: s.executor.Session()}))
		s.executor.Must(&job.ReceiverStarted{App: s.app, Instance: s.instance})
		s.office(0)
		test(s)
	})
}

// office gives the executor the office of coordinator, after prev.
func (s *stage) office(prev id.Office) id.Office {
	s.Helper()
	return id.Office(s.Must(&fsm.CoordinatorAssigned{App: s.app, Session: s.executor.Session(), Prev: prev}))
}

// add adds a block of ten records.
func (s *stage) add() id.Block {
	s.Helper()
	s.added++
	n := id.Block{App: s.app, Instance: s.instance, Number: s.added}
	s.executor.Add(n, 10)
	return n
}

// orders lists the batch times that were ordered since the last connection.
func (s *stage) orders() []id.Time {
	var times []id.Time
	for _, b := range drivertest.Orders[*job.Batch](s.executor) {
		times = append(times, b.Time)
	}
	return times
}

// zero gives the batch time n intervals after zero time.
func (s *stage) zero(n int64) id.Time {
	a := s.Rig.App(s.app)
	return a.Interval(a.ZeroTime, n)
}

// run reports the batch as the coordinator does that was ordered to run it.
func (s *stage) run(n int64) (job.Reply, error) {
	s.Helper()
	s.Until("the batch is ordered", func() bool { return s.ordered(n) != nil })
	return s.executor.Request(&job.BatchReport{App: s.app, Time: s.zero(n), Authority: s.ordered(n).Authority, Tries: 1})
}

func (s *stage) complete(n int64) {
	s.Helper()
	if reply, err := s.run(n); err != nil || reply.Outcome != job.Done {
		s.Fatalf("batch %d: %+v, %v", n, reply, err)
	}
}

// ordered gives the last order to run a batch.
func (s *stage) ordered(n int64) *job.Batch {
	var last *job.Batch
	for _, b := range drivertest.Orders[*job.Batch](s.executor) {
		if b.Time == s.zero(n) {
			last = b
		}
	}
	return last
}

// allocations lists the ranges allocated.
func (s *stage) allocations() [][2]id.Time {
	var all [][2]id.Time
	for _, c := range s.Raft.Applied() {
		if b, ok := c.(*fsm.BlocksAllocated); ok {
			all = append(all, [2]id.Time{b.From, b.To})
		}
	}
	return all
}

func TestBatchesAreAllocatedOnTimeAndGivenToTheCoordinator(t *testing.T) {
	start(t, nil, func(s *stage) {
		block := s.add()
		s.Until("the first one is ordered", func() bool { return s.ordered(1) != nil })
		if late := time.Now().UnixMilli() - int64(s.zero(1)); late < 0 || late > 10 {
			t.Errorf("allocated %d ms after its time", late)
		}
		a := s.Rig.App(s.app)
		want := &job.Batch{
			Authority: id.Authority{
				Epoch: s.View().Leadership().Epoch, Office: a.Office, Attempt: s.View().Attempt(s.app, s.zero(1)),
			},
			App:          driver.AppOf(a),
			Time:         s.zero(1),
			Checkpointed: s.zero(0),
			Inputs: []job.Input{{Stream: 0, Time: s.zero(1), Blocks: []job.Block{
				{ID: block, Records: 10, Bytes: 100, CRC: 1, Stores: []id.Store{"store-a"}},
			}}},
		}
		if d := cmp.Diff(want, s.ordered(1)); d != "" {
			t.Error(d)
		}
		for n := int64(1); n <= 5; n++ {
			s.complete(n)
		}
		if d := cmp.Diff([]id.Time{s.zero(1), s.zero(2), s.zero(3), s.zero(4), s.zero(5)}, s.orders()); d != "" {
			t.Error(d)
		}
	})
}

func TestRememberedInputsComeWithTheBatch(t *testing.T) {
	start(t, func(c *fsm.ApplicationSubmitted) { c.RememberMS = 2500 }, func(s *stage) {
		for range 5 {
			s.add()
			time.Sleep(time.Second)
		}
		for n := int64(1); n <= 4; n++ {
			s.complete(n)
		}
		s.Until("the fifth one is ordered", func() bool { return s.ordered(5) != nil })
		var times []id.Time
		for _, in := range s.ordered(5).Inputs {
			times = append(times, in.Time)
		}
		if d := cmp.Diff([]id.Time{s.zero(3), s.zero(4), s.zero(5)}, times); d != "" {
			t.Error(d)
		}
	})
}

func TestCoordinatorIsGivenTwoBatchesAtATime(t *testing.T) {
	start(t, nil, func(s *stage) {
		time.Sleep(10 * time.Second)
		if d := cmp.Diff([]id.Time{s.zero(1), s.zero(2)}, s.orders()); d != "" {
			t.Error(d)
		}
		s.complete(1)
		s.Until("the next one is ordered", func() bool { return s.ordered(3) != nil })
	})
}

// Rule 9 and invariant 3: the times that passed without a leader are allocated as one command when there is one again;
// the first takes everything that is queued. Then pending and downtime batches run in order of time.
func TestDowntimeBatchesAfterAFailover(t *testing.T) {
	start(t, nil, func(s *stage) {
		s.add()
		time.Sleep(2500 * time.Millisecond)
		before := len(s.allocations())
		s.add()
		s.Raft.Lose()
		time.Sleep(5 * time.Second)
		s.Lead()
		s.executor.Connect()
		s.Until("the downtime is allocated", func() bool { return len(s.allocations()) > before })
		if d := cmp.Diff([2]id.Time{s.zero(3), s.zero(7)}, s.allocations()[before]); d != "" {
			t.Error(d)
		}
		for n := int64(1); n <= 8; n++ {
			s.complete(n)
			records := int64(0)
			if n == 1 || n == 3 {
				records = 10
			}
			if b, _ := s.View().Batch(s.app, s.zero(n)); b.Records != records {
				t.Errorf("batch %d has %d records, expected %d", n, b.Records, records)
			}
		}
		if late := s.Rig.App(s.app).Allocated - id.At(time.Now()); late < -1000 {
			t.Errorf("the last allocation is %d ms behind", -late)
		}
	})
}

// Rule 1: what was ordered is ordered again on a new connection, under the same authority; a new office, or a
// resumption, is a higher attempt, and the report of the older one is refused (rule 6).
func TestOrdersCiteTheNewestAuthority(t *testing.T) {
	start(t, nil, func(s *stage) {
		s.Until("the batch is ordered", func() bool { return s.ordered(1) != nil })
		first := s.ordered(1).Authority
		s.executor.Connect()
		s.Until("it is ordered again", func() bool { return s.ordered(1) != nil })
		if again := s.ordered(1).Authority; again != first {
			t.Errorf("authority is %+v after the reconnect, expected %+v as before", again, first)
		}
		office := s.Rig.App(s.app).Office
		s.office(office)
		s.Until("the new office runs it", func() bool { return s.ordered(1).Authority.Office > office })
		second := s.ordered(1).Authority
		if !first.Older(second) || second.Attempt <= first.Attempt {
			t.Errorf("authority is %+v, expected it above %+v", second, first)
		}
		late, err := s.executor.Request(&job.BatchReport{App: s.app, Time: s.zero(1), Authority: first})
		if err != nil || late.Outcome != job.Refused {
			t.Errorf("the old coordinator's report: %+v, %v; expected it refused", late, err)
		}
		failed, err := s.executor.Request(&job.BatchReport{App: s.app, Time: s.zero(1), Authority: second, Error: "boom"})
		if err != nil || failed.Outcome != job.Done {
			t.Fatalf("the failure: %+v, %v", failed, err)
		}
		allocated := s.Rig.App(s.app).Allocated
		time.Sleep(5 * time.Second)
		if a := s.Rig.App(s.app); a.State != fsm.Failed || a.Allocated != allocated {
			t.Errorf("state %v, allocated up to %d; expected it failed at %d", a.State, a.Allocated, allocated)
		}
		s.Must(&fsm.ApplicationResumed{App: s.app, AcceptLoss: true})
		s.Until("it is ordered again", func() bool { return s.ordered(1).Authority.Attempt > second.Attempt })
		if !s.ordered(1).AcceptLoss {
			t.Error("the order does not say that loss is accepted")
		}
		s.complete(1)
		s.complete(2)
		if s.ordered(2).AcceptLoss {
			t.Error("loss is accepted for another batch than the one that failed")
		}
	})
}

// Rule 11 and invariant 10: draining, last allocation, ended; everything that was received is processed.
func TestGracefulStop(t *testing.T) {
	start(t, nil, func(s *stage) {
		time.Sleep(1500 * time.Millisecond)
		s.add()
		s.Must(&fsm.ApplicationStopped{App: s.app})
		s.add()
		time.Sleep(3 * time.Second)
		s.add()
		if s.Rig.App(s.app).LastGiven {
			t.Fatal("the last batch is given while the instance may add blocks")
		}
		s.executor.Must(&job.ReceiverStopped{App: s.app, Instance: s.instance, Message: "drained"})
		s.Until("the last batch is given", func() bool { return s.Rig.App(s.app).LastGiven })
		last := int64(s.Rig.App(s.app).Allocated-s.zero(0)) / 1000
		for n := int64(1); n <= last; n++ {
			s.complete(n)
		}
		s.Until("the application has ended", func() bool { return s.Rig.App(s.app).State == fsm.Stopped })
		if a := s.Rig.App(s.app); a.Processed != 30 || a.Received != 30 || a.Discarded != 0 {
			t.Errorf("%d of %d records processed, %d discarded; expected all 30", a.Processed, a.Received, a.Discarded)
		}
	})
}

func TestStopNowEndsAfterTheRunningBatch(t *testing.T) {
	start(t, nil, func(s *stage) {
		s.add()
		time.Sleep(1500 * time.Millisecond)
		s.add()
		time.Sleep(time.Second)
		s.add()
		s.Must(&fsm.ApplicationStopped{App: s.app, Now: true})
		s.complete(1)
		s.Until("the application has ended", func() bool { return s.Rig.App(s.app).State == fsm.Stopped })
		if a := s.Rig.App(s.app); a.Processed != 10 || a.Discarded != 20 {
			t.Errorf("%d records processed, %d discarded; expected 10 and 20", a.Processed, a.Discarded)
		}
	})
}

// Rule 10: ticks wait at the limit of pending batches, and none is left out after.
func TestTicksWaitAtTheLimitOfPendingBatches(t *testing.T) {
	start(t, func(c *fsm.ApplicationSubmitted) { c.BatchMS, c.RememberMS = 10, 10 }, func(s *stage) {
		time.Sleep(time.Minute)
		if a := s.Rig.App(s.app); a.Pending != fsm.MaxPending {
			t.Fatalf("%d batches pending, expected %d", a.Pending, fsm.MaxPending)
		}
		for n := int64(1); n <= 20; n++ {
			s.complete(n)
		}
		s.Until("their places are taken", func() bool { return s.Rig.App(s.app).Pending == fsm.MaxPending })
		if got, want := s.Rig.App(s.app).Allocated, s.zero(fsm.MaxPending+20); got != want {
			t.Errorf("allocated up to %d, expected %d", got, want)
		}
	})
}

// Rules 5 and 8: a batch that waits for a block hears of the copy that another store's inventory brings.
func TestPendingBatchIsOrderedAgainWhenItsStoresChange(t *testing.T) {
	start(t, nil, func(s *stage) {
		block := s.add()
		s.Until("the batch is ordered", func() bool { return s.ordered(1) != nil })
		attempt := s.ordered(1).Authority.Attempt
		count := func() (n int) {
			for _, at := range s.orders() {
				if at == s.zero(1) {
					n++
				}
			}
			return n
		}
		time.Sleep(5 * time.Second)
		if n := count(); n != 1 {
			t.Errorf("the batch was ordered %d times while nothing changed", n)
		}
		holder := drivertest.NewExecutor(s.Rig, s.Hub, "b").Connect()
		holder.Must(&job.Inventory{Blocks: []id.Block{block}, First: true, Last: true})
		told := time.Now()
		s.Until("the order names the copy", func() bool { return count() == 2 })
		if late := time.Since(told); late > time.Second {
			t.Errorf("the copy was told of after %v", late)
		}
		again := s.ordered(1)
		if stores := again.Inputs[0].Blocks[0].Stores; !slices.Contains(stores, holder.Hello.Store) {
			t.Errorf("stores are %v, expected %s among them", stores, holder.Hello.Store)
		}
		if again.Authority.Attempt != attempt {
			t.Errorf("attempt %d, expected %d as before: no work is done again", again.Authority.Attempt, attempt)
		}
	})
}
