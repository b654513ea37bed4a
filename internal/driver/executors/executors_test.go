package executors

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, test func(r *drivertest.Rig)) { startProbing(t, nil, test) }

func startProbing(t *testing.T, refuses Refuses, test func(r *drivertest.Rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := drivertest.Start(t, nil, func(r *drivertest.Rig) []driver.Duty {
			return []driver.Duty{New(r.Hub, refuses, r.Logger)}
		})
		r.Lead()
		test(r)
	})
}

func isOpen(r *drivertest.Rig, e *drivertest.Executor) bool {
	_, ok := r.View().Session(e.Session())
	return ok
}

// Rule 3: all of the tests below.

func TestDeadExecutorsSessionIsClosedAtOnce(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := r.Executor("a")
		e.Die()
		began := time.Now()
		r.Until("the session is closed", func() bool { return !isOpen(r, e) })
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestLostConnectionHasThreeSecondsToComeBack(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		back, away := r.Executor("a"), r.Executor("b")
		session := back.Session()
		back.Close()
		away.Close()
		time.Sleep(Silence - 10*time.Millisecond)
		if !isOpen(r, back) || !isOpen(r, away) {
			t.Error("a session was closed too early")
		}
		back.Connect()
		time.Sleep(20 * time.Millisecond)
		if back.Session() != session || !isOpen(r, back) {
			t.Error("the executor that came back has lost its session")
		}
		if isOpen(r, away) {
			t.Errorf("the session of the other one is open after %v", Silence)
		}
	})
}

func TestExecutorsHaveThreeSecondsToFindANewLeader(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		found, gone := r.Executor("a"), r.Executor("b")
		r.Raft.Lose()
		time.Sleep(time.Hour)
		if !isOpen(r, found) {
			t.Fatal("a session was closed without a leader")
		}
		r.Lead()
		time.Sleep(time.Second)
		found.Connect()
		time.Sleep(Silence)
		if !isOpen(r, found) {
			t.Error("the executor that found the leader has lost its session")
		}
		if isOpen(r, gone) {
			t.Error("the session of the one that did not is open")
		}
	})
}

func TestNewLeaderEndsTheSessionOfAProcessWhosePortRefuses(t *testing.T) {
	dead := map[string]bool{"dead:7077": true}
	refuses := func(_ context.Context, addr string) bool { return dead[addr] }
	startProbing(t, refuses, func(r *drivertest.Rig) {
		slow, dead := r.Executor("slow"), r.Executor("dead")
		r.Raft.Lose()
		slow.Close()
		dead.Close()
		time.Sleep(time.Hour)
		began := time.Now()
		r.Lead()
		r.Until("the session of the dead one is closed", func() bool { return !isOpen(r, dead) })
		if took := time.Since(began); took < 2*probeEvery || took > 3*probeEvery {
			t.Errorf("it took %v, expected three refused dials, one every %v", took, probeEvery)
		}
		time.Sleep(Silence - time.Second)
		if !isOpen(r, slow) {
			t.Error("the session of the one that listens was closed as well")
		}
		slow.Connect()
	})
}

func TestRefusedDialsCountInARowAndForOneLossOnly(t *testing.T) {
	var mu sync.Mutex
	dials := 0
	refuses := func(context.Context, string) bool {
		mu.Lock()
		defer mu.Unlock()
		dials++
		return dials%refusals != 0 // never so many in a row
	}
	startProbing(t, refuses, func(r *drivertest.Rig) {
		e := r.Executor("a")
		e.Close()
		time.Sleep(Silence - 10*time.Millisecond)
		if !isOpen(r, e) {
			t.Error("the session was closed although a dial was answered in between")
		}
		e.Connect()
		for range 5 { // two refused dials each time, then it is back
			mu.Lock()
			dials = 0
			mu.Unlock()
			e.Close()
			time.Sleep(probeEvery + probeEvery/2)
			e.Connect()
		}
		time.Sleep(time.Minute)
		if !isOpen(r, e) {
			t.Error("refused dials of several losses were added up")
		}
	})
}

