package receivers

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// pass lets time pass, which costs none under synctest.
func pass(d time.Duration) { time.Sleep(d) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, test func(r *drivertest.Rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := drivertest.Start(t, nil, func(r *drivertest.Rig) []driver.Duty { return []driver.Duty{New(r.Hub, r.Logger)} })
		r.Lead()
		test(r)
	})
}

func receiver(r *drivertest.Rig, app id.App) *tracker.Receiver {
	r.Helper()
	v, ok := r.View().Receiver(app, 0)
	if !ok {
		r.Fatalf("application %d has no receiver", app)
	}
	return v
}

// begin waits until the executor is told to start an instance later than after, and says that it runs.
func begin(r *drivertest.Rig, e *drivertest.Executor, app id.App, after id.Instance) id.Instance {
	r.Helper()
	r.Until("the executor is told to start", func() bool {
		s := drivertest.Last[*job.StartReceiver](e)
		return s != nil && s.App.ID == app && s.Instance > after
	})
	n := drivertest.Last[*job.StartReceiver](e).Instance
	e.Must(&job.ReceiverStarted{App: app, Stream: 0, Instance: n})
	return n
}

func TestReceiversAreSpreadOverExecutors(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		a, b := r.Executor("a"), r.Executor("b")
		app := r.Submit("wc", func(c *fsm.ApplicationSubmitted) {
			c.Inputs = []fsm.InputStream{
				{Stream: 0, Receiver: true}, {Stream: 1, Receiver: true, Preferred: "b"}, {Stream: 2, Receiver: true}, {Stream: 3},
			}
		})
		orders := func(e *drivertest.Executor) int { return len(drivertest.Orders[*job.StartReceiver](e)) }
		r.Until("all are ordered to start", func() bool { return orders(a)+orders(b) == 3 })
		if at := receiver(r, app).Session; at != a.Session() {
			t.Errorf("stream 0 is received at session %d, expected the idle one, %d", at, a.Session())
		}
		if v, _ := r.View().Receiver(app, 1); v.Session != b.Session() {
			t.Errorf("stream 1 is received at session %d, expected the preferred one, %d", v.Session, b.Session())
		}
		start := drivertest.Orders[*job.StartReceiver](a)[0]
		if start.Epoch != r.View().Leadership().Epoch || start.App.Fingerprint != "f" || start.App.Spec.Name != "program" {
			t.Errorf("order is %+v", start)
		}
	})
}

func TestReceiverIsOrderedAgainAfterAReconnect(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := r.Executor("a")
		app := r.Submit("wc", nil)
		n := begin(r, e, app, 0)
		time.Sleep(time.Minute)
		if got := len(drivertest.Orders[*job.StartReceiver](e)); got != 1 {
			t.Errorf("%d orders on one connection, expected 1", got)
		}
		e.Connect()
		if again := begin(r, e, app, 0); again != n {
			t.Errorf("instance %d after the reconnect, expected %d as before", again, n)
		}
	})
}

// Rule 4: a new instance, elsewhere, with an index above the old one's.
func TestReceiverOfADeadExecutorIsGrantedToAnother(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		a, b := r.Executor("a"), r.Executor("b")
		app := r.Submit("wc", nil)
		n := begin(r, a, app, 0)
		a.Close()
		r.Must(&fsm.SessionClosed{Session: a.Session()})
		began := time.Now()
		begin(r, b, app, n)
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestFailedReceiverIsGrantedAgainWithBackOff(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		a, b := r.Executor("a"), r.Executor("b")
		app := r.Submit("wc", nil)
		n := begin(r, a, app, 0)
		at, other := a, b
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			began := time.Now()
			at.Must(&job.ReceiverStopped{App: app, Stream: 0, Instance: n, Error: "fingerprint differs"})
			at, other = other, at
			n = begin(r, at, app, n)
			if took := time.Since(began).Round(100 * time.Millisecond); took != pause*time.Second {
				t.Errorf("granted again after %v, expected %v", took, pause*time.Second)
			}
		}
	})
}

func TestExhaustedReceiverIsGrantedAgainAfterAPause(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := r.Executor("a")
		app := r.Submit("wc", nil)
		n := begin(r, e, app, 0)
		e.Must(&job.ReceiverStopped{App: app, Stream: 0, Instance: n, Message: "exhausted"})
		began := time.Now()
		begin(r, e, app, n)
		if took := time.Since(began); took < firstRetry-10*time.Millisecond {
			t.Errorf("granted again after %v, expected %v", took, firstRetry)
		}
	})
}

// The binary that the application was submitted with comes first, whoever else is there; the others only without it.
func TestReceiversRunOnTheBuildOfTheSubmissionIfThereIsOne(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		r.Executor("a")
		right := drivertest.NewExecutor(r, r.Hub, "b")
		right.Hello.Build = "another"
		right.Connect()
		app := r.Submit("wc", func(c *fsm.ApplicationSubmitted) { c.Build = "another" })
		n := begin(r, right, app, 0)
		r.Must(&fsm.SessionClosed{Session: right.Session()})
		r.Until("the other one has it", func() bool {
			now := receiver(r, app)
			return now.State == tracker.Scheduled && now.Instance > n && now.Session != right.Session()
		})
	})
}

// Rule 11: graceful stop drains, and has no use for an instance that never began.
func TestStopDrainsWhatRunsAndAbandonsWhatDoesNot(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := r.Executor("a")
		runs := r.Submit("runs", nil)
		n := begin(r, e, runs, 0)
		waits := r.Submit("waits", nil)
		r.Until("it is granted", func() bool { return receiver(r, waits).State == tracker.Scheduled })
		r.Must(&fsm.ApplicationStopped{App: runs})
		r.Must(&fsm.ApplicationStopped{App: waits})
		r.Until("one is told to stop", func() bool {
			s := drivertest.Orders[*job.StopReceiver](e)
			return len(s) > 0 && s[0].App == runs && s[0].Instance == n && !s[0].Discard
		})
		r.Until("the other one is abandoned", func() bool { return receiver(r, waits).State == tracker.Inactive })
		if receiver(r, runs).State != tracker.Active {
			t.Error("the receiver that drains was closed")
		}
		e.Connect()
		r.Until("it is told again after a reconnect", func() bool { return len(drivertest.Orders[*job.StopReceiver](e)) == 2 })
		e.Must(&job.ReceiverStopped{App: runs, Stream: 0, Instance: n, Message: "drained"})
		time.Sleep(time.Minute)
		if got := drivertest.Count[*fsm.ReceiverScheduled](r); got != 2 {
			t.Errorf("%d instances were granted, expected 2: none after the stop", got)
		}
	})
}

func TestStopNowDiscards(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := r.Executor("a")
		app := r.Submit("wc", nil)
		n := begin(r, e, app, 0)
		r.Must(&fsm.ApplicationStopped{App: app, Now: true})
		r.Until("the executor is told", func() bool {
			s := drivertest.Last[*job.StopReceiver](e)
			return s != nil && s.Instance == n && s.Discard
		})
	})
}
