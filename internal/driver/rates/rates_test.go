package rates

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/batches"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/driver/receivers"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tick is the step of a simulation.
const tick = 10 * time.Millisecond

// sim is an application with one receiver stream on one executor that coordinates too. Records are numbers: what a
// source offers is taken in as the driver allows, and a batch takes as long as its records need.
type sim struct {
	*drivertest.Rig
	limits   *driver.Limits
	executor *drivertest.Executor
	app      id.App
	instance id.Instance

	offered, speed int64 // records per second: of the source, of the executor
	owed           float64
	block          uint64
	taken          int64 // records taken in

	running *job.Batch
	end     time.Time
	done    id.Time
	skew    int64         // ms that the coordinator's clock jumps while a batch runs
	worst   time.Duration // longest time from a batch's time to its completion
	orders  int           // that were looked at, of the present connection
	rate    int64         // that the receiver was told, 0 for no limit
}

func start(t *testing.T, change func(*fsm.ApplicationSubmitted), test func(s *sim)) {
	synctest.Test(t, func(t *testing.T) {
		clock := batches.NewClock(drivertest.Node, 0)
		s := &sim{limits: driver.NewLimits(), speed: 10_000}
		s.Rig = drivertest.Start(t, clock.Observe, func(r *drivertest.Rig) []driver.Duty {
			return []driver.Duty{
				receivers.New(r.Hub, r.Logger).With(s.limits), batches.New(r.Hub, clock, r.Logger).With(s.limits),
				New(r.Hub, s.limits, r.Logger),
			}
		})
		s.Lead()
		s.executor = s.Executor("a")
		s.app = s.Submit("wc", change)
		s.Must(&fsm.CoordinatorAssigned{App: s.app, Session: s.executor.Session()})
		s.begin()
		test(s)
	})
}

// begin waits for a new instance of the receiver and says that it runs.
func (s *sim) begin() {
	s.Helper()
	before := s.instance
	s.block = 0
	s.Until("the receiver is to start", func() bool {
		for _, o := range drivertest.Orders[*job.StartReceiver](s.executor) {
			if o.Stream == 0 {
				s.instance = max(s.instance, o.Instance)
			}
		}
		return s.instance > before
	})
	s.executor.Must(&job.ReceiverStarted{App: s.app, Instance: s.instance})
}

// pass lets the source and the executor work for so long.
func (s *sim) pass(d time.Duration) {
	s.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(tick)
		s.obey()
		s.take()
		s.compute()
	}
}

// obey takes note of the rate that the driver told last.
func (s *sim) obey() {
	all := drivertest.Orders[job.ToExecutor](s.executor)
	for _, m := range all[min(s.orders, len(all)):] {
		switch m := m.(type) {
		case *job.StartReceiver:
			s.rate = m.Rate
		case *job.SetRate:
			if m.Instance == s.instance {
				s.rate = m.Rate
			}
		}
	}
	s.orders = len(all)
}

// take reports a block of what came in since the last tick.
func (s *sim) take() {
	rate := s.offered
	if s.rate > 0 {
		rate = min(rate, s.rate)
	}
	s.owed += float64(rate) * tick.Seconds()
	n := int64(s.owed)
	if n == 0 {
		return
	}
	s.owed -= float64(n)
	s.taken += n
	s.block++
	s.executor.Add(id.Block{App: s.app, Instance: s.instance, Number: s.block}, n)
}

// compute completes the batch that runs when its time is over, and begins the next one.
func (s *sim) compute() {
	s.Helper()
	now := time.Now()
	if b := s.running; b != nil && !now.Before(s.end) {
		took := s.took(b)
		s.executor.Must(&job.BatchReport{
			App: s.app, Time: b.Time, Authority: b.Authority, StartedMS: s.end.Add(-took).UnixMilli(), EndedMS: s.end.UnixMilli() + s.skew, Tries: 1,
		})
		s.running, s.done = nil, b.Time
		s.worst = max(s.worst, now.Sub(b.Time.Time()))
	}
	if s.running != nil {
		return
	}
	for _, b := range drivertest.Orders[*job.Batch](s.executor) {
		if b.Time > s.done {
			s.running, s.end = b, now.Add(s.took(b))
			return
		}
	}
}

func (s *sim) took(b *job.Batch) time.Duration {
	return time.Duration(size(b)) * time.Second / time.Duration(s.speed)
}

func size(b *job.Batch) (n int64) {
	for _, in := range b.Inputs {
		if in.Time != b.Time {
			continue
		}
		for _, x := range in.Blocks {
			n += x.Records
		}
		for _, p := range in.Parts {
			n += p.Records
		}
	}
	return n
}

// settled lets so much time pass and gives the records per second that were taken in meanwhile.
func (s *sim) settled(d time.Duration) int64 {
	s.Helper()
	s.worst = 0
	before := s.taken
	s.pass(d)
	return (s.taken - before) / int64(d/time.Second)
}

