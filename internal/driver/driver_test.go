package driver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
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

var quiet = slog.New(slog.DiscardHandler)

// diary is a duty that notes when it begins and ends.
type diary struct {
	name string
	mu   *sync.Mutex
	log  *[]string
	fail chan error // what Run returns with; may be nil
}

func (d diary) Name() string { return d.name }

func (d diary) note(what string, l driver.Ledger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*d.log = append(*d.log, fmt.Sprintf("%s %s in epoch %d", d.name, what, l.Epoch()))
}

func (d diary) Run(ctx context.Context, l driver.Ledger) error {
	d.note("begins", l)
	defer d.note("ends", l)
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.fail:
		return err
	}
}

// node is a driver under test over a Raft of one node.
type node struct {
	*testing.T
	raft   *drivertest.Raft
	hub    *driver.Hub
	driver *driver.Driver
	cancel context.CancelFunc
	done   chan error
	fail   chan error // ends the duty "two"

	mu    sync.Mutex
	diary []string
}

// run starts a driver with two duties. before is drivertest.Raft.Before.
func run(t *testing.T, before func(context.Context, any) error) *node {
	n := &node{T: t, raft: drivertest.NewRaft(), done: make(chan error, 1), fail: make(chan error)}
	n.raft.Before = before
	n.hub = driver.NewHub(n.raft, quiet)
	n.driver = driver.New(driver.Config{
		Raft: n.raft, Hub: n.hub, Node: drivertest.Node, Name: "n1", Addr: "127.0.0.1:1", Logger: quiet,
		Duties: []driver.Duty{
			diary{name: "one", mu: &n.mu, log: &n.diary},
			diary{name: "two", mu: &n.mu, log: &n.diary, fail: n.fail},
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	n.cancel = cancel
	go func() { n.done <- n.driver.Run(ctx) }()
	return n
}

// stop ends the driver and waits for it.
func (n *node) stop() {
	n.Helper()
	n.cancel()
	if err := <-n.done; !errors.Is(err, context.Canceled) {
		n.Errorf("driver ended with %v", err)
	}
	if _, leading := n.driver.Leading(); leading {
		n.Error("driver leads after its end")
	}
}

func (n *node) expectDiary(want ...string) {
	n.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.diary) // duties begin and end beside each other
	slices.Sort(want)
	if !slices.Equal(n.diary, want) {
		n.Errorf("got %q, want %q", n.diary, want)
	}
	n.diary = nil
}

func TestLeadershipIsOpenedThenServedThenRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := run(t, nil)
		synctest.Wait()
		n.expectDiary()
		term := n.raft.Gain()
		synctest.Wait()
		n.expectDiary("one begins in epoch 1", "two begins in epoch 1")
		v := n.raft.View()
		if l := v.Leadership(); l.Term != term || l.Leader != drivertest.Node || l.Addr != "127.0.0.1:1" {
			t.Errorf("leadership is %+v", l)
		}
		if v.Cluster() == "" {
			t.Error("the cluster has no id")
		}
		if epoch, leading := n.driver.Leading(); !leading || epoch != 1 {
			t.Errorf("leading is %v in epoch %d", leading, epoch)
		}
		n.raft.Lose()
		synctest.Wait()
		n.expectDiary("one ends in epoch 1", "two ends in epoch 1")
		cluster := v.Cluster()
		n.raft.Gain()
		synctest.Wait()
		n.expectDiary("one begins in epoch 3", "two begins in epoch 3")
		if got := n.raft.View().Cluster(); got != cluster {
			t.Errorf("cluster id changed from %s to %s", cluster, got)
		}
		n.stop()
		n.expectDiary("one ends in epoch 3", "two ends in epoch 3")
	})
}

func TestLossAndRegainWithinMilliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := run(t, nil)
		n.raft.Gain()
		synctest.Wait()
		n.expectDiary("one begins in epoch 1", "two begins in epoch 1")
		n.raft.Lose()
		n.raft.Gain() // before anybody could look: the driver hears of a new term only
		synctest.Wait()
		n.expectDiary("one ends in epoch 1", "two ends in epoch 1", "one begins in epoch 3", "two begins in epoch 3")
		n.stop()
	})
}

// block makes a Before that blocks one kind of step until its context ends, and a channel that tells of it.
func block(steps func(any) bool) (before func(context.Context, any) error, blocked chan struct{}) {
	blocked = make(chan struct{}, 1)
	return func(ctx context.Context, step any) error {
		if !steps(step) {
			return nil
		}
		blocked <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	}, blocked
}

