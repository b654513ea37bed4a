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
	// grace is how long executors may take to come back before blocks that only they hold are given up. It is as long
	// as a silent executor keeps its session.
	grace = 3 * time.Second
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
	inputs   []job.Input
	sources  sources
	shuffles map[dataset.ShuffleID]*mapped
	stages   map[stageKey]*progress
	links    map[link]*linkFaults
	tries    int
	log      *slog.Logger
}

// mapped says who holds the buckets of each map partition of a shuffle, 0 for nobody.
type mapped struct{ holders []id.Session }

// batch runs the batch to a report. The error says that it was given up without one.
func (c *Coordinator) batch(ctx context.Context, cur *current) (*job.BatchReport, error) {
	b := &batch{
		Coordinator: c, cur: cur, order: cur.batch,
		shuffles: map[dataset.ShuffleID]*mapped{},
		stages:   map[stageKey]*progress{},
		links:    map[link]*linkFaults{},
		log: c.log.With("app", cur.batch.App.Name, "batch", int64(cur.batch.Time),
			"attempt", uint64(cur.batch.Authority.Attempt)),
	}
	report := &job.BatchReport{App: b.order.App.ID, Time: b.order.Time, Authority: b.order.Authority, StartedMS: time.Now().UnixMilli()}
	var err error
	if report.Lost, err = b.takeInputs(ctx); err != nil {
		return nil, err
	}
	err = b.jobs(ctx)
	if be, ok := errors.AsType[*batchError](err); ok {
		report.Error, err = be.text, nil
	}
	for _, in := range b.inputs {
		if in.Time == b.order.Time {
			report.Records += records(in.Blocks)
		}
	}
	report.Tries = b.tries + 1
	report.EndedMS = time.Now().UnixMilli()
	return report, err
}

// takeInputs takes the inputs of the order. With AcceptLoss it leaves out the blocks that no open session's store
// holds, and counts their records of this batch time.
func (b *batch) takeInputs(ctx context.Context) (lost int64, err error) {
	inputs := b.order.Inputs
	if b.order.AcceptLoss {
		inputs = slices.Clone(b.order.Inputs)
		peers, err := b.settled(ctx)
		if err != nil {
			return 0, err
		}
		for i, in := range inputs {
			kept := slices.DeleteFunc(slices.Clone(in.Blocks), func(x job.Block) bool { return !held(peers, x) })
			if in.Time == b.order.Time {
				lost += records(in.Blocks) - records(kept)
			}
			inputs[i].Blocks = kept
		}
		b.log.Warn("batch runs without the blocks that nobody holds, as was asked", "records_lost", lost)
	}
	b.setInputs(inputs)
	return lost, nil
}

func (b *batch) setInputs(inputs []job.Input) {
	b.inputs, b.sources = inputs, sources{}
	for _, in := range inputs {
		b.sources[source{in.Stream, in.Time}] = in.Blocks
	}
}

// refresh takes the stores of an order that came again: a block that nobody held may have come back elsewhere. What the
// blocks are stays as it is: an allocation never changes, and what was left out as lost stays out.
func (b *batch) refresh() {
	b.mu.Lock()
	fresh := b.cur.inputs
	b.cur.inputs = nil
	b.mu.Unlock()
	if fresh == nil {
		return
	}
	stores := make(map[id.Block][]id.Store)
	for _, in := range fresh {
		for _, x := range in.Blocks {
			stores[x.ID] = x.Stores
		}
	}
	inputs := slices.Clone(b.inputs)
	for i := range inputs {
		blocks := slices.Clone(inputs[i].Blocks) // launches may still read the old ones
		for k := range blocks {
			if now, ok := stores[blocks[k].ID]; ok {
				blocks[k].Stores = now
			}
		}
		inputs[i].Blocks = blocks
	}
	b.setInputs(inputs)
}

