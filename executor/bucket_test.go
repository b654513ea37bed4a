package executor_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/bucket"
	"github.com/raftstream/raftstream/internal/driver/drivertest"
	"github.com/raftstream/raftstream/internal/vfs"
)

// sharedDisk makes the disk of a bucket.
func sharedDisk(t *testing.T) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	if err := disk.MkdirAll("/shared/states"); err != nil {
		t.Fatal(err)
	}
	return disk
}

// withBucket runs a test with three members and checkpoints in a bucket every two seconds.
func withBucket(t *testing.T, test func(h *house)) {
	t.Helper()
	disk := sharedDisk(t)
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, disk, 2*time.Second, nil, "a", "b", "c")
		h.batches(3)
		test(h)
	})
}

// objects lists what is in the bucket.
func (h *house) objects() (keys []string) {
	h.Helper()
	b, err := bucket.Open(h.Context(), bucketURL, h.bucket)
	if err != nil {
		h.Fatal(err)
	}
	for key, err := range b.List(h.Context(), h.View().Cluster()) {
		if err != nil {
			h.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

func (h *house) checkpoints() int { return drivertest.Count[*fsm.StateCheckpointed](h.Rig) }

// checkpointed waits for so many more checkpoints.
func (h *house) checkpointed(n int) {
	h.Helper()
	end := h.checkpoints() + n
	h.Until("checkpoints", func() bool { return h.checkpoints() >= end })
}

// Rule 7: the executors lose their memory and every piece that they could have, and the totals go on from the bucket.
func TestStateIsRestoredFromTheBucket(t *testing.T) {
	withBucket(t, func(h *house) {
		h.Until("blocks are cleaned", func() bool { return h.App(h.app).Cleaned >= h.App(h.app).ZeroTime+5000 })
		for p := range h.View().Pieces(h.app) {
			if len(p.Stores) > 0 {
				t.Errorf("piece %v is on stores %v", p.ID, p.Stores)
			}
		}
		for name, m := range h.members {
			for _, n := range m.process.blocks.Inventory() {
				if n.Stream == 1 {
					t.Errorf("%s holds piece %v", name, n)
				}
			}
		}
		for _, name := range []string{"a", "b", "c"} {
			h.kill(name)
		}
		for _, name := range []string{"a", "b", "c"} {
			h.start(name)
		}
		h.batches(3)
		h.finish()
	})
}

// Disk after disk is lost, and with it no piece of the checkpoint: nothing has to be copied before the next one goes.
func TestStateInABucketOutlivesEveryDisk(t *testing.T) {
	withBucket(t, func(h *house) {
		for _, name := range []string{"a", "b", "c"} {
			h.checkpointed(2)
			h.Until("blocks have their copies", func() bool { return h.repaired() })
			h.kill(name)
			h.replace(name, "new-"+name)
			h.batches(4)
		}
		h.finish()
	})
}

// What is in the bucket is what the ledger has, but for what was made since the last sweep; an application that has
// ended leaves nothing.
func TestBucketIsCleaned(t *testing.T) {
	withBucket(t, func(h *house) {
		h.kill(h.coordinator()) // its office is over, and another executor cleans
		most := 0
		for range 100 {
			h.checkpointed(1)
			most = max(most, len(h.objects()))
		}
		chain := len(slices.Collect(h.View().Pieces(h.app)))
		if limit := 3*4*20 + 2*4*30; most > limit { // chains of 20 links of 4 pieces; 30 checkpoints a minute between sweeps
			t.Errorf("%d objects were in the bucket, the chain has %d now, expected at most %d", most, chain, limit)
		}
		if written := 4 * h.checkpoints(); written < 2*most {
			t.Fatalf("%d pieces were written and %d kept: nothing was cleaned", written, most)
		}
		h.Must(&fsm.ApplicationStopped{App: h.app, Now: true})
		h.Until("the application has ended", func() bool { return h.App(h.app).State == fsm.Stopped })
		h.Until("the bucket is empty", func() bool { return len(h.objects()) == 0 })
	})
}

// A bucket that fails costs no batch: checkpoints fail and are made when it is back.
func TestBucketThatFailsIsTriedAgain(t *testing.T) {
	withBucket(t, func(h *house) {
		h.checkpointed(1)
		h.bucket.Inject(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpSync {
				return vfs.Fault{Err: errors.New("the bucket is away")}
			}
			return vfs.Fault{}
		})
		before := h.checkpoints()
		h.batches(20)
		if n := h.checkpoints(); n > before+1 {
			t.Errorf("%d checkpoints were committed that no bucket has", n-before)
		}
		h.bucket.Inject(nil)
		h.checkpointed(2)
		h.finish()
	})
}

// Rule 8: state that cannot be read waits, visibly, and goes on when the bucket is back.
func TestStateWaitsForItsBucket(t *testing.T) {
	withBucket(t, func(h *house) {
		h.Until("blocks are cleaned", func() bool { return h.App(h.app).Cleaned >= h.App(h.app).ZeroTime+5000 })
		var asked atomic.Int64
		h.bucket.Inject(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpRead || op.Kind == vfs.OpOpen {
				asked.Add(1)
				return vfs.Fault{Err: errors.New("the bucket is away")}
			}
			return vfs.Fault{}
		})
		for name := range maps.Clone(h.members) {
			h.kill(name)
			h.start(name)
		}
		visible := func() bool {
			for _, m := range h.members {
				for _, b := range m.process.Status().Batches {
					if strings.Contains(b.Waiting, "the bucket is away") {
						return true
					}
				}
			}
			return false
		}
		h.Until("the wait is visible", visible)
		if asked.Load() == 0 {
			t.Error("nobody has read from the bucket")
		}
		h.bucket.Inject(nil)
		h.batches(3)
		h.finish()
	})
}