func TestOverloadedApplicationSettles(t *testing.T) {
	start(t, nil, func(s *sim) {
		s.offered = 50_000
		s.pass(90 * time.Second)
		t.Logf("overloaded, the latest batch was %v late", s.worst)
		if s.worst > 30*time.Second {
			t.Errorf("a batch was %v late", s.worst)
		}
		rate := s.settled(30 * time.Second)
		t.Logf("settled at %d records per second, the latest batch %v late", rate, s.worst)
		if rate < 7_000 || rate > 10_500 {
			t.Errorf("settled at %d records per second, expected about 10,000", rate)
		}
		if s.worst > 3*time.Second {
			t.Errorf("settled, a batch was %v late", s.worst)
		}
		if p := s.App(s.app).Pending; p > 3 {
			t.Errorf("settled, %d batches are pending", p)
		}
	})
}

func TestBurstIsOverTheSpeedIsBack(t *testing.T) {
	start(t, nil, func(s *sim) {
		s.offered = 50_000
		s.pass(20 * time.Second)
		if s.rate == 0 {
			t.Fatal("no limit in the burst")
		}
		s.offered = 1_000
		s.pass(60 * time.Second)
		if s.rate != 0 {
			t.Errorf("the burst is over, the limit is still %d", s.rate)
		}
		s.offered = 30_000
		if rate := s.settled(time.Second); rate < 29_000 {
			t.Errorf("%d records per second of a new burst, expected all: the application was idle", rate)
		}
	})
}

func TestIdleApplicationIsNeverLimited(t *testing.T) {
	start(t, nil, func(s *sim) {
		s.offered = 3_000
		if rate := s.settled(20 * time.Second); rate < 2_990 || s.rate != 0 {
			t.Errorf("%d records per second, limit %d", rate, s.rate)
		}
	})
}

// Spark: RateControllerSuite, ReceiverTrackerSuite.
func TestRateControllerSuite(t *testing.T) {
	t.Run("ReceiverRateController - published rates reach receivers", func(t *testing.T) {
		start(t, nil, func(s *sim) {
			for _, rate := range []int64{100, 200, 0, 300} {
				s.limits.Set(s.app, 0, rate)
				s.Until("the receiver is told", func() bool {
					o := drivertest.Last[*job.SetRate](s.executor)
					return o != nil && o.Instance == s.instance && o.App == s.app && o.Rate == rate
				})
			}
		})
	})
	t.Run("multiple rate controllers publish to their own receivers", func(t *testing.T) {
		two := func(c *fsm.ApplicationSubmitted) {
			c.Inputs = []fsm.InputStream{{Stream: 0, Receiver: true}, {Stream: 1, Receiver: true, Rate: 150}}
		}
		start(t, two, func(s *sim) {
			s.limits.Set(s.app, 0, 100)
			s.limits.Set(s.app, 1, 200)
			told := func(stream id.Stream, rate int64) func() bool {
				return func() bool {
					last := int64(-1)
					for _, o := range drivertest.Orders[*job.SetRate](s.executor) {
						if o.Stream == stream {
							last = o.Rate
						}
					}
					return last == rate
				}
			}
			s.Until("stream 0 has its rate", told(0, 100))
			s.Until("stream 1 has that of its graph, which is lower", told(1, 150))
		})
	})
}

func TestRestartOfAReceiverKeepsTheLimit(t *testing.T) {
	start(t, nil, func(s *sim) {
		s.limits.Set(s.app, 0, 700)
		s.executor.Must(&job.ReceiverStopped{App: s.app, Instance: s.instance, Error: "boom"})
		s.begin()
		if o := drivertest.Last[*job.StartReceiver](s.executor); o.Rate != 700 {
			t.Errorf("the new instance starts with the limit %d, expected 700", o.Rate)
		}
	})
	start(t, nil, func(s *sim) {
		s.limits.Set(s.app, 0, 700)
		s.executor.Connect()
		s.Until("the limit is told on the new connection", func() bool {
			o := drivertest.Last[*job.SetRate](s.executor)
			return o != nil && o.Rate == 700
		})
	})
}

// Spark: CheckpointSuite, "recovery maintains rate controller": it is there after a recovery and begins without an
// estimate.
func TestRecoveryMaintainsRateController(t *testing.T) {
	start(t, nil, func(s *sim) {
		s.offered = 50_000
		s.pass(60 * time.Second)
		if s.rate == 0 {
			t.Fatal("no limit before the leader changes")
		}
		s.Raft.Lose()
		s.Until("the leadership is over", func() bool { _, leading := s.Driver.Leading(); return !leading })
		if got := s.limits.Rate(s.App(s.app), 0); got != 0 {
			t.Errorf("the limit of a lost leadership is still %d", got)
		}
		s.Lead()
		s.executor.Connect()
		s.orders, s.running = 0, nil
		s.pass(90 * time.Second)
		if rate := s.settled(30 * time.Second); rate < 7_000 || rate > 10_500 {
			t.Errorf("settled at %d records per second under the new leader, expected about 10,000", rate)
		}
		if s.worst > 3*time.Second {
			t.Errorf("settled, a batch was %v late", s.worst)
		}
	})
}

