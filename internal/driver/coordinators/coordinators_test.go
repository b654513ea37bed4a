package coordinators

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, test func(r *drivertest.Rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := drivertest.Start(t, nil, func(r *drivertest.Rig) []driver.Duty { return []driver.Duty{New(r.Hub, r.Logger)} })
		r.Lead()
		test(r)
	})
}

func TestOfficesAreSpread(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		var apps []id.App
		for _, name := range []string{"one", "two", "three", "four"} {
			apps = append(apps, r.Submit(name, nil))
		}
		time.Sleep(time.Second)
		if n := drivertest.Count[*fsm.CoordinatorAssigned](r); n != 0 {
			t.Errorf("%d offices given while nobody is there", n)
		}
		r.Executor("a")
		r.Until("all have a coordinator", func() bool { return drivertest.Count[*fsm.CoordinatorAssigned](r) == 4 })
		b := r.Executor("b")
		apps = append(apps, r.Submit("five", nil))
		r.Until("the new one is given to the idle executor", func() bool { return r.App(apps[4]).Coordinator == b.Session() })
		time.Sleep(time.Second)
		if n := drivertest.Count[*fsm.CoordinatorAssigned](r); n != 5 {
			t.Errorf("%d offices given, expected 5: they stay where they are", n)
		}
	})
}

// Rule 3: a coordinator's new session means a new office; rule 1: which is higher than the old one.
func TestOfficeEndsWithItsSession(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := r.Executor("a")
		app := r.Submit("wc", nil)
		r.Until("it has a coordinator", func() bool { return r.App(app).Coordinator == e.Session() })
		office := r.App(app).Office
		r.Must(&fsm.SessionClosed{Session: e.Session()})
		time.Sleep(time.Second)
		if c := r.App(app).Coordinator; c != 0 {
			t.Errorf("coordinator is session %d, expected none", c)
		}
		e.Connect()
		r.Until("it has one again", func() bool { return r.App(app).Coordinator == e.Session() })
		if now := r.App(app).Office; now <= office {
			t.Errorf("office %d, expected one above %d", now, office)
		}
	})
}

// An upgrade moves an application on when the last node of the binary that it was submitted with goes, not before.
func TestCoordinatorRunsTheBuildOfTheSubmissionIfThereIsOne(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		other := r.Executor("a")
		right := drivertest.NewExecutor(r, r.Hub, "b")
		right.Hello.Build = "another"
		right.Connect()
		app := r.Submit("wc", func(c *fsm.ApplicationSubmitted) { c.Build = "another" })
		r.Until("the right one coordinates", func() bool { return r.App(app).Coordinator == right.Session() })
		r.Must(&fsm.SessionClosed{Session: right.Session()})
		r.Until("the other one does", func() bool { return r.App(app).Coordinator == other.Session() })
	})
}
