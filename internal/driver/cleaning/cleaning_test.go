package cleaning

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

// Spark: JobGeneratorSuite.
func TestJobGeneratorSuite(t *testing.T) {
	t.Run("SPARK-6222: Do not clear received block data too soon", TestBlocksOfABatchThatDoesNotFinishStay)
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type stage struct {
	*drivertest.Rig
	executor *drivertest.Executor
	app      id.App
	instance id.Instance
	office   id.Office
	zero     id.Time
}

func start(t *testing.T, rememberMS int64, test func(s *stage)) {
	startWith(t, func(c *fsm.ApplicationSubmitted) { c.RememberMS = rememberMS }, test)
}

func startWith(t *testing.T, change func(*fsm.ApplicationSubmitted), test func(s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{Rig: drivertest.Start(t, nil, func(r *drivertest.Rig) []driver.Duty {
			return []driver.Duty{New(r.Hub, r.Logger)}
		})}
		s.Lead()
		s.executor = s.Executor("a")
		s.app = s.Submit("wc", change)
		s.zero = s.Rig.App(s.app).ZeroTime
		s.instance = id.Instance(s.Must(&fsm.ReceiverScheduled{App: s.app, Session: s.executor.Session()}))
		s.executor.Must(&job.ReceiverStarted{App: s.app, Instance: s.instance})
		s.office = id.Office(s.Must(&fsm.CoordinatorAssigned{App: s.app, Session: s.executor.Session()}))
		test(s)
	})
}

// batch adds a block, allocates the n-th batch and completes it.
func (s *stage) batch(n int64) {
	s.Helper()
	at := s.zero + id.Time(n*1000)
	s.executor.Add(id.Block{App: s.app, Instance: s.instance, Number: s.next()}, 1)
	s.Must(&fsm.BlocksAllocated{App: s.app, From: at, To: at})
	s.Must(&fsm.BatchCompleted{App: s.app, Time: at, Office: s.office, Attempt: s.View().Attempt(s.app, at)})
}

// next gives the number of the next block.
func (s *stage) next() uint64 {
	var last uint64
	for i := range s.View().Instances(s.app) {
		last = i.Last
	}
	return last + 1
}

// told gives the progress that the executor was told last.
func (s *stage) told() job.Progress {
	if p := drivertest.Last[*job.Progress](s.executor); p != nil {
		return *p
	}
	return job.Progress{}
}

// Invariant 8: the blocks of a batch go when no later batch can read them, and not before their release is committed.
func TestBatchesAreCleanedWhenNoLaterOneNeedsThem(t *testing.T) {
	start(t, 2000, func(s *stage) {
		for n := int64(1); n <= 5; n++ {
			s.batch(n)
		}
		s.Until("the executor knows", func() bool { return s.told().Cleaned == s.zero+3000 })
		p := s.told()
		want := job.Progress{
			Epoch: s.View().Leadership().Epoch, App: s.app, Completed: s.zero + 5000, Cleaned: s.zero + 3000, Checkpointed: s.zero,
			Instances: []job.InstanceProgress{{Instance: s.instance, Cleaned: 3, Last: 5}},
		}
		if d := cmp.Diff(want, p); d != "" {
			t.Error(d)
		}
		for _, p := range drivertest.Orders[*job.Progress](s.executor) {
			if p.Cleaned > max(p.Completed-2000, s.zero) {
				t.Errorf("cleaned up to %d with %d completed", p.Cleaned, p.Completed)
			}
		}
	})
}