func TestConnectedExecutorIsNotDialled(t *testing.T) {
	var connected atomic.Bool
	refuses := func(_ context.Context, addr string) bool {
		if connected.Load() {
			t.Errorf("%s was dialled", addr)
		}
		return true
	}
	startProbing(t, refuses, func(r *drivertest.Rig) {
		r.Executor("a")
		time.Sleep(time.Second)
		connected.Store(true)
		time.Sleep(time.Hour)
		connected.Store(false)
	})
}

// A session is in the ledger before its executor is connected: that moment is not an hour of silence.
func TestSessionThatWasJustOpenedHasTimeToConnect(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		time.Sleep(time.Hour)
		opened := id.Session(r.Must(&fsm.SessionOpened{Store: "s", Generation: 1, Name: "a", Addr: "a:7077"}))
		time.Sleep(Silence - 10*time.Millisecond)
		if _, open := r.View().Session(opened); !open {
			t.Error("it was closed before its executor had time to connect")
		}
		time.Sleep(time.Second)
		if _, open := r.View().Session(opened); open {
			t.Error("it is open although nobody ever connected")
		}
	})
}

func TestExecutorWhoseSessionIsOverMustDialAgain(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		e := r.Executor("a")
		r.Must(&fsm.SessionClosed{Session: e.Session()})
		r.Until("the connection is closed", func() bool { return len(r.Hub.All()) == 0 })
		e.Connect()
		time.Sleep(time.Hour)
		if !isOpen(r, e) || len(r.Hub.All()) != 1 {
			t.Error("the new session did not last")
		}
	})
}

func TestEveryExecutorKnowsThePeers(t *testing.T) {
	start(t, func(r *drivertest.Rig) {
		a := r.Executor("a")
		b := r.Executor("b")
		knows := func(e *drivertest.Executor, n int) func() bool {
			return func() bool {
				p := drivertest.Last[*job.Peers](e)
				return p != nil && len(p.Peers) == n
			}
		}
		r.Until("a knows both", knows(a, 2))
		r.Until("b knows both", knows(b, 2))
		p := drivertest.Last[*job.Peers](a)
		want := job.Peer{Session: b.Session(), Store: "store-b", Name: "b", Addr: "b:7077", Slots: 2, Build: "build"}
		if p.Peers[1] != want || p.Index < uint64(b.Session()) {
			t.Errorf("got %+v of index %d, want %+v", p.Peers[1], p.Index, want)
		}
		b.Die()
		r.Until("a knows itself only", knows(a, 1))
		a.Connect()
		r.Until("a is told again after it connected again", knows(a, 1))
		n := len(drivertest.Orders[*job.Peers](a))
		r.Submit("wc", nil)
		time.Sleep(time.Second)
		if now := len(drivertest.Orders[*job.Peers](a)); now != n {
			t.Errorf("%d tables were sent although nothing changed", now-n)
		}
	})
}

// evidence is what a test knows of processes.
type evidence struct {
	mu      sync.Mutex
	over    map[id.Store]uint64 // generations below are over
	changed chan struct{}
}

func (e *evidence) Dead(s id.Store, generation uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return generation < e.over[s]
}

func (e *evidence) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

func (e *evidence) kill(s id.Store, generation uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over[s] = generation + 1
	close(e.changed)
	e.changed = make(chan struct{})
}

func TestEvidenceOfDeathEndsTheSessionAtOnceAndNoLaterStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &evidence{over: map[id.Store]uint64{}, changed: make(chan struct{})}
		r := drivertest.Start(t, nil, func(r *drivertest.Rig) []driver.Duty {
			return []driver.Duty{New(r.Hub, nil, r.Logger).With(e)}
		})
		r.Lead()
		lost, held, other := r.Executor("a"), r.Executor("b"), r.Executor("c")
		lost.Close()
		began := time.Now()
		e.kill(lost.Hello.Store, lost.Hello.Generation)
		e.kill(held.Hello.Store, held.Hello.Generation) // its connection has not noticed yet
		r.Until("the sessions are closed", func() bool { return !isOpen(r, lost) && !isOpen(r, held) })
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		lost.Hello.Generation++
		lost.Connect()
		time.Sleep(time.Minute)
		if !isOpen(r, lost) || !isOpen(r, other) {
			t.Error("the session of a process that lives was closed")
		}
	})
}
