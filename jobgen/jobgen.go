// Package jobgen owns JobGenerator: which batches are due, and what time it is for an application. It is engine
// internals, without compatibility promise. It generates batches; the coordinator generates their jobs.
//
// It promises to compute only: a view of the ledger and a time give the commands that are due. A new leader needs
// nothing else to go on: times that passed without a driver (downtime batches) are due like any other, and batches that
// were allocated and not completed (pending batches) are in the view. It must not know executors, raft or clocks.
package jobgen

import (
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// Now tells what time it is for an application. Clock.Now is one.
type Now func(a *fsm.App) id.Time

// Due gives the allocations that are due, one command per application at most. nowMS is the wall clock that they are
// stamped with.
//
// Batch times are gapless (invariant 3): an allocation starts at the application's next batch time. Several times are
// due at once after a failover or a stall: the first takes every queued block, the later ones are empty, and all are
// one command (rule 9). They end where the limit of pending batches, or of batches after the checkpoint of keyed state,
// is reached: ticks wait then (rule 10).
//
// The commands have no plans of direct streams: whoever proposes them fills in Direct first. What it is for is From, of
// a run of batches the first.
func Due(v fsm.Viewer, now Now, nowMS int64) map[id.App]fsm.Command {
	due := make(map[id.App]fsm.Command)
	for a := range v.Apps() {
		if !allocates(a) {
			continue
		}
		ticks := min(int64(now(a)-a.Allocated)/a.BatchMS, v.Room(a, nowMS))
		if ticks <= 0 {
			continue
		}
		last := a.State == fsm.Stopping && drained(v, a.ID)
		if last {
			ticks = 1 // nothing comes after it
		}
		due[a.ID] = &fsm.BlocksAllocated{
			App: a.ID, From: a.Interval(a.Allocated, 1), To: a.Interval(a.Allocated, ticks), Last: last, NowMS: nowMS,
		}
	}
	return due
}

// uncheckpointed is how often it is looked whether one more batch may be allocated to an application that has as many
// batches after its checkpoint as it may have: time alone allows it (fsm.UncheckpointedMS).
const uncheckpointed = 10 * time.Second

// Next gives how long it is until the next batch time that is not due yet, of any application; ok is false if nothing
// will be due until the ledger changes. Times are slewed, so ask again when it is over. It is at least a millisecond.
func Next(v fsm.Viewer, now Now) (left time.Duration, ok bool) {
	for a := range v.Apps() {
		if !allocates(a) || a.Pending >= fsm.MaxPending {
			continue
		}
		d := time.Duration(a.Interval(a.Allocated, 1)-now(a)) * time.Millisecond
		if d <= 0 && a.Pending == 0 && v.Room(a, 0) == 0 {
			d = uncheckpointed
		}
		if d > 0 && (!ok || d < left) {
			left, ok = d, true
		}
	}
	return left, ok
}

// Pending gives at most limit batches that are allocated and neither completed nor failed, in order of time: what
// the coordinator has to run next.
func Pending(v fsm.Viewer, a *fsm.App, limit int) []*fsm.Batch {
	var pending []*fsm.Batch
	for b := range v.Batches(a.ID, a.Completed) {
		if b.State != fsm.Allocated || len(pending) == limit {
			break
		}
		pending = append(pending, b)
	}
	return pending
}

// allocates reports whether batches of the application are allocated: it runs, or drains and has not come to the end.
func allocates(a *fsm.App) bool {
	return a.State == fsm.Running || a.State == fsm.Stopping && !a.LastGiven
}

// drained reports whether nothing of the application adds blocks any more (rule 11): every instance is closed, and no
// receiver is about to start.
func drained(v fsm.Viewer, a id.App) bool {
	for r := range v.Receivers(a) {
		if r.State != tracker.Inactive {
			return false
		}
	}
	for i := range v.Instances(a) {
		if !i.Closed {
			return false
		}
	}
	return true
}
