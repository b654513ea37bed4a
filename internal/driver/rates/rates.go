// Package rates owns the driver's duty over rate control (Spark: backpressure, RateController): from completed batches
// it finds out how many records per second each input may take in, so that batches take no longer than their interval.
// It promises that what it limits is limited by batches of this leadership alone, and that an input which has no need of a
// limit has none; it must not know how limits reach receivers and sources.
package rates

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ratecontrol"
)

// slack is by how much a run may seem longer than the time from the allocation of its batch to its completion: the first
// is measured by the coordinator's wall clock. What is more, or a tenth of it, is a clock that was set.
const slack = 100 * time.Millisecond

// Duty is the duty.
type Duty struct {
	conns  driver.Connections
	limits *driver.Limits
	log    *slog.Logger
}

var _ driver.Duty = (*Duty)(nil)

// New makes the duty, which sets the limits.
func New(c driver.Connections, l *driver.Limits, log *slog.Logger) *Duty {
	return &Duty{conns: c, limits: l, log: log.With("duty", "rates")}
}

// Name names the duty.
func (d *Duty) Name() string { return "rates" }

// Run does the duty until ctx ends.
func (d *Duty) Run(ctx context.Context, l driver.Ledger) error {
	none := func(id.App) bool { return false }
	d.limits.Keep(none)
	defer d.limits.Keep(none)
	t := &turn{Duty: d, epoch: l.Epoch(), began: time.Now(), apps: make(map[id.App]*app)}
	return driver.Turns(ctx, l, d.conns, t.take)
}

type turn struct {
	*Duty
	epoch id.Epoch
	began time.Time
	apps  map[id.App]*app
}

// app is an application whose batches are watched.
type app struct {
	inputs map[id.Stream]*ratecontrol.Controller
	seen   id.Time             // the newest allocated batch that was looked at
	runs   map[id.Time]pending // allocated in this leadership and not completed
}

// pending is a batch that is watched until it is completed. Times are of this process's monotonic clock: wall clocks of
// several nodes could not be compared.
type pending struct {
	since  time.Time
	inputs map[id.Stream]ratecontrol.Batch
}

// take looks at the batches that were allocated and completed since the last turn.
func (t *turn) take(_ context.Context, v fsm.View) (time.Duration, error) {
	live := func(n id.App) bool {
		a, ok := v.App(n)
		return ok && a.Live()
	}
	for a := range v.Apps() {
		if !live(a.ID) || len(a.Inputs) == 0 {
			continue
		}
		w := t.watch(a)
		t.allocated(v, a, w)
		t.completed(v, a, w)
	}
	maps.DeleteFunc(t.apps, func(n id.App, _ *app) bool { return !live(n) })
	t.limits.Keep(live)
	return driver.Idle, nil
}

func (t *turn) watch(a *fsm.App) *app {
	w := t.apps[a.ID]
	if w != nil {
		return w
	}
	w = &app{inputs: make(map[id.Stream]*ratecontrol.Controller), seen: a.Completed, runs: make(map[id.Time]pending)}
	for _, in := range a.Inputs {
		c, err := ratecontrol.NewController(ratecontrol.Default(a.BatchMS))
		if err != nil { // the ledger takes no such application
			t.log.Error("input without rate control", "app", a.Name, "stream", int(in.Stream), "error", err)
			continue
		}
		w.inputs[in.Stream] = c
	}
	t.apps[a.ID] = w
	return w
}

// allocated takes note of new batches. Those of an older leadership are left out: nobody here knows how long they waited.
func (t *turn) allocated(v fsm.View, a *fsm.App, w *app) {
	for b := range v.Batches(a.ID, w.seen) {
		w.seen = b.Time
		if b.Index < uint64(t.epoch) {
			continue
		}
		p := pending{since: time.Now(), inputs: make(map[id.Stream]ratecontrol.Batch, len(w.inputs))}
		for s, c := range w.inputs {
			p.inputs[s] = c.Allocated(records(v, a.ID, b.Time, s))
		}
		w.runs[b.Time] = p
	}
}

// records counts what a batch was allocated of a stream.
func records(v fsm.View, a id.App, at id.Time, s id.Stream) (n int64) {
	for _, b := range v.Input(a, at, s) {
		n += b.Records
	}
	if plan, ok := v.Direct(a, at, s); ok {
		for _, p := range plan.Parts {
			n += p.Records
		}
	}
	return n
}

// completed makes limits of the batches that were completed, in their order. While the application stands still after a
// failure nothing is learnt: what waits then does not wait for want of speed.
func (t *turn) completed(v fsm.View, a *fsm.App, w *app) {
	if a.State == fsm.Failed {
		clear(w.runs)
		return
	}
	for _, at := range slices.Sorted(maps.Keys(w.runs)) {
		b, ok := v.Batch(a.ID, at)
		if ok && b.State != fsm.Completed {
			return
		}
		p := w.runs[at]
		delete(w.runs, at)
		if !ok || b.Attempts > 1 {
			continue // forgotten already, or its time is that of several runs
		}
		if run, ok := t.run(b, p); ok {
			t.limit(a, w, p, run)
		}
	}
}

// run gives how a batch was processed; false: the times contradict each other.
func (t *turn) run(b *fsm.Batch, p pending) (ratecontrol.Run, bool) {
	total := time.Since(p.since)
	processing := time.Duration(b.EndedMS-b.StartedMS) * time.Millisecond
	if processing < 0 || processing > total+max(slack, total/10) {
		return ratecontrol.Run{}, false
	}
	return ratecontrol.Run{
		EndMS:        time.Since(t.began).Milliseconds(),
		ProcessingMS: processing.Milliseconds(),
		SchedulingMS: max(total-processing, 0).Milliseconds(),
	}, true
}

func (t *turn) limit(a *fsm.App, w *app, p pending, run ratecontrol.Run) {
	for s, c := range w.inputs {
		before := c.Limit()
		now := c.Completed(p.inputs[s], run)
		t.limits.Set(a.ID, s, now)
		if (before == 0) != (now == 0) {
			t.log.Info("rate control changed its mind", "app", a.Name, "stream", int(s), "records_per_second", now,
				"processing_ms", run.ProcessingMS, "scheduling_ms", run.SchedulingMS)
		}
	}
}
