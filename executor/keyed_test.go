package executor_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/vfs"
)

// inHouse runs a test with three members.
func inHouse(t *testing.T, checkpoint time.Duration, test func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, checkpoint, nil, "a", "b", "c")
		h.batches(3)
		test(h)
		h.finish()
	})
}

func TestKeyedStateGoesOn(t *testing.T) {
	inHouse(t, 3*time.Second, func(h *house) {
		h.batches(10)
		if n := drivertest.Count[*fsm.StateCheckpointed](h.Rig); n < 3 {
			t.Errorf("%d checkpoints, expected one every three batches", n)
		}
	})
}

func TestStateSurvivesItsExecutorBeforeAnyCheckpoint(t *testing.T) { // rule 7
	inHouse(t, time.Hour, func(h *house) {
		h.kill(h.other())
		h.batches(3)
	})
}

func TestStateSurvivesItsExecutorAfterACheckpoint(t *testing.T) { // rule 7
	inHouse(t, 3*time.Second, func(h *house) {
		h.batches(5)
		h.kill(h.other())
		h.batches(3)
	})
}

func TestStateSurvivesTheCoordinator(t *testing.T) { // rules 1, 3 and 7
	for name, every := range map[string]time.Duration{"with checkpoints": 2 * time.Second, "without": time.Hour} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, every, func(h *house) {
				h.kill(h.coordinator())
				h.batches(3)
			})
		})
	}
}

// Invariant 8: blocks up to the checkpoint are cleaned, and every process dies: what is left is the chain.
func TestStateIsRebuiltFromTheChainAlone(t *testing.T) {
	inHouse(t, 3*time.Second, func(h *house) {
		h.Until("blocks are cleaned", func() bool { return h.App(h.app).Cleaned >= h.App(h.app).ZeroTime+5000 })
		for _, name := range []string{"a", "b", "c"} {
			h.kill(name)
		}
		for _, name := range []string{"a", "b", "c"} {
			h.start(name)
		}
		h.batches(3)
	})
}

// Rules 5 and 7: blocks and pieces of checkpoints are copied again when their holder is gone for good, so that disk after
// disk may be lost.
func TestStateOutlivesEveryDisk(t *testing.T) {
	inHouse(t, 3*time.Second, func(h *house) {
		for _, name := range []string{"a", "b", "c"} {
			h.batches(4)
			h.kill(name)
			h.replace(name, "new-"+name)
			h.Until("every piece has its copies", func() bool { return h.repaired() })
		}
	})
}

// Rules 1, 3, 5 and 7 together: members die and come back at random, in the middle of batches and checkpoints, the
// leadership changes, and every total is that of the first lines.
func TestStateSurvivesWhateverDies(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	ms := func(n int) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(r.IntN(n)) * time.Millisecond
	}
	slow := func(ctx context.Context) {
		t := time.NewTimer(ms(60))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	for name, shared := range map[string]*vfs.Mem{"on executors": nil, "in a bucket": sharedDisk(t)} {
		t.Run(name, func(t *testing.T) { survive(t, shared, slow, ms) })
	}
}

func survive(t *testing.T, shared *vfs.Mem, slow func(context.Context), ms func(int) time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"a", "b", "c"}
		h := newHouseWith(t, shared, 2*time.Second, slow, names...)
		h.batches(3)
		for range 30 {
			name := names[ms(3)/time.Millisecond]
			switch dead := h.members[name].process == nil; {
			case dead:
				h.start(name)
			case ms(4) == 0:
				h.Raft.Lose()
				h.Lead()
			default:
				h.kill(name)
			}
			<-time.NewTimer(ms(4000)).C
			h.judge()
		}
		for _, name := range names {
			if h.members[name].process == nil {
				h.start(name)
			}
		}
		h.finish()
	})
}

// A process that was superseded while it made state must not bring it back: its delta is of an attempt that lost.
func TestStateOfASupersededAttemptIsNotGoneOnFrom(t *testing.T) { // rules 1, 6 and 7
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, time.Hour, nil, "a", "b", "c")
		h.batches(2)
		reached, open := make(chan struct{}), make(chan struct{})
		var held atomic.Bool
		hold := func(dataset.Task, int) {
			if held.CompareAndSwap(false, true) {
				close(reached)
				<-open // and looks at no context
			}
		}
		h.onState.Store(&hold)
		<-reached
		h.kill(h.coordinator()) // one of its tasks may be the one that is held up: then it ends with the process
		close(open)
		h.batches(5)
		h.finish()
	})
}
