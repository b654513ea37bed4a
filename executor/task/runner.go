// Package task runs tasks: it turns a Launch into calls of typed code, one goroutine per partition, and what happens
// to them into results. It is engine internals, without compatibility promise. It promises that nothing of an older
// authority has an effect after a newer one was seen (rules 1 and 6), that no panic of user code leaves it, and that a
// task without all of its input fails instead of finishing early. It must not know who sends launches or why.
package task

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Shuffles keeps the buckets that map tasks make, and reads those of all executors in order of map partition.
type Shuffles interface {
	Put(ctx context.Context, l *job.Launch, part int, rows []dataset.Rows) error
	Read(ctx context.Context, f job.Fetch, holders []id.Session, yield func(dataset.Chunk) bool) error
}

// BlockReader reads blocks; Blocks implements it.
type BlockReader interface {
	Read(ctx context.Context, b *job.Block) ([]byte, error)
}

// Config is what a Runner needs. All fields are required.
type Config struct {
	Slots    int // tasks that run at a time
	Graph    func(job.App) (dataset.App, error)
	Blocks   BlockReader
	Shuffles Shuffles
	States   States
	Kept     Kept
	// Store puts a piece of a checkpoint on min(factor, open sessions) stores and names them. It waits as long as fewer
	// can be reached; the end of ctx makes it fail.
	Store  func(ctx context.Context, d job.BlockData, factor int) ([]id.Store, error)
	Pieces Pieces // in buckets
	Logger *slog.Logger
}

// Runner runs the tasks of one executor. Its methods may be called concurrently.
type Runner struct {
	graph    func(job.App) (dataset.App, error)
	blocks   BlockReader
	shuffles Shuffles
	states   States
	kept     Kept
	store    func(ctx context.Context, d job.BlockData, factor int) ([]id.Store, error)
	bucket   Pieces
	log      *slog.Logger
	slots    chan struct{}

	mu       sync.Mutex
	session  id.Session // 0: none, launches are refused
	fences   fences
	launches int
	idle     chan struct{} // closed when launches comes to 0; nil while it is 0
}

// New makes a runner without a session: it refuses launches until Open.
func New(c Config) *Runner {
	return &Runner{
		graph: c.Graph, blocks: c.Blocks, shuffles: c.Shuffles, states: c.States, kept: c.Kept, store: c.Store,
		bucket: c.Pieces, log: c.Logger,
		slots:  make(chan struct{}, max(c.Slots, 1)),
		fences: fences{apps: map[id.App]*fence{}},
	}
}

// Open takes launches from now on, under the session.
func (r *Runner) Open(s id.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session = s
}

// Stop refuses launches, cancels those that run, and waits for their end or that of ctx. A task whose user code does
// not look at its context may run on after an early end, without effect on anything that the engine keeps (rule 3).
func (r *Runner) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.session = 0
	r.fences.cancelAll(&job.TaskError{Fault: job.LostFault, Text: "the executor's session is over"})
	idle, n := r.idle, r.launches
	r.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d launches did not end: %w", n, context.Cause(ctx))
	}
}

// Completed fences and cancels what still runs for batches up to the time. Call it before their buckets are dropped.
func (r *Runner) Completed(app id.App, upTo id.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fences.complete(app, upTo)
}

// Ended fences and cancels everything of the application.
func (r *Runner) Ended(app id.App) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fences.end(app)
}

// Running counts the tasks that hold a slot.
func (r *Runner) Running() int { return len(r.slots) }

// Launch runs the tasks and returns when all of them have ended, with one result per partition. The error is that of
// ctx: what happens to tasks is in the results.
func (r *Runner) Launch(ctx context.Context, l *job.Launch) (*job.LaunchResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leave, refusal := r.enter(l, cancel)
	if refusal != nil {
		return all(l, refusal), nil
	}
	defer leave()
	run, fault := r.resolve(ctx, l)
	if fault != nil {
		r.warn(l, -1, fault)
		return all(l, fault.Err), nil
	}
	results := r.runAll(ctx, l, run)
	return &job.LaunchResult{Tasks: results}, nil
}

func all(l *job.Launch, err *job.TaskError) *job.LaunchResult {
	res := &job.LaunchResult{Tasks: make([]job.TaskResult, len(l.Parts))}
	for i, p := range l.Parts {
		res.Tasks[i] = job.TaskResult{Part: p, Err: err}
	}
	return res
}

