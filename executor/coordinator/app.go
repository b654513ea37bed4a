package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
)

// app is one application's orders. Its fields are under the coordinator's lock.
type app struct {
	office   id.Office
	done     id.Time      // every batch up to here is completed
	queue    []*job.Batch // by time
	current  *current     // what the worker does
	finished map[id.Time]*finished
	working  bool // a worker runs
	keyed    *keyed
	planner  *planner
}

func newApp() *app {
	return &app{
		done: math.MinInt64, finished: map[id.Time]*finished{}, keyed: newKeyed(),
		planner: &planner{calls: map[id.Stream]chan struct{}{}, positions: map[id.Stream]*positions{}},
	}
}

// current is a batch that runs or whose report is on its way.
type current struct {
	batch  *job.Batch
	epoch  id.Epoch // of the newest leadership that ordered it
	cancel context.CancelCauseFunc
	over   bool // stopped
	// reporting is set when the batch has run, aside when it is completed and its state is checkpointed: then its
	// completion ends nothing. early is set while it waits for an earlier batch.
	reporting, aside, early bool
	inputs                  []job.Input // of an order that came again, for the run to take; nil: none
	status                  Status
}

// finished is a batch that has run. It is kept until the ledger is known to have it, so that a new leadership which
// orders it again gets the same report.
type finished struct {
	authority id.Authority
	batch     *job.Batch
	report    *job.BatchReport
	due       bool // to be sent again
}

var (
	errSuperseded = errors.New("a newer authority took over")
	errOver       = errors.New("the executor's session is over")
	errCompleted  = errors.New("the batch is completed")
	errEnded      = errors.New("the application has ended")
	errEarly      = errors.New("an earlier batch runs first")
)

// stop ends the run, or the sending of its report.
func (c *current) stop(why error) {
	c.over = true
	c.cancel(why)
}

// drop forgets all orders.
func (a *app) drop(why error) {
	a.queue = nil
	clear(a.finished)
	a.planner.drop(why)
	if a.current != nil {
		a.current.stop(why)
	}
}

// take joins, queues or refuses an order; it says why it refuses.
func (a *app) take(b *job.Batch) string {
	if b.Authority.Office < a.office {
		return fmt.Sprintf("its office is %d, the highest seen is %d", b.Authority.Office, a.office)
	}
	if b.Time <= a.done {
		return fmt.Sprintf("batches up to %d are completed", a.done)
	}
	older := func(than id.Attempt) string { return fmt.Sprintf("attempt %d was ordered already", than) }
	if cur := a.current; cur != nil && !cur.over && !cur.aside && cur.batch.Time == b.Time {
		switch has := cur.batch.Authority.Attempt; {
		case b.Authority.Attempt == has:
			cur.epoch = max(cur.epoch, b.Authority.Epoch)
			cur.inputs = b.Inputs
			return "" // joined: work in flight is not repeated
		case b.Authority.Attempt < has:
			return older(has)
		}
		cur.stop(errSuperseded)
	}
	if f := a.finished[b.Time]; f != nil {
		switch has := f.authority.Attempt; {
		case b.Authority.Attempt == has:
			f.due = true
			return ""
		case b.Authority.Attempt < has:
			return older(has)
		}
		delete(a.finished, b.Time)
	}
	return a.enqueue(b)
}

func (a *app) enqueue(b *job.Batch) string {
	i, found := slices.BinarySearchFunc(a.queue, b.Time, func(q *job.Batch, t id.Time) int { return int(q.Time - t) })
	switch {
	case !found && len(a.queue) == MaxOrders:
		return fmt.Sprintf("%d batches wait already", MaxOrders)
	case !found:
		a.queue = slices.Insert(a.queue, i, b)
	case b.Authority.Attempt >= a.queue[i].Authority.Attempt:
		a.queue[i] = b
	default:
		return fmt.Sprintf("attempt %d was ordered already", a.queue[i].Authority.Attempt)
	}
	if cur := a.current; cur != nil && cur.early && !cur.over && b.Time < cur.batch.Time {
		cur.stop(errEarly) // it waits for what this batch leaves
		return a.enqueue(cur.batch)
	}
	return ""
}

// leaveOut takes blocks that a batch gave up from the orders that wait: later batches that read them too were ordered
// before it was known (rules 7 and 8).
func (a *app) leaveOut(lost []id.Block) {
	if len(lost) == 0 {
		return
	}
	gone := make(map[id.Block]bool, len(lost))
	for _, n := range lost {
		gone[n] = true
	}
	for i, q := range a.queue {
		b := *q
		b.Inputs = slices.Clone(q.Inputs)
		for k := range b.Inputs {
			b.Inputs[k].Blocks = slices.DeleteFunc(slices.Clone(b.Inputs[k].Blocks), func(x job.Block) bool { return gone[x.ID] })
		}
		a.queue[i] = &b
	}
}