func TestBatchesOfAnOlderLeadershipTeachNothing(t *testing.T) {
	start(t, nil, func(s *sim) {
		s.offered = 50_000
		s.pass(3 * time.Second) // the first batch runs, others wait
		s.Raft.Lose()
		s.Until("the leadership is over", func() bool { _, leading := s.Driver.Leading(); return !leading })
		old := s.App(s.app).Allocated
		s.Lead()
		s.executor.Connect()
		s.orders, s.running, s.offered = 0, nil, 0
		for s.done < old {
			s.pass(tick)
		}
		if got := s.limits.Rate(s.App(s.app), 0); got != 0 {
			t.Errorf("limit %d", got)
		}
	})
}

func TestClockThatIsSetTeachesNothing(t *testing.T) {
	for name, skew := range map[string]int64{"back": -3_600_000, "forth": 3_600_000} {
		t.Run(name, func(t *testing.T) {
			start(t, nil, func(s *sim) {
				s.offered, s.skew = 50_000, skew
				s.pass(20 * time.Second)
				if s.done == 0 {
					t.Fatal("no batch is done")
				}
				if s.rate != 0 {
					t.Errorf("limit %d", s.rate)
				}
			})
		})
	}
}

func TestFailedApplicationTeachesNothing(t *testing.T) {
	start(t, nil, func(s *sim) {
		s.offered = 1_000
		s.Until("a batch is ordered", func() bool { return drivertest.Last[*job.Batch](s.executor) != nil })
		b := drivertest.Last[*job.Batch](s.executor)
		now := time.Now().UnixMilli()
		s.executor.Must(&job.BatchReport{App: s.app, Time: b.Time, Authority: b.Authority, StartedMS: now, EndedMS: now + 10, Error: "boom", Tries: 4})
		time.Sleep(time.Hour)
		s.Must(&fsm.ApplicationResumed{App: s.app})
		s.Until("the batch is ordered again", func() bool {
			for _, again := range drivertest.Orders[*job.Batch](s.executor) {
				if again.Time == b.Time && again.Authority != b.Authority {
					s.running, s.end = again, time.Now()
				}
			}
			return s.running != nil
		})
		s.compute()
		if got := s.limits.Rate(s.App(s.app), 0); got != 0 {
			t.Errorf("limit %d after an hour of standing still", got)
		}
	})
}

func TestDirectStreamIsPlannedWithItsLimit(t *testing.T) {
	direct := func(c *fsm.ApplicationSubmitted) {
		c.BatchMS = 500
		c.Inputs = append(c.Inputs, fsm.InputStream{Stream: 1, Source: "files"})
	}
	start(t, direct, func(s *sim) {
		last := uint64(0)
		var taken int64
		answered := id.Time(0)
		second := func(n int) {
			for range n * int(time.Second/tick) {
				s.pass(tick)
				o := drivertest.Last[*job.PlanSources](s.executor)
				if o == nil || o.Time <= answered {
					continue
				}
				answered = o.Time
				records := int64(25_000) // of half a second
				for _, l := range o.Limits {
					if l.Stream == 1 {
						records = min(records, l.Records)
					}
				}
				taken += records
				r := connector.Range{Partition: "p", First: last + 1, Last: last + uint64(records)}
				last = r.Last
				s.executor.Must(&job.SourcesPlanned{App: s.app, Time: o.Time, Office: o.Office, Planned: o.Planned, Plans: []job.StreamPlan{
					{Stream: 1, Plan: connector.Plan{Parts: []connector.Part{{Records: records, Bytes: 1, Ranges: []connector.Range{r}}}}},
				}})
			}
		}
		second(60)
		s.worst, taken = 0, 0
		second(30)
		if rate := taken / 30; rate < 7_000 || rate > 10_500 {
			t.Errorf("settled at %d records per second, expected about 10,000", rate)
		}
		if s.worst > 3*time.Second {
			t.Errorf("settled, a batch was %v late", s.worst)
		}
	})
}

func TestLimitsOfOverApplicationsAreForgotten(t *testing.T) {
	start(t, nil, func(s *sim) {
		s.limits.Set(s.app, 0, 700)
		a := s.App(s.app)
		s.Must(&fsm.ApplicationStopped{App: s.app, Now: true})
		s.Until("the application is over", func() bool { s.pass(tick); return !s.App(s.app).Live() })
		s.Until("its limit is forgotten", func() bool { return s.limits.Rate(a, 0) == 0 })
	})
}
