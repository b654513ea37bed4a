package receivers

import (
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// serve does what executors do with the orders that they have: it says that instances run, and that those are drained
// that are told to stop. It gives how many receivers run on each.
func serve(r *drivertest.Rig, app id.App, executors ...*drivertest.Executor) map[*drivertest.Executor]int {
	r.Helper()
	running := map[*drivertest.Executor]int{}
	for _, e := range executors {
		for _, o := range drivertest.Orders[*job.StartReceiver](e) {
			v, ok := r.View().Receiver(app, o.Stream)
			if !ok || v.Instance != o.Instance || v.Session != e.Session() {
				continue
			}
			if v.State == tracker.Scheduled {
				e.Must(&job.ReceiverStarted{App: app, Stream: o.Stream, Instance: o.Instance})
			}
			if v.State == tracker.Active {
				running[e]++
			}
		}
		for _, o := range drivertest.Orders[*job.StopReceiver](e) {
			if v, ok := r.View().Receiver(app, o.Stream); ok && v.Instance == o.Instance && v.State == tracker.Active {
				if o.Discard {
					r.Errorf("stream %d is told to discard what it holds", o.Stream)
				}
				e.Must(&job.ReceiverStopped{App: app, Stream: o.Stream, Instance: o.Instance, Message: "drained"})
			}
		}
	}
	return running
}

func streams(n int, preferred string) func(*fsm.ApplicationSubmitted) {
	return func(c *fsm.ApplicationSubmitted) {
		c.Inputs = nil
		for i := range n {
			c.Inputs = append(c.Inputs, fsm.InputStream{Stream: id.Stream(i), Receiver: true, Preferred: preferred})
		}
	}
}

// Rule 4: the old instance drains and is closed before there is a new one.
func TestReceiverMovesToThePreferredNodeWhenItJoins(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		a := r.Executor("a")
		app := r.Submit("wc", streams(1, "b"))
		n := begin(r, a, app, 0)
		b := r.Executor("b")
		began := time.Now()
		r.Until("it runs there", func() bool { return serve(r, app, a, b)[b] == 1 })
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if now := receiver(r, app); now.Instance <= n || now.Errors != 0 {
			t.Errorf("receiver is %+v", *now)
		}
		for i := range r.View().Instances(app) {
			if i.ID == n && !i.Closed {
				t.Error("the old instance is open")
			}
		}
		pass(time.Hour)
		if got := len(drivertest.Orders[*job.StopReceiver](b)); got != 0 {
			t.Error("it was moved on")
		}
	})
}

func TestReceiversSpreadToAnExecutorThatJoinsOneEveryThirtySeconds(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		a := r.Executor("a")
		app := r.Submit("wc", streams(5, ""))
		r.Until("all run", func() bool { return serve(r, app, a)[a] == 5 })
		b := r.Executor("b")
		began := time.Now()
		for moved, after := range []time.Duration{0, moveEvery} {
			r.Until("one has moved", func() bool { return serve(r, app, a, b)[b] > moved })
			if took := time.Since(began); took < after || took > after+50*time.Millisecond {
				t.Errorf("the receiver moved after %v, expected %v", took, after)
			}
		}
		pass(time.Hour)
		if n := serve(r, app, a, b); n[a] != 3 || n[b] != 2 {
			t.Errorf("%d and %d receivers, expected 3 and 2", n[a], n[b])
		}
		if got := drivertest.Count[*fsm.ReceiverScheduled](r); got != 5+2 {
			t.Errorf("%d instances were granted, expected 5 and 2", got)
		}
	})
}

// Several applications see the same idle executor at once, and must not all go there.
func TestMovesOfManyApplicationsAddUp(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		a := r.Executor("a")
		var apps []id.App
		for _, name := range []string{"p", "q", "r", "s"} {
			apps = append(apps, r.Submit(name, streams(1, "")))
		}
		on := func(executors ...*drivertest.Executor) map[*drivertest.Executor]int {
			sum := map[*drivertest.Executor]int{}
			for _, app := range apps {
				for e, n := range serve(r, app, executors...) {
					sum[e] += n
				}
			}
			return sum
		}
		r.Until("all run", func() bool { return on(a)[a] == 4 })
		b := r.Executor("b")
		r.Until("half have moved", func() bool { return on(a, b)[b] == 2 })
		pass(time.Hour)
		if n := on(a, b); n[a] != 2 || n[b] != 2 {
			t.Errorf("%d and %d receivers, expected 2 and 2", n[a], n[b])
		}
		if got := drivertest.Count[*fsm.ReceiverScheduled](r); got != 4+2 {
			t.Errorf("%d instances were granted, expected 4 and 2", got)
		}
	})
}

func TestReceiverThatFailedLatelyStaysWhereItRuns(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		a, b := r.Executor("a"), r.Executor("b")
		app := r.Submit("wc", streams(1, "b"))
		n := begin(r, b, app, 0)
		b.Must(&job.ReceiverStopped{App: app, Instance: n, Error: "no such device"})
		begin(r, a, app, n)
		began := time.Now()
		pass(calm - 10*time.Second)
		r.Until("it is tried there again", func() bool { return serve(r, app, a, b)[b] == 1 })
		if took := time.Since(began); took < calm-2*time.Second {
			t.Errorf("it was moved back after %v, expected %v", took, calm)
		}
	})
}

func TestFailuresInARowMakeThePauseNotAllThatEverWere(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := r.Executor("a")
		app := r.Submit("wc", nil)
		n := begin(r, e, app, 0)
		for _, c := range []struct{ runs, pause time.Duration }{
			{0, time.Second}, {0, 2 * time.Second}, {steady - 20*time.Millisecond, 4 * time.Second}, {steady, time.Second}, {0, 2 * time.Second},
		} {
			pass(c.runs)
			began := time.Now()
			e.Must(&job.ReceiverStopped{App: app, Instance: n, Error: "connection refused"})
			n = begin(r, e, app, n)
			if took := time.Since(began).Round(100 * time.Millisecond); took != c.pause {
				t.Errorf("after a run of %v it was granted again after %v, expected %v", c.runs, took, c.pause)
			}
		}
	})
}

func TestReceiverIsToldItsRate(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := r.Executor("a")
		app := r.Submit("wc", func(c *fsm.ApplicationSubmitted) { c.Inputs[0].Rate = 500 })
		begin(r, e, app, 0)
		if o := drivertest.Last[*job.StartReceiver](e); o.Rate != 500 {
			t.Errorf("rate is %d, expected 500", o.Rate)
		}
	})
}