// settled gives a table of peers by which blocks may be given up: it has this executor in it, so that it is no table of
// a past session, and either nothing is missing or executors had time to come back.
func (b *batch) settled(ctx context.Context) (*job.Peers, error) {
	end := time.Now().Add(grace)
	for {
		peers, _ := b.cfg.Peers()
		if open(peers, b.cfg.Self()) && (b.allHeld(peers) || !time.Now().Before(end)) {
			return peers, nil
		}
		if err := b.wait(ctx, "blocks without a holder are about to be given up, as was asked", minDelay); err != nil {
			return nil, err
		}
	}
}

func (b *batch) allHeld(peers *job.Peers) bool {
	for _, in := range b.order.Inputs {
		if slices.ContainsFunc(in.Blocks, func(x job.Block) bool { return !held(peers, x) }) {
			return false
		}
	}
	return true
}

func held(peers *job.Peers, x job.Block) bool {
	return slices.ContainsFunc(peers.Peers, func(p job.Peer) bool { return slices.Contains(x.Stores, p.Store) })
}

func records(blocks []job.Block) (n int64) {
	for _, x := range blocks {
		n += x.Records
	}
	return n
}

// source names what an input stream was allocated at a time; sources is dataset.Sources.
type source struct {
	stream id.Stream
	time   id.Time
}

type sources map[source][]job.Block

// Partitions implements dataset.Sources.
func (m sources) Partitions(s id.Stream, at id.Time) int { return len(m[source{s, at}]) }

// jobs runs one job per output operation, in the order in which they were registered.
func (b *batch) jobs(ctx context.Context) error {
	app, err := b.cfg.Graph(b.order.App)
	if err != nil {
		return failed("coordinator: %v", err)
	}
	b.app = app
	for i, out := range app.Outputs() {
		if err := b.job(ctx, i, out); err != nil {
			return err
		}
	}
	return nil
}

// guard runs user code here.
func (b *batch) guard(ctx context.Context, f func() error) error {
	if te := b.cfg.Guard(ctx, b.app, f); te != nil {
		return te
	}
	return nil
}