// enter checks session and authority. What it returns must be called when the launch has ended.
func (r *Runner) enter(l *job.Launch, cancel context.CancelCauseFunc) (leave func(), refusal *job.TaskError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == 0 {
		return nil, &job.TaskError{Fault: job.LostFault, Text: "the executor has no session"}
	}
	me, refusal := r.fences.admit(l, cancel)
	if refusal != nil {
		return nil, refusal
	}
	if r.launches++; r.launches == 1 {
		r.idle = make(chan struct{})
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fences.leave(l.App.ID, me)
		if r.launches--; r.launches == 0 {
			close(r.idle)
			r.idle = nil
		}
	}, nil
}

// partition runs one partition; it is what resolve makes of a launch.
type partition func(t *task, res *job.TaskResult) error

// resolved is a launch whose graph is found and checked.
type resolved struct {
	app    dataset.App
	inputs inputs
	kept   *contents
	of     dataset.Dataset // whose partitions are computed, nil for none
	run    partition
}

// resolve builds the graph and finds what the launch names, as the coordinator did.
func (r *Runner) resolve(ctx context.Context, l *job.Launch) (*resolved, *Fault) {
	app, err := r.graph(l.App)
	if err != nil {
		return nil, &Fault{Err: classify(err)}
	}
	in := inputsOf(l.Inputs)
	res := &resolved{app: app, inputs: in, kept: &contents{inputs: in}}
	fault := Guard(ctx, app, func() (err error) { // a Transform is user code
		res.of, res.run, err = r.find(app, l, res.inputs)
		return err
	})
	return res, fault
}

func mismatch(format string, args ...any) *job.TaskError {
	return &job.TaskError{Fault: job.MismatchFault, Text: fmt.Sprintf(format, args...)}
}

// find gives the dataset of the launch and what runs its partitions, after it has checked that the graph here is the coordinator's.
func (r *Runner) find(app dataset.App, l *job.Launch, in inputs) (of dataset.Dataset, run partition, err error) {
	if l.Kind == job.CheckpointTasks { // the state is there: no dataset is computed
		run, err = r.checkpointer(l)
		return nil, run, err
	}
	root, out, err := lineage(app, l, in)
	if err != nil {
		return nil, nil, err
	}
	of = root
	switch l.Kind {
	case job.OutputTasks:
		if out == nil {
			return nil, nil, mismatch("the launch of an output names none")
		}
		run = func(t *task, res *job.TaskResult) error { return r.output(t, out, root, res) }
	case job.MapTasks:
		dep, ok := job.FindShuffle(root, l.Shuffle)
		if !ok {
			return nil, nil, mismatch("shuffle %v is not in the lineage of %s", l.Shuffle, rootName(l, out))
		}
		of, run = dep.On, func(t *task, res *job.TaskResult) error { return r.mapSide(t, dep.Shuffle, res.Part) }
	case job.CollectTasks:
		act, ok := out.(dataset.Action)
		if !ok || l.Collect == nil {
			return nil, nil, mismatch("the launch collects for %s: that is no action, or there is no order", rootName(l, out))
		}
		run = collector(l, act, root)
	case job.StateTasks:
		d, ok := stateful(root, l.Dataset)
		if !ok {
			return nil, nil, mismatch("dataset %v with keyed state is not in the lineage of %s here", l.Dataset, rootName(l, out))
		}
		of, run = d, func(t *task, res *job.TaskResult) error { return r.advance(t, d, res.Part) }
	default:
		return nil, nil, mismatch("launch of unknown kind %d", l.Kind)
	}
	if of.ID() != l.Dataset {
		return nil, nil, mismatch("dataset %v was asked for, it is %v here", l.Dataset, of.ID())
	}
	for _, p := range l.Parts {
		if p < 0 || p >= of.Partitions() {
			return nil, nil, mismatch("partition %d of dataset %v was asked for, it has %d", p, of.ID(), of.Partitions())
		}
	}
	return of, run, nil
}

// lineage gives the dataset whose lineage the stage belongs to, and the output operation that it is of: none where an
// earlier time's state is computed again.
func lineage(app dataset.App, l *job.Launch, in inputs) (root dataset.Dataset, out dataset.Output, err error) {
	stream, at := l.Root.Stream, l.Root.Time
	if l.Output >= 0 {
		outs := app.Outputs()
		if l.Output >= len(outs) {
			return nil, nil, mismatch("output %d was asked for, the graph has %d", l.Output, len(outs))
		}
		out = outs[l.Output]
		stream, at = out.Stream(), l.Time
	}
	root, ok, err := app.Dataset(stream, at, in)
	switch {
	case err != nil:
		return nil, nil, mismatch("dataset of %s at %d: %v", rootName(l, out), at, err)
	case !ok:
		return nil, nil, mismatch("%s has no dataset at %d here, the coordinator has one", rootName(l, out), at)
	}
	if here := job.Lineage(root); here != l.Lineage {
		return nil, nil, mismatch("lineage of %s at %d is %016x here, the coordinator has %016x: its build function or a Transform is not pure",
			rootName(l, out), at, here, l.Lineage)
	}
	return root, out, nil
}

