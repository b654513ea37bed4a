package drivertest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/batches"
	"github.com/raftstream/raftstream/internal/driver/cleaning"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

// Rules 9 and 10, invariant 3: the shortest batch interval is kept up with for a minute, and no batch time is left out
// when the leader changes on the way.
func TestShortestBatchesStayGapless(t *testing.T) {
	inBubble(t, func(c *cluster) {
		for _, w := range c.workers {
			w.hurry(time.Millisecond)
		}
		n := c.submit(fsm.MinIntervalMS)
		onTime := func(when string) {
			a := c.app(n, "there", func(*fsm.App) bool { return true })
			now := id.At(time.Now())
			if late := now - a.Allocated; late > 5*fsm.MinIntervalMS {
				c.Errorf("%s: the last batch time allocated is %d ms ago", when, late)
			}
			if a.Pending > 10 {
				c.Errorf("%s: %d batches are pending", when, a.Pending)
			}
		}
		time.Sleep(30 * time.Second)
		onTime("after half a minute")
		victim := c.leader().name
		c.kill(victim)
		c.leader(victim)
		c.app(n, "back in time", func(a *fsm.App) bool {
			return a.Pending <= 10 && id.At(time.Now())-a.Allocated <= 5*fsm.MinIntervalMS
		})
		c.start(victim)
		time.Sleep(30 * time.Second)
		onTime("after a minute and a new leader")
		c.gapless(n)
		c.finish(n)
	})
}

// gapless checks that the batches kept, of the last ten seconds, are one interval apart, up to the newest.
func (c *cluster) gapless(n id.App) {
	c.Helper()
	v := c.leader().raft.View()
	a, _ := v.App(n)
	kept, next := 0, id.Time(0)
	for b := range v.Batches(n, a.ZeroTime) {
		if next != 0 && b.Time != next {
			c.Errorf("batch %d follows, expected %d", b.Time, next)
		}
		next = a.Interval(b.Time, 1)
		kept++
	}
	if next != a.Interval(a.Allocated, 1) || kept < fsm.MaxKeptBatches {
		c.Errorf("%d batches kept, the last one before %d; allocated up to %d", kept, next, a.Allocated)
	}
}

// Rules 9 and 10: three days without a driver are 259,200 batches of a second. They are allocated up to the limit of
// pending batches, the rest as the oldest complete; the ledger never holds more than its limits say.
func TestThreeDaysOfDowntimeAreCaughtUpInSteps(t *testing.T) {
	const days = 3
	synctest.Test(t, func(t *testing.T) {
		clock := batches.NewClock(drivertest.Node, 0)
		r := drivertest.Start(t, clock.Observe, func(r *drivertest.Rig) []driver.Duty {
			return []driver.Duty{batches.New(r.Hub, clock, r.Logger), cleaning.New(r.Hub, r.Logger)}
		})
		r.Lead()
		e := r.Executor("a")
		n := r.Submit("wc", nil)
		instance := id.Instance(r.Must(&fsm.ReceiverScheduled{App: n, Session: e.Session()}))
		e.Must(&job.ReceiverStarted{App: n, Instance: instance})
		office := id.Office(r.Must(&fsm.CoordinatorAssigned{App: n, Session: e.Session()}))
		e.Add(id.Block{App: n, Instance: instance, Number: 1}, 7)
		r.Raft.Lose()
		time.Sleep(days * 24 * time.Hour)
		r.Lead()
		steps, most := 0, 0
		for behind := true; behind; steps++ {
			r.Until("a step is allocated", func() bool {
				a := r.App(n)
				behind = id.At(time.Now())-a.Allocated >= 1000
				return a.Pending == fsm.MaxPending || !behind
			})
			a, kept := r.App(n), 0
			for range r.View().Batches(n, 0) {
				kept++
			}
			most = max(most, kept)
			for at := a.Interval(a.Completed, 1); at <= a.Allocated; at = a.Interval(at, 1) {
				r.Must(&fsm.BatchCompleted{App: n, Time: at, Office: office, Attempt: r.View().Attempt(n, at)})
			}
		}
		a := r.App(n)
		if passed := a.Completed - a.ZeroTime; passed < days*24*60*60*1000 {
			t.Errorf("completed %d ms after zero time, expected three days at least", passed)
		}
		if a.Processed != 7 {
			t.Errorf("%d records processed, expected 7", a.Processed)
		}
		if limit := fsm.MaxKeptBatches + 2*fsm.MaxPending; most > limit {
			t.Errorf("the ledger held %d batches, expected at most %d", most, limit)
		}
		t.Logf("caught up in %d steps, at most %d batches in the ledger", steps, most)
		if want := days * 24 * 3600 / fsm.MaxPending; steps < want || steps > want+10 {
			t.Errorf("%d steps, expected about %d", steps, want)
		}
	})
}