// job runs one output operation: its stages, again for buckets that get lost, then its commit.
func (b *batch) job(ctx context.Context, i int, out dataset.Output) error {
	var root dataset.Dataset
	var ok bool
	err := b.guard(ctx, func() (err error) {
		root, ok, err = b.app.Dataset(out.Stream(), b.order.Time, b.sources)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return failed("output %q: %v", out.Name(), err)
	case !ok:
		return nil
	}
	j := &outputJob{batch: b, index: i, out: out, root: root, lineage: job.Lineage(root), receipts: make([][]byte, root.Partitions())}
	for p := range j.receipts {
		j.pending = append(j.pending, p)
	}
	for delay := minDelay; ; delay = min(delay*2, maxDelay) {
		err := j.run(ctx)
		lost, ok := errors.AsType[*lostBuckets](err)
		if !ok && err != nil {
			return err
		}
		if err == nil {
			return j.commit(ctx)
		}
		// Buckets that are lost were work, not user errors: they are made again however often it takes (rule 8).
		if err := b.wait(ctx, lost.Error(), delay); err != nil {
			return err
		}
	}
}

// outputJob is the job of one output operation.
type outputJob struct {
	*batch
	index    int
	out      dataset.Output
	root     dataset.Dataset
	lineage  uint64
	pending  []int // partitions that have not run
	receipts [][]byte
}

// run runs what is missing: map stages first, parents before children, then the output's own tasks.
func (j *outputJob) run(ctx context.Context) error {
	if err := j.before(ctx, j.root, map[dataset.ID]bool{}); err != nil {
		return err
	}
	s := &stage{
		outputJob: j, key: stageKey{output: j.index, kind: job.OutputTasks}, of: j.root,
		name: fmt.Sprintf("output %q", j.out.Name()),
		done: func(res job.TaskResult, _ job.Peer) {
			j.receipts[res.Part] = res.Receipt
			j.pending = slices.DeleteFunc(j.pending, func(p int) bool { return p == res.Part })
		},
	}
	return s.run(ctx, slices.Clone(j.pending))
}

// before runs the map stages that d's narrow chain reads and whose buckets are not all held.
func (j *outputJob) before(ctx context.Context, d dataset.Dataset, seen map[dataset.ID]bool) error {
	if seen[d.ID()] {
		return nil
	}
	seen[d.ID()] = true
	for _, dep := range d.Deps() {
		if dep.Shuffle == nil {
			if err := j.before(ctx, dep.On, seen); err != nil {
				return err
			}
			continue
		}
		if err := j.mapSide(ctx, dep, seen); err != nil {
			return err
		}
	}
	return nil
}

// mapSide runs the map stage of a shuffle until every bucket is held by an open session.
func (j *outputJob) mapSide(ctx context.Context, dep dataset.Dep, seen map[dataset.ID]bool) error {
	m := j.mapped(dep)
	for missing := j.missing(m); len(missing) > 0; missing = j.missing(m) {
		if err := j.before(ctx, dep.On, seen); err != nil {
			return err
		}
		s := &stage{
			outputJob: j, key: stageKey{shuffle: dep.Shuffle.ID(), kind: job.MapTasks}, of: dep.On, shuffle: dep.Shuffle,
			name: fmt.Sprintf("map side of shuffle %v", dep.Shuffle.ID()),
			done: func(res job.TaskResult, by job.Peer) { m.holders[res.Part] = by.Session },
		}
		if err := s.run(ctx, missing); err != nil {
			return err
		}
	}
	return nil
}

// mapped gives what is known of a shuffle's buckets. A shuffle that several outputs read is made once.
func (b *batch) mapped(dep dataset.Dep) *mapped {
	m := b.shuffles[dep.Shuffle.ID()]
	if m == nil {
		m = &mapped{holders: make([]id.Session, dep.On.Partitions())}
		b.shuffles[dep.Shuffle.ID()] = m
	}
	return m
}

// missing lists the map partitions whose buckets nobody with an open session holds.
func (b *batch) missing(m *mapped) (parts []int) {
	peers, _ := b.cfg.Peers()
	for p, h := range m.holders {
		if h == 0 || !open(peers, h) {
			m.holders[p] = 0
			parts = append(parts, p)
		}
	}
	return parts
}

func open(peers *job.Peers, s id.Session) bool {
	return slices.ContainsFunc(peers.Peers, func(p job.Peer) bool { return p.Session == s })
}

// commit commits the output. An error of it is a user error: it is tried again like a task.
func (j *outputJob) commit(ctx context.Context) error {
	j.show("commit of output %q", j.out.Name())
	j.blocked("")
	info := dataset.Batch{App: j.order.App.ID, Time: j.order.Time, Attempt: j.order.Authority.Attempt}
	delay := minDelay
	for try := 1; ; try++ {
		err := j.guard(ctx, func() error { return j.out.Commit(ctx, info, j.receipts) })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			return nil
		}
		if try == MaxTries {
			return failed("commit of output %q failed %d times, the last time: %v", j.out.Name(), try, err)
		}
		j.tries = max(j.tries, try)
		j.log.Warn("commit failed, to be tried again", "output", j.out.Name(), "try", try, "error", err)
		if err := j.wait(ctx, err.Error(), delay); err != nil {
			return err
		}
		delay = min(delay*2, maxDelay)
	}
}

// show says what runs.
func (b *batch) show(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cur.status.Stage = fmt.Sprintf(format, args...)
}

// blocked says why nothing runs, "" when something does, and reports whether that is news.
func (b *batch) blocked(why string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := b.cur.status.Waiting != why
	b.cur.status.Waiting = why
	return fresh
}

// wait waits for the delay or another table of peers, and says why meanwhile.
func (b *batch) wait(ctx context.Context, why string, delay time.Duration) error {
	if b.blocked(why) {
		b.log.Warn("batch waits", "reason", why)
	}
	_, changed := b.cfg.Peers()
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
