package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// MaxTries is how often a task of a batch runs when user code fails (Spark: spark.task.maxFailures).
	MaxTries = 4
	// minDelay and maxDelay bound the waits between rounds of a stage.
	minDelay = 50 * time.Millisecond
	maxDelay = time.Second
)

// batchError fails the batch for good; its text is for the user.
type batchError struct{ text string }

// Error implements error.
func (e *batchError) Error() string { return e.text }

func failed(format string, args ...any) error { return &batchError{fmt.Sprintf(format, args...)} }

// batch is one run of a batch. One goroutine works on it.
type batch struct {
	*Coordinator
	cur      *current
	order    *job.Batch
	app      dataset.App
	inputs   inputs
	shuffles map[dataset.ShuffleID]*mapped
	stages   map[stageKey]*progress
	links    map[link]*linkFaults
	tries    int
	log      *slog.Logger

	given      map[source]bool // AcceptLoss: what blocks that nobody holds were left out of
	lost       int64           // records of this batch time in them
	lostBlocks []id.Block

	keyed  *keyed
	made   map[statePart]bool       // state of this batch time that tasks of this run have left
	denied map[denial]int           // how often an executor did not have the state that it was to have
	silent map[id.Session]time.Time // since when holders of state have not answered
	past   *past                    // nil: to be asked for
	again  string                   // what state is computed again, "" for none
}

// newBatch makes a run of an order.
func (c *Coordinator) newBatch(a *app, cur *current) *batch {
	b := &batch{
		Coordinator: c, cur: cur, order: cur.batch, keyed: a.keyed,
		inputs:   inputs{},
		shuffles: map[dataset.ShuffleID]*mapped{},
		stages:   map[stageKey]*progress{},
		links:    map[link]*linkFaults{},
		given:    map[source]bool{},
		made:     map[statePart]bool{},
		denied:   map[denial]int{},
		silent:   map[id.Session]time.Time{},
		log: c.log.With("app", cur.batch.App.Name, "batch", int64(cur.batch.Time),
			"attempt", uint64(cur.batch.Authority.Attempt)),
	}
	b.inputs.add(cur.batch.Inputs)
	return b
}

// batch runs the batch to a report. The error says that it was given up without one.
func (c *Coordinator) batch(ctx context.Context, a *app, cur *current) (*job.BatchReport, error) {
	b := c.newBatch(a, cur)
	report := &job.BatchReport{App: b.order.App.ID, Time: b.order.Time, Authority: b.order.Authority, StartedMS: time.Now().UnixMilli()}
	err := b.jobs(ctx)
	if be, ok := errors.AsType[*batchError](err); ok {
		report.Error, err = be.text, nil
	}
	report.Records = b.inputs.records(b.order.Time)
	report.Lost, report.LostBlocks = b.lost, b.lostBlocks
	report.Tries = b.tries + 1
	report.EndedMS = time.Now().UnixMilli()
	return report, err
}

// jobs runs one job per output operation, in the order in which they were registered, and advances the state that none
// of them has read.
func (b *batch) jobs(ctx context.Context) error {
	app, err := b.cfg.Graph(b.order.App)
	if err != nil {
		return failed("coordinator: %v", err)
	}
	b.app = app
	if err := b.acceptLoss(ctx); err != nil {
		return err
	}
	for i, out := range app.Outputs() {
		run := b.job
		if _, ok := out.(dataset.Action); ok {
			run = b.action
		}
		if err := run(ctx, i, out); err != nil {
			return err
		}
	}
	return b.advanceRest(ctx)
}

// acceptLoss leaves out what the batch reads and nobody holds, before anything is computed: every output and all state
// must see the same blocks.
func (b *batch) acceptLoss(ctx context.Context) error {
	if !b.order.AcceptLoss {
		return nil
	}
	var all []source
	for _, out := range b.app.Outputs() {
		t, err := b.outputTree(ctx, out)
		if err != nil {
			return err
		}
		if t != nil {
			all = append(all, t.leaves...)
		}
	}
	for _, st := range b.app.Plan().States {
		t, _, err := b.plantState(ctx, st.Stream, b.order.Time)
		if err != nil {
			return err
		}
		if t != nil {
			all = append(all, t.leaves...)
		}
	}
	return b.giveUp(ctx, all)
}

// outputTree makes the tree of an output operation; nil where it has no dataset.
func (b *batch) outputTree(ctx context.Context, out dataset.Output) (*tree, error) {
	t, err := b.plant(ctx, out.Stream(), b.order.Time)
	if err != nil && ctx.Err() == nil {
		err = failed("output %q: %v", out.Name(), err)
	}
	if t != nil {
		t.makes = job.Version{Time: b.order.Time, Attempt: b.order.Authority.Attempt}
	}
	return t, err
}

// guard runs user code here.
func (b *batch) guard(ctx context.Context, f func() error) error {
	if te := b.cfg.Guard(ctx, b.app, f); te != nil {
		return te
	}
	return nil
}

// job runs one output operation: its stages, again for what gets lost, then its commit.
func (b *batch) job(ctx context.Context, i int, out dataset.Output) error {
	t, err := b.outputTree(ctx, out)
	if t == nil || err != nil {
		return err
	}
	t.output = i
	j := &outputJob{tree: t, out: out, receipts: make([][]byte, t.root.Partitions())}
	for p := range j.receipts {
		j.pending = append(j.pending, p)
	}
	if err := b.insist(ctx, true, func() error { return j.run(ctx) }); err != nil {
		return err
	}
	return j.commit(ctx)
}

// outputJob is the job of one output operation.
type outputJob struct {
	*tree
	out      dataset.Output
	pending  []int // partitions that have not run
	receipts [][]byte
}

// run runs what is missing: map stages first, then the output's own tasks.
func (j *outputJob) run(ctx context.Context) error {
	if err := j.before(ctx, j.root, map[dataset.ID]bool{}); err != nil {
		return err
	}
	s := &stage{
		tree: j.tree, key: stageKey{kind: job.OutputTasks, output: j.output}, of: j.root,
		name: fmt.Sprintf("output %q", j.out.Name()),
		done: func(res job.TaskResult, _ job.Peer) {
			j.receipts[res.Part] = res.Receipt
			j.pending = slices.DeleteFunc(j.pending, func(p int) bool { return p == res.Part })
		},
	}
	return s.run(ctx, slices.Clone(j.pending))
}

// commit commits the output.
func (j *outputJob) commit(ctx context.Context) error {
	info := dataset.Batch{App: j.order.App.ID, Time: j.order.Time, Attempt: j.order.Authority.Attempt}
	return j.try(ctx, fmt.Sprintf("commit of output %q", j.out.Name()), func() error {
		return j.guard(ctx, func() error { return j.out.Commit(ctx, info, j.receipts) })
	})
}

// try calls what ends in user code on the coordinator. An error of it is a user error: it is tried again like a task,
// unless it says itself that the batch fails, or ends without a report.
func (b *batch) try(ctx context.Context, what string, f func() error) error {
	b.show("%s", what)
	b.blocked("")
	delay := minDelay
	for try := 1; ; try++ {
		err := f()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, final := errors.AsType[*batchError](err); err == nil || final || errors.Is(err, errFenced) {
			return err
		}
		if try == MaxTries {
			return failed("%s failed %d times, the last time: %v", what, try, err)
		}
		b.tries = max(b.tries, try)
		b.log.Warn("user code failed on the coordinator, to be tried again", "what", what, "try", try, "error", err)
		if err := b.wait(ctx, err.Error(), delay); err != nil {
			return err
		}
		delay = min(delay*2, maxDelay)
	}
}