// Spark's JobGeneratorSuite, SPARK-6222: the blocks of a batch that does not finish stay known, whatever comes after it.
func TestBlocksOfABatchThatDoesNotFinishStay(t *testing.T) {
	start(t, 1000, func(s *stage) {
		s.batch(1)
		s.batch(2)
		for n := uint64(3); n <= 10; n++ {
			s.executor.Add(id.Block{App: s.app, Instance: s.instance, Number: n}, 1)
			at := s.zero + id.Time(n*1000)
			s.Must(&fsm.BlocksAllocated{App: s.app, From: at, To: at})
		}
		time.Sleep(time.Minute)
		if a := s.Rig.App(s.app); a.Cleaned != s.zero+1000 || a.Completed != s.zero+2000 {
			t.Errorf("cleaned up to %d, completed up to %d", a.Cleaned, a.Completed)
		}
		if got := len(s.View().Input(s.app, s.zero+3000, 0)); got != 1 {
			t.Errorf("batch 3 has %d blocks, expected 1", got)
		}
	})
}

func TestProgressIsToldAfterEveryConnectAndOnChangeOnly(t *testing.T) {
	start(t, 1000, func(s *stage) {
		s.batch(1)
		s.batch(2)
		s.Until("the executor knows", func() bool { return s.told().Completed == s.zero+2000 })
		s.executor.Connect()
		s.Until("it is told again", func() bool { return s.told().Completed == s.zero+2000 })
		time.Sleep(time.Second)
		n := len(drivertest.Orders[*job.Progress](s.executor))
		s.executor.Add(id.Block{App: s.app, Instance: s.instance, Number: 3}, 1)
		time.Sleep(time.Second)
		if now := len(drivertest.Orders[*job.Progress](s.executor)); now != n {
			t.Errorf("told %d times more because of a block", now-n)
		}
		s.executor.Must(&job.ReceiverStopped{App: s.app, Instance: s.instance})
		s.Until("it is told of the closed instance, whose later blocks are orphans", func() bool {
			i := s.told().Instances
			return len(i) == 1 && i[0].Closed && i[0].Last == 3
		})
	})
}

func TestEndIsToldToEverybody(t *testing.T) {
	start(t, 1000, func(s *stage) {
		other := s.Executor("b")
		s.Must(&fsm.ApplicationStopped{App: s.app, Now: true})
		s.Must(&fsm.ApplicationEnded{App: s.app})
		for _, e := range []*drivertest.Executor{s.executor, other} {
			s.Until("it knows", func() bool { p := drivertest.Last[*job.Progress](e); return p != nil && p.Ended })
		}
	})
}

func TestManyEndedApplicationsDoNotFillTheQueue(t *testing.T) {
	start(t, 1000, func(s *stage) {
		s.Must(&fsm.ApplicationStopped{App: s.app, Now: true})
		s.Must(&fsm.ApplicationEnded{App: s.app})
		for range 950 {
			app := s.Submit("wc", func(c *fsm.ApplicationSubmitted) { c.RequestID = "" })
			s.Must(&fsm.ApplicationStopped{App: app, Now: true})
			s.Must(&fsm.ApplicationEnded{App: app})
		}
		s.executor.Connect()
		number := s.Hub.All()[0].Number()
		s.Until("all are told", func() bool { return len(drivertest.Orders[*job.Progress](s.executor)) >= 951 })
		if now := s.Hub.All()[0].Number(); now != number {
			t.Error("the connection was lost on the way")
		}
	})
}

// A batch without blocks holds nothing: cleaning costs an entry only when it frees blocks, or now and then.
func TestEmptyBatchesAreCleanedManyAtATime(t *testing.T) {
	start(t, 1000, func(s *stage) {
		empty := func(n int64) {
			at := s.zero + id.Time(n*1000)
			s.Must(&fsm.BlocksAllocated{App: s.app, From: at, To: at})
			s.Must(&fsm.BatchCompleted{App: s.app, Time: at, Office: s.office, Attempt: s.View().Attempt(s.app, at)})
			time.Sleep(time.Second)
		}
		for n := int64(1); n <= cleanEvery; n++ {
			empty(n)
		}
		if got := drivertest.Count[*fsm.BatchesCleaned](s.Rig); got != 0 {
			t.Errorf("%d commands to clean %d empty batches that are one too few", got, cleanEvery-1)
		}
		empty(cleanEvery + 1)
		if a := s.Rig.App(s.app); a.Cleaned != s.zero+cleanEvery*1000 {
			t.Errorf("cleaned up to %d after %d empty batches that nobody needs, expected %d", a.Cleaned, cleanEvery, s.zero+cleanEvery*1000)
		}
		s.batch(cleanEvery + 2)
		empty(cleanEvery + 3)
		if a := s.Rig.App(s.app); a.Cleaned != s.zero+(cleanEvery+2)*1000 {
			t.Errorf("cleaned up to %d, expected the blocks freed at once", a.Cleaned)
		}
		if got := drivertest.Count[*fsm.BatchesCleaned](s.Rig); got != 2 {
			t.Errorf("%d commands, expected 2", got)
		}
	})
}