func isBarrier(step any) bool { return step == "barrier" }
func isEpoch(step any) bool   { _, ok := step.(*fsm.Epoch); return ok }
func isNaming(step any) bool  { _, ok := step.(*fsm.ClusterNamed); return ok }

func TestEveryStepOfOpeningIsInterrupted(t *testing.T) {
	for name, step := range map[string]func(any) bool{"barrier": isBarrier, "epoch": isEpoch, "cluster id": isNaming} {
		t.Run("loss during "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before, blocked := block(step)
				n := run(t, before)
				n.raft.Gain()
				<-blocked
				n.raft.Lose()
				synctest.Wait()
				n.raft.Gain()
				<-blocked
				n.expectDiary()
				n.stop()
			})
		})
		t.Run("shutdown during "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before, blocked := block(step)
				n := run(t, before)
				n.raft.Gain()
				<-blocked
				n.stop()
				n.expectDiary()
			})
		})
	}
}

func TestFailedOpeningIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 3
		n := run(t, func(_ context.Context, step any) error {
			if isEpoch(step) && failures > 0 {
				failures--
				return id.ErrOverloaded
			}
			return nil
		})
		n.raft.Gain()
		time.Sleep(time.Second)
		n.expectDiary("one begins in epoch 1", "two begins in epoch 1")
		n.stop()
	})
}

func TestFailedDutyEndsAllAndIsOpenedAgain(t *testing.T) {
	for name, err := range map[string]error{"with an error": errors.New("broken"), "by itself": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := run(t, nil)
				n.raft.Gain()
				synctest.Wait()
				n.expectDiary("one begins in epoch 1", "two begins in epoch 1")
				n.fail <- err
				synctest.Wait()
				n.expectDiary("one ends in epoch 1", "two ends in epoch 1")
				time.Sleep(time.Second)
				if _, leading := n.driver.Leading(); !leading {
					t.Error("the leadership was not opened again")
				}
				n.stop()
			})
		})
	}
}

// Rule 1 and rule 6: what a deposed leader still proposes has no effect, and it is not told that its command was
// refused, because another leader may have made the same one take effect.
func TestDeposedLeadersProposalsHaveNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := run(t, nil)
		term := n.raft.Gain()
		synctest.Wait()
		e := drivertest.NewExecutor(t, n.hub, "a").Connect()
		if _, err := n.raft.Apply(term+1, &fsm.Epoch{Term: term + 1, Leader: "node-2"}); err != nil {
			t.Fatal(err)
		}
		r, err := n.driver.Propose(t.Context(), &fsm.SessionClosed{Session: e.Session()})
		if err == nil || errors.Is(err, id.ErrNotLeader) || errors.Is(err, id.ErrOverloaded) {
			t.Errorf("outcome %d, error %v; expected an error that leaves it unknown", r.Outcome, err)
		}
		if _, open := n.raft.View().Session(e.Session()); !open {
			t.Error("the proposal of the deposed leader took effect")
		}
		if reply, err := e.Request(&job.ReceiverStopped{App: 99}); err == nil {
			t.Errorf("the executor was told outcome %d, expected no answer", reply.Outcome)
		}
		n.stop()
	})
}

func TestProposalsNeedALeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, blocked := block(func(step any) bool { _, ok := step.(*fsm.SessionClosed); return ok })
		n := run(t, before)
		if _, err := n.driver.Propose(t.Context(), &fsm.SessionClosed{}); !errors.Is(err, id.ErrNotLeader) {
			t.Errorf("follower: got %v, want %v", err, id.ErrNotLeader)
		}
		n.raft.Gain()
		synctest.Wait()
		failed := make(chan error, 1)
		go func() {
			_, err := n.driver.Propose(t.Context(), &fsm.SessionClosed{})
			failed <- err
		}()
		<-blocked
		n.raft.Lose()
		if err := <-failed; err == nil || errors.Is(err, id.ErrNotLeader) {
			t.Errorf("in flight at the loss: got %v, expected an error that leaves the outcome unknown", err)
		}
		n.stop()
	})
}

func TestObserverIsToldEveryView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raft := drivertest.NewRaft()
		var mu sync.Mutex
		var newest uint64
		d := driver.New(driver.Config{Raft: raft, Hub: driver.NewHub(raft, quiet), Logger: quiet, Observe: func(v fsm.View) {
			mu.Lock()
			defer mu.Unlock()
			newest = v.Index()
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		for term := range uint64(50) {
			if _, err := raft.Apply(term+1, &fsm.Epoch{Term: term + 1, Leader: "node-2"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Millisecond)
		mu.Lock()
		if newest != 50 {
			t.Errorf("told up to %d, expected 50, although this node follows", newest)
		}
		mu.Unlock()
		cancel()
		<-done
	})
}