// stateful finds a dataset with keyed state.
func stateful(root dataset.Dataset, of dataset.ID) (found dataset.Stateful, ok bool) {
	job.Walk(root, func(d dataset.Dataset) bool {
		if d.ID() == of {
			found, ok = d.(dataset.Stateful)
		}
		return !ok
	})
	return found, ok
}

func rootName(l *job.Launch, out dataset.Output) string {
	if out == nil {
		return fmt.Sprintf("stream %d", l.Root.Stream)
	}
	return fmt.Sprintf("output %q", out.Name())
}

func (r *Runner) output(t *task, out dataset.Output, d dataset.Dataset, res *job.TaskResult) error {
	res.Receipt = out.Run(t, d, res.Part)
	if len(res.Receipt) > dataset.MaxReceipt {
		return fmt.Errorf("output %q: receipt of %d bytes, at most %d are taken", out.Name(), len(res.Receipt), dataset.MaxReceipt)
	}
	return nil
}

func (r *Runner) mapSide(t *task, s dataset.Shuffle, part int) error {
	rows := s.Map(t, part)
	if t.failed != nil {
		return t.failed
	}
	if len(rows) != s.Reducers() {
		return mismatch("map task %d of shuffle %v made %d buckets for %d reducers", part, s.ID(), len(rows), s.Reducers())
	}
	err := r.shuffles.Put(t.ctx, t.launch, part, rows)
	switch {
	case errors.Is(err, job.ErrFenced):
		return fenced("%v", err)
	case errors.Is(err, job.ErrFull): // room is no user error: the task goes elsewhere or waits (rule 8)
		return &job.TaskError{Fault: job.LostFault, Text: err.Error()}
	}
	return err
}

// runAll runs every partition, at most one per slot at a time.
func (r *Runner) runAll(ctx context.Context, l *job.Launch, res *resolved) []job.TaskResult {
	results := make([]job.TaskResult, len(l.Parts))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(cap(r.slots), len(l.Parts)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(l.Parts); i = int(next.Add(1)) - 1 {
				results[i] = r.runOne(ctx, l, res, l.Parts[i])
			}
		})
	}
	workers.Wait()
	return results
}

func (r *Runner) runOne(ctx context.Context, l *job.Launch, res *resolved, part int) job.TaskResult {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return job.TaskResult{Part: part, Err: canceled(ctx)}
	}
	t := &task{ctx: ctx, runner: r, launch: l, inputs: res.inputs, contents: res.kept}
	defer t.release()
	result := job.TaskResult{Part: part}
	fault := Guard(ctx, res.app, func() error {
		err := res.run(t, &result)
		if err == nil && t.failed == nil {
			err = r.leave(t, res.of, part)
		}
		if t.failed != nil {
			return t.failed
		}
		return err
	})
	if fault == nil {
		return result
	}
	if t.failed != nil && fault.Err.Fault == job.UserFault && ctx.Err() == nil {
		fault.Err = classify(t.failed) // user code that hides a failure behind another panic does not make it its own
	}
	r.place(l, res.app, fault.Err)
	r.warn(l, part, fault)
	return job.TaskResult{Part: part, Err: fault.Err}
}

// place names the output operation where a user fault has no place of its own.
func (r *Runner) place(l *job.Launch, app dataset.App, e *job.TaskError) {
	if e.Fault != job.UserFault || e.Operator != "" || l.Kind != job.OutputTasks && l.Kind != job.CollectTasks {
		return
	}
	if p := app.Plan(); p != nil && l.Output < len(p.Outputs) {
		e.Operator, e.At = p.Outputs[l.Output].Operator, p.Outputs[l.Output].At
	}
}

func (r *Runner) warn(l *job.Launch, part int, f *Fault) {
	level := slog.LevelWarn
	if f.Err.Fault == job.LostFault {
		level = slog.LevelInfo // given up, or its session is over: it runs again elsewhere
	}
	r.log.Log(context.Background(), level, "task failed", "app", l.App.Name, "batch", int64(l.Time), "attempt", uint64(l.Authority.Attempt), "try", l.Try,
		"part", part, "error", f.Err.Error(), "stack", f.Stack)
}
