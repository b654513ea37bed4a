package fsm

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
)

// blocks gives those with the numbers from first to last.
func (r *running) blocks(first, last uint64) (all []AddedBlock) {
	for n := first; n <= last; n++ {
		all = append(all, r.block(n))
	}
	return all
}

// holds checks the numbers of the blocks that a batch was given, or with time 0 of those that wait.
func (r *running) holds(at id.Time, want string) {
	r.t.Helper()
	var got []uint64
	if at == 0 {
		for b := range r.m.View().Queued(r.app, 0) {
			got = append(got, b.ID.Number)
		}
	}
	for _, b := range r.m.View().Input(r.app, at, 0) {
		got = append(got, b.ID.Number)
	}
	if fmt.Sprint(got) != want {
		r.t.Errorf("batch %d has blocks %v, expected %s", at, got, want)
	}
}

// recover goes on from what is written, as a restarted driver does.
func (r *running) recover() {
	r.t.Helper()
	m := New()
	if err := m.Restore(bytes.NewReader(snapshot(r.t, r.m.View()))); err != nil {
		r.t.Fatal(err)
	}
	r.m = m
}

// The facts are those of Spark's ReceivedBlockTrackerSuite; what is committed is its log, and the first batch is at 11,000.
func TestReceivedBlockTrackerSuite(t *testing.T) {
	t.Run("recovery with write ahead logs should remove only allocated blocks from received queue", func(t *testing.T) {
		r := startRunning(t)
		r.done(r.add(r.blocks(1, 5)...))
		r.done(r.tick())
		r.done(r.add(r.blocks(6, 10)...))
		r.recover()
		r.holds(11_000, "[1 2 3 4 5]")
		r.holds(0, "[6 7 8 9 10]")
	})
	t.Run("recovery and cleanup with write ahead logs", func(t *testing.T) {
		r := startRunning(t)
		r.coordinator(r.a)
		r.done(r.add(r.blocks(1, 5)...))
		r.holds(0, "[1 2 3 4 5]")
		r.recover()
		r.holds(0, "[1 2 3 4 5]")
		r.done(r.tick())
		r.holds(11_000, "[1 2 3 4 5]")
		r.done(r.add(r.blocks(6, 10)...))
		r.done(r.tick())
		r.recover()
		r.holds(11_000, "[1 2 3 4 5]")
		r.holds(12_000, "[6 7 8 9 10]")
		r.holds(0, "[]")
		r.done(r.complete())
		r.done(r.complete())
		r.done(&BatchesCleaned{App: r.app, UpTo: 11_000})
		r.holds(11_000, "[]")
		r.recover()
		r.holds(0, "[]")
		r.holds(11_000, "[]")
		r.holds(12_000, "[6 7 8 9 10]")
	})
	t.Run("recovered lastAllocatedBatchTime blocks re-allocation of the same or older batch", func(t *testing.T) {
		r := startRunning(t)
		r.done(r.add(r.blocks(1, 5)...))
		r.done(r.tick())
		first := r.tick()
		r.done(first)
		r.done(r.add(r.blocks(6, 10)...))
		r.recover()
		r.done(&BlocksAllocated{App: r.app, From: 11_000, To: 11_000, NowMS: 11_000}) // older: as it was
		r.done(first)                                                                 // equal: as it was
		r.holds(11_000, "[1 2 3 4 5]")
		r.holds(12_000, "[]")
		r.holds(0, "[6 7 8 9 10]")
		r.done(r.tick())
		r.holds(13_000, "[6 7 8 9 10]")
	})
	t.Run("log write returning failure on allocate: blocks stay queued, batch has no entry, next batch takes them", func(t *testing.T) {
		r := startRunning(t)
		r.done(r.add(r.blocks(1, 5)...))
		lost := r.tick() // by a leader that does not lead any more
		r.term--
		if got := r.apply(lost); got.Outcome == Done || !got.Stale {
			t.Errorf("%+v, expected that a deposed leader's allocation has no effect", got)
		}
		r.term++
		if _, ok := r.m.View().Batch(r.app, lost.From); ok {
			t.Errorf("there is a batch %d", lost.From)
		}
		r.holds(0, "[1 2 3 4 5]")
		r.done(r.tick()) // batches have no gaps here: the next one is of the same time
		r.holds(11_000, "[1 2 3 4 5]")
	})
	t.Run("cleanup threshold must be before now", func(t *testing.T) {
		r := startRunning(t)
		r.coordinator(r.a)
		r.done(r.add(r.blocks(1, 5)...))
		r.done(r.tick())
		r.done(r.complete())
		r.refused(&BatchesCleaned{App: r.app, UpTo: 11_000},
			"application 4 (wc) is to be cleaned up to 11000, expected at most 10000: completed up to 11000, remembers 1000 ms")
		r.done(&BatchesCleaned{App: r.app, UpTo: 10_000})
		r.holds(11_000, "[1 2 3 4 5]")
	})
}

// Spark: StreamingJobProgressListenerSuite.
func TestStreamingJobProgressListenerSuite(t *testing.T) {
	t.Run("Remove the old completed batches when exceeding the limit", TestCompletedBatchesAreKeptUpToTheLimit)
}