// Rule 7: the input of batches that keyed state is computed again from stays until a checkpoint makes it needless, and
// executors hear of the checkpoint.
func TestInputStaysUntilKeyedStateIsCheckpointed(t *testing.T) {
	startWith(t, func(c *fsm.ApplicationSubmitted) {
		c.States = []fsm.StateStream{{Stream: 7, SlideMS: 1000, Partitions: 1}}
	}, func(s *stage) {
		for n := int64(1); n <= cleanEvery+2; n++ {
			s.batch(n)
		}
		time.Sleep(time.Minute)
		if a := s.Rig.App(s.app); a.Cleaned != s.zero {
			t.Errorf("cleaned up to %d without a checkpoint", a.Cleaned)
		}
		at := s.zero + 40_000
		b, _ := s.View().Batch(s.app, at)
		s.executor.Must(&job.CheckpointReport{
			App: s.app, Authority: id.Authority{Office: s.office}, Version: job.Version{Time: at, Attempt: b.Attempt}, Full: true,
			Pieces: []job.Piece{{Stream: 7, Block: job.Block{
				ID:      id.Block{App: s.app, Stream: 7, Instance: id.Instance(s.office), Number: 1 << job.PieceBits},
				Records: 1, Bytes: 1, Stores: []id.Store{s.executor.Hello.Store},
			}}},
		})
		s.Until("the executor knows", func() bool { return s.told().Cleaned == at && s.told().Checkpointed == at })
		time.Sleep(time.Minute)
		if a := s.Rig.App(s.app); a.Cleaned != at {
			t.Errorf("cleaned up to %d, expected the checkpoint's time %d", a.Cleaned, at)
		}
		refused := 0
		for _, c := range s.Raft.Applied() {
			if c, ok := c.(*fsm.BatchesCleaned); ok && c.UpTo > at {
				refused++
			}
		}
		if refused > 0 {
			t.Errorf("%d commands were to clean above the checkpoint", refused)
		}
	})
}

// Rule 12: a batch that only read directly is cleaned at once too: that moves the mark up to where people may clear up.
func TestDirectStreamsMarkMovesWhenTheirBatchIsCleaned(t *testing.T) {
	startWith(t, func(c *fsm.ApplicationSubmitted) {
		c.Inputs = append(c.Inputs, fsm.InputStream{Stream: 1, Source: "files"})
	}, func(s *stage) {
		for n := id.Time(1); n <= 2; n++ {
			at := s.zero + n*1000
			c := &fsm.BlocksAllocated{App: s.app, From: at, To: at}
			if n == 1 {
				c.Direct = []fsm.StreamPlan{{Stream: 1, Plan: connector.Plan{Mark: "day 1", Parts: []connector.Part{
					{Records: 1, Bytes: 1, Ranges: []connector.Range{{Partition: "p", First: 1, Last: 1}}},
				}}}}
			}
			s.Must(c)
			s.Must(&fsm.BatchCompleted{App: s.app, Time: at, Office: s.office, Attempt: s.View().Attempt(s.app, at)})
		}
		s.Until("the mark has moved", func() bool { return s.View().Mark(s.app, 1) == "day 1" })
	})
}
