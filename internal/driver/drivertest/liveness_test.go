package drivertest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/batches"
	"github.com/raftstream/raftstream/internal/driver/cleaning"
	"github.com/raftstream/raftstream/internal/driver/coordinators"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/driver/executors"
	"github.com/raftstream/raftstream/internal/driver/receivers"
	"github.com/raftstream/raftstream/internal/driver/repair"
	"github.com/raftstream/raftstream/internal/id"
)

// ordeal is a driver with all duties over a ledger whose proposals get lost, workers in trouble, and users who stop and
// resume applications at the worst moments.
type ordeal struct {
	*drivertest.Rig
	r       *rand.Rand
	apps    []id.App
	stopped map[id.App]bool // a stop of it was committed

	mu    sync.Mutex // of what follows, which proposals read
	term  uint64
	dice  *rand.Rand
	calm  bool
	hands map[string]*hand
}

// hand is a worker's process.
type hand struct {
	*worker
	kill context.CancelFunc
}

const ordealStep = 3 * time.Second

// TestEveryApplicationGoesOnOrComesToItsEnd is liveness (rules 3, 4, 8, 10, 11): whatever happened in whatever order,
// once the faults stop every application that was stopped reaches its end, and every other one goes on.
func TestEveryApplicationGoesOnOrComesToItsEnd(t *testing.T) {
	first := rand.Uint64()
	runs := 25
	if testing.Short() {
		runs = 5
	}
	for seed := first; seed < first+uint64(runs); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { startOrdeal(t, seed).run() })
		})
	}
}

func startOrdeal(t *testing.T, seed uint64) *ordeal {
	clock := batches.NewClock(drivertest.Node, 0)
	o := &ordeal{
		r: rand.New(rand.NewPCG(seed, 1)), dice: rand.New(rand.NewPCG(seed, 2)), calm: true,
		stopped: map[id.App]bool{}, hands: map[string]*hand{},
	}
	o.Rig = drivertest.Start(t, clock.Observe, func(r *drivertest.Rig) []driver.Duty {
		r.Raft.Before = o.mayGetLost
		return []driver.Duty{
			executors.New(r.Hub, nil, r.Logger), receivers.New(r.Hub, r.Logger), coordinators.New(r.Hub, r.Logger),
			batches.New(r.Hub, clock, r.Logger), cleaning.New(r.Hub, r.Logger), repair.New(r.Hub, r.Logger),
		}
	})
	o.Rig.Lead()
	o.term = 1
	for _, name := range []string{"a", "b", "c"} {
		o.birth(name, 1)
	}
	return o
}

var errOrdeal = errors.New("outcome is unknown")