// start makes a worker for the application if it has work and none. The coordinator's lock is held.
func (c *Coordinator) start(a *app) {
	if a.working {
		return
	}
	if _, ok := a.dueReport(); !ok && len(a.queue) == 0 {
		return
	}
	a.working = true
	c.begin()
	go c.work(a) // Stop waits for it
}

// dueReport gives the time of the oldest report that is to be sent again.
func (a *app) dueReport() (at id.Time, ok bool) {
	for t, f := range a.finished {
		if f.due && (!ok || t < at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// work runs what is ordered, oldest first, until nothing is.
func (c *Coordinator) work(a *app) {
	for {
		ctx, cur, f := c.next(a)
		if cur == nil {
			return
		}
		if f == nil {
			f = c.run(ctx, a, cur)
		}
		if f != nil {
			if next, aside := c.send(ctx, a, cur, f); aside != nil {
				cur.cancel(nil)
				cur = aside
				c.checkpoint(next, a, cur)
			}
		}
		c.mu.Lock()
		cur.cancel(nil)
		a.current = nil
		c.mu.Unlock()
	}
}

// next takes the next thing to do: a report that is due again, or a batch to run. Without any the worker ends.
func (c *Coordinator) next(a *app) (context.Context, *current, *finished) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithCancelCause(context.Background())
	if t, ok := a.dueReport(); ok {
		f := a.finished[t]
		f.due = false
		a.current = &current{batch: f.batch, cancel: cancel, status: statusOf(f.batch), reporting: true}
		return ctx, a.current, f
	}
	if len(a.queue) > 0 {
		b := a.queue[0]
		a.queue = slices.Delete(a.queue, 0, 1)
		a.current = &current{batch: b, epoch: b.Authority.Epoch, cancel: cancel, status: statusOf(b)}
		return ctx, a.current, nil
	}
	cancel(nil)
	a.working = false
	c.end()
	return nil, nil, nil
}

func statusOf(b *job.Batch) Status {
	return Status{App: b.App.ID, Time: b.Time, Attempt: b.Authority.Attempt}
}

// run runs a batch and keeps its report; nil when it was stopped.
func (c *Coordinator) run(ctx context.Context, a *app, cur *current) *finished {
	report, err := c.batch(ctx, a, cur)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || cur.over {
		c.log.Info("batch given up", "app", cur.batch.App.Name, "batch", int64(cur.batch.Time),
			"attempt", uint64(cur.batch.Authority.Attempt), "reason", errors.Join(err, context.Cause(ctx)))
		return nil
	}
	report.Authority.Epoch = max(report.Authority.Epoch, cur.epoch)
	f := &finished{authority: cur.batch.Authority, batch: cur.batch, report: report}
	a.finished[cur.batch.Time] = f
	cur.status.Stage, cur.status.Waiting = "reporting", ""
	cur.reporting = true
	return f
}

// send sends a report until it is answered, and draws the conclusions. If keyed state is to be checkpointed next, it
// gives that as what is current now.
func (c *Coordinator) send(ctx context.Context, a *app, cur *current, f *finished) (next context.Context, aside *current) {
	failpoint.Hit(failpoint.BatchReport)
	reply, err := c.cfg.Report(ctx, f.report)
	if err == nil && reply.Outcome == job.Done {
		failpoint.Hit(failpoint.BatchCommitted)
	}
	due := err == nil && f.report.Error == "" && reply.Outcome == job.Done && c.dueCheckpoint(a, f.batch)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := f.report.Time
	log := c.log.With("app", f.batch.App.Name, "batch", int64(t), "attempt", uint64(f.authority.Attempt))
	switch {
	case cur.over:
	case err != nil:
		log.Warn("report of a batch not answered", "error", err)
	case reply.Outcome == job.Refused: // the ledger knows better: what it wants instead is ordered anew
		log.Warn("report of a batch refused", "reason", reply.Reason)
		delete(a.finished, t)
	case f.report.Error != "": // nothing after a failed batch runs before the application is resumed
		log.Error("batch failed", "error", f.report.Error)
		a.queue = slices.DeleteFunc(a.queue, func(b *job.Batch) bool { // one made after the resumption stays
			return uint64(b.Authority.Attempt) <= reply.Index
		})
	default:
		log.Debug("batch completed", "ms", f.report.EndedMS-f.report.StartedMS, "records", f.report.Records)
		a.keyed.completed(job.Version{Time: t, Attempt: f.authority.Attempt})
		a.leaveOut(f.report.LostBlocks)
		for old := range a.finished {
			if old < t { // completions are in time order
				delete(a.finished, old)
			}
		}
		if due {
			next, cancel := context.WithCancelCause(context.Background())
			a.current = &current{batch: f.batch, epoch: f.report.Authority.Epoch, cancel: cancel, status: statusOf(f.batch), aside: true}
			return next, a.current
		}
	}
	return nil, nil
}
