package fsm

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
	"github.com/raftstream/raftstream/tracker"
)

// ApplicationStopped asks to stop (rule 11): gracefully (draining: receivers stop, what is received is processed), or
// at once (Now: after the batch that runs; the result's reason says how many acknowledged records are discarded).
// Natural key: (App, Now).
type ApplicationStopped struct {
	App   id.App
	Now   bool
	NowMS int64
}

// Kind gives the command's number.
func (*ApplicationStopped) Kind() Kind { return KindApplicationStopped }

func applicationStoppedRow() row {
	return newRow("ApplicationStopped",
		func(c *ApplicationStopped) *ledgerpb.ApplicationStopped {
			return &ledgerpb.ApplicationStopped{App: uint64(c.App), Now: c.Now, NowMs: c.NowMS}
		},
		func(m *ledgerpb.ApplicationStopped) *ApplicationStopped {
			return &ApplicationStopped{App: id.App(m.GetApp()), Now: m.GetNow(), NowMS: m.GetNowMs()}
		},
		applyApplicationStopped)
}

func applyApplicationStopped(t *tx, c *ApplicationStopped) Result {
	a, ok := t.app(c.App)
	if !ok {
		return refuse("no application %d", c.App)
	}
	if c.Now && a.Live() {
		return t.stopNow(a, c.NowMS)
	}
	switch {
	case a.State == Failed && !a.Draining:
		return refuse("application %d (%s) has failed (%s): resume it, or stop it at once", a.ID, a.Name, a.Error)
	case a.State == Running:
		v := *a
		v.State, v.Draining, v.StopIndex = Stopping, true, t.index
		t.set(&v)
		t.event(c.NowMS, a, EventApplicationStopping, "")
	}
	r := t.doneAt(a.StopIndex)
	if c.Now {
		r.Reason = discarded(a)
	}
	return r
}

// stopNow gives up what waits and all pending batches but the one that may be running, which is the oldest, and closes
// the receivers. What remains is to complete that one, and to end. Nothing runs the oldest batch if it has failed or
// nobody holds the office; it goes too, so that a stop at once comes to its end also where nobody can run the
// application any more.
func (t *tx) stopNow(a *App, nowMS int64) Result {
	v := *a
	if v.StopIndex == 0 {
		v.StopIndex = t.index
	}
	t.blocks.CloseApp(a.ID)
	var running []*tracker.Receiver
	for r := range t.tracker.Receivers(a.ID) {
		if r.State != tracker.Inactive {
			running = append(running, r)
		}
	}
	for _, r := range running {
		t.tracker.Deactivate(r, "", nowMS)
		t.receiverEvent(nowMS, r, EventReceiverStopped, "the application is stopped at once")
	}
	t.blocks.Discard(a.ID)
	v.Discarded += v.Queued
	v.Queued, v.QueuedBytes = 0, 0
	keep := a.Interval(a.Completed, 1)
	if oldest, ok := t.batch(a.ID, keep); !ok || oldest.State == BatchFailedState || a.Coordinator == 0 || a.Broken {
		keep = a.Completed
	}
	t.dropPending(&v, keep)
	if a.Broken { // its counts cannot be believed: what they said is pending is not there
		v.Pending, v.PendingRecs = 0, 0
	}
	v.State, v.Draining, v.LastGiven, v.AtOnce, v.Error = Stopping, true, true, true, ""
	t.set(&v)
	if !a.AtOnce {
		t.warn(nowMS, a, EventApplicationStopped, "%s", discarded(&v))
	}
	return Result{Outcome: Done, Index: v.StopIndex, Reason: discarded(&v)}
}

// dropPending discards the batches after keep. v's last allocation is then keep.
func (t *tx) dropPending(v *App, keep id.Time) {
	var drop []*Batch
	for b := range (View{s: t.state}).Batches(v.ID, keep) {
		drop = append(drop, b)
	}
	for _, b := range drop {
		t.batches.Delete(b)
		t.blocks.DiscardBatch(v.ID, b.Time)
		v.Discarded += b.Records
		v.PendingRecs -= b.Records
		v.Pending--
	}
	v.Allocated = min(v.Allocated, keep)
}

func discarded(a *App) string {
	return fmt.Sprintf("%d acknowledged records discarded", a.Discarded)
}