// mayGetLost loses some proposals before, and some answers after they took effect.
func (o *ordeal) mayGetLost(_ context.Context, step any) error {
	c, ok := step.(fsm.Command)
	if _, epoch := step.(*fsm.Epoch); !ok || epoch {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calm {
		return nil
	}
	switch o.dice.IntN(40) {
	case 0:
		return errOrdeal
	case 1:
		return id.ErrOverloaded
	case 2:
		if _, err := o.Raft.Apply(o.term, c); err != nil {
			return err
		}
		return errOrdeal
	}
	return nil
}

func (o *ordeal) birth(name string, generation uint64) {
	w := &worker{
		dial: o.Hub.Dial, receivers: map[id.App]*instance{}, acked: map[id.App]int64{},
		hello: job.Hello{Store: id.Store(name), Generation: generation, Name: name, Addr: name + ":1", Slots: 1, Build: "build"},
	}
	ctx, kill := context.WithCancel(context.Background())
	o.hands[name] = &hand{w, kill}
	w.done.Go(func() { w.run(ctx) })
}

func (o *ordeal) death(name string) {
	h := o.hands[name]
	h.kill()
	h.done.Wait()
}

func (o *ordeal) hand() string { return []string{"a", "b", "c"}[o.r.IntN(3)] }

func (o *ordeal) setCalm(calm bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calm = calm
}

func (o *ordeal) run() {
	defer func() {
		for name := range o.hands {
			o.death(name)
		}
	}()
	o.setCalm(false)
	for range 30 {
		o.step()
		time.Sleep(time.Duration(o.r.Int64N(int64(ordealStep))))
		if err := o.View().Check(); err != nil {
			o.Fatal(err)
		}
	}
	o.setCalm(true)
	if _, leading := o.Driver.Leading(); !leading {
		o.gain()
	}
	for name, h := range o.hands {
		o.death(name)
		o.birth(name, h.hello.Generation+1)
	}
	for _, n := range o.apps {
		o.judge(n)
	}
}

func (o *ordeal) gain() {
	o.mu.Lock()
	o.term = o.Raft.Gain()
	o.mu.Unlock()
}

// step does one thing that may happen.
func (o *ordeal) step() {
	switch o.r.IntN(12) {
	case 0, 1:
		if len(o.apps) < 4 {
			o.submit()
		}
	case 2:
		o.Raft.Lose()
		time.Sleep(time.Duration(o.r.Int64N(int64(2 * executors.Silence))))
		o.gain()
	case 3:
		name := o.hand()
		generation := o.hands[name].hello.Generation
		o.death(name)
		time.Sleep(time.Duration(o.r.Int64N(int64(2 * executors.Silence))))
		o.birth(name, generation+1)
	case 4:
		if all := o.Hub.All(); len(all) > 0 {
			all[o.r.IntN(len(all))].Close()
		}
	case 5, 6:
		o.hands[o.hand()].suffer(trouble{fails: o.r.IntN(3) == 0, misses: o.r.IntN(2) == 0, refuses: o.r.IntN(3) == 0})
	case 7:
		for _, s := range []string{"a", "b", "c"} {
			o.hands[s].suffer(trouble{})
		}
	case 8:
		o.ask(func(a *fsm.App) fsm.Command { return &fsm.ApplicationStopped{App: a.ID, Now: o.r.IntN(3) == 0} })
	case 9, 10:
		o.ask(func(a *fsm.App) fsm.Command {
			return &fsm.ApplicationResumed{App: a.ID, Prev: a.Resumed, AcceptLoss: o.r.IntN(2) == 0}
		})
	case 11:
		if v := o.View(); len(o.apps) > 0 { // an executor whose session ends while its reports are under way
			for s := range v.Sessions() {
				_, _ = o.Driver.Propose(o.Context(), &fsm.SessionClosed{Session: s.ID, Reason: "ordeal"})
				break
			}
		}
	}
}

func (o *ordeal) submit() {
	c := &fsm.ApplicationSubmitted{
		RequestID: fmt.Sprint(len(o.apps)), Name: fmt.Sprint(len(o.apps)), Program: "p", BatchMS: 200, BlockMS: 50, Partitions: 1,
		Factor: 1, Build: "build", Inputs: []fsm.InputStream{{Stream: 0, Receiver: true}}, NowMS: time.Now().UnixMilli(),
	}
	if o.r.IntN(2) == 0 {
		c.Factor = 2
		c.Inputs = append(c.Inputs, fsm.InputStream{Stream: 1, Source: "direct"})
		c.States = []fsm.StateStream{{Stream: 5, SlideMS: 200, Partitions: 1}}
	}
	if r, ok := o.propose(c); ok && r.Outcome == fsm.Done {
		o.apps = append(o.apps, id.App(r.Index))
	}
}

// ask is a user's command on some application.
func (o *ordeal) ask(command func(*fsm.App) fsm.Command) {
	if len(o.apps) == 0 {
		return
	}
	n := o.apps[o.r.IntN(len(o.apps))]
	c := command(o.App(n))
	r, ok := o.propose(c)
	if _, stop := c.(*fsm.ApplicationStopped); stop && ok && r.Outcome == fsm.Done {
		o.stopped[n] = true
	}
}

// propose repeats a command until its outcome is known, as a client does.
func (o *ordeal) propose(c fsm.Command) (fsm.Result, bool) {
	for range 200 {
		if r, err := o.Driver.Propose(o.Context(), c); err == nil && r.Outcome != fsm.Limited {
			return r, true
		}
		time.Sleep(50 * time.Millisecond)
	}
	o.Fatalf("%T: no answer", c)
	return fsm.Result{}, false
}

// judge waits until the application has come to its end, or has caught up with the time and goes on. A failed one
// waits for its user, who resumes it.
func (o *ordeal) judge(n id.App) {
	o.Helper()
	from := o.App(n)
	soon := id.At(time.Now().Add(5 * time.Second))
	for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		a := o.App(n)
		if err := o.View().Check(); err != nil {
			o.Fatal(err)
		}
		switch {
		case a.State == fsm.Stopped:
			if !o.stopped[n] {
				o.Errorf("application has ended though nobody stopped it: %+v", *a)
			}
			if a.Processed+a.Discarded != a.Received {
				o.Errorf("%d records received, %d processed, %d discarded", a.Received, a.Processed, a.Discarded)
			}
			return
		case a.State == fsm.Failed:
			o.propose(&fsm.ApplicationResumed{App: n, Prev: a.Resumed})
		case !o.stopped[n] && a.State == fsm.Running && a.Completed > soon && a.Received > from.Received:
			return
		}
	}
	a := o.App(n)
	in, _ := o.View().Receiver(n, 0)
	o.Fatalf("stopped %t, but after ten minutes without faults it is\n%+v\nreceiver %+v", o.stopped[n], *a, in)
}
