package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
)

var (
	errReturned = errors.New("the function of the output operation has returned: its dataset is gone")
	errNotAsked = errors.New("a partition that the dataset does not have was asked for")
)

// oversize says that an action asked for more than the coordinator takes. It is the action's error: to ask again would
// not help.
type oversize struct{ text string }

// Error implements error.
func (e *oversize) Error() string { return e.text }

// action runs an output operation whose work is a function here. Its errors are tried again like a task's.
func (b *batch) action(ctx context.Context, i int, out dataset.Output) error {
	t, err := b.outputTree(ctx, out)
	if t == nil || err != nil {
		return err
	}
	t.output = i
	what := fmt.Sprintf("function of output %q", out.Name())
	n := 0
	return b.try(ctx, what, func() error {
		c := &call{tree: t, what: what, name: fmt.Sprintf("output %q", out.Name()), turn: make(chan struct{}, 1), job: n}
		err := c.run(ctx, out.(dataset.Action))
		n = c.job
		return err
	})
}

// call is one call of an action's function, and runs the jobs that it asks for: one at a time, because one goroutine at
// a time may work on a batch. While the function runs that is the one that has the turn.
type call struct {
	*tree
	what, name string
	ctx        context.Context // of the call: a job ends with it, whatever context the function gives
	turn       chan struct{}   // holds the turn
	job        int             // of the output's jobs, numbered over all calls
	over       bool            // the function has returned
	final      error           // why the batch fails or ends, whatever the function makes of it
}

var _ dataset.Jobs = (*call)(nil)

// run calls the function and waits for what it left running.
func (c *call) run(ctx context.Context, act dataset.Action) error {
	var end context.CancelCauseFunc
	c.ctx, end = context.WithCancelCause(ctx)
	defer end(nil)
	info := dataset.Batch{App: c.order.App.ID, Time: c.order.Time, Attempt: c.order.Authority.Attempt}
	var returned error
	err := c.guard(ctx, func() error {
		returned = act.Call(c.ctx, info, c.root, c)
		return returned
	})
	end(errReturned)
	c.turn <- struct{}{}
	c.over = true
	<-c.turn
	if c.final != nil {
		return c.final
	}
	if _, size := errors.AsType[*oversize](returned); size { // it comes to the same however often it is tried
		return failed("%s failed: %v", c.what, err)
	}
	return err
}

// Run implements dataset.Jobs.
func (c *call) Run(ctx context.Context, q dataset.Query, parts []int) ([]dataset.Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	switch {
	case c.over:
		return nil, errReturned
	case c.final != nil:
		return nil, c.final
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case slices.ContainsFunc(parts, func(p int) bool { return p < 0 || p >= c.root.Partitions() }):
		return nil, errNotAsked
	}
	c.job++
	answers, err := c.collect(ctx, q, parts)
	c.show("%s", c.what)
	c.blocked("")
	if err == nil {
		return answers, nil
	}
	_, size := errors.AsType[*oversize](err)
	_, failed := errors.AsType[*batchError](err)
	if !size && (failed || errors.Is(err, errFenced) || ctx.Err() == nil) { // else the function's own context has ended, or the run's
		c.final = err
	}
	return nil, err
}

// collect runs one job: map stages first, then a task for every partition that is asked for.
func (c *call) collect(ctx context.Context, q dataset.Query, parts []int) ([]dataset.Answer, error) {
	index := make(map[int]int, len(parts))
	for i, p := range parts {
		index[p] = i
	}
	pending := slices.Sorted(slices.Values(parts))
	answers := make([]dataset.Answer, len(parts))
	room := int64(dataset.MaxCollected)
	s := &stage{
		tree: c.tree, key: stageKey{kind: job.CollectTasks, output: c.output, job: c.job}, of: c.root, name: c.name,
		query: &q, room: &room,
		done: func(res job.TaskResult, _ job.Peer) {
			answers[index[res.Part]] = dataset.Answer{Records: res.Records, Rows: res.Rows}
			room -= int64(len(res.Rows))
			pending = slices.DeleteFunc(pending, func(p int) bool { return p == res.Part })
		},
	}
	defer delete(c.stages, s.key)
	err := c.insist(ctx, true, func() error {
		if len(pending) == 0 {
			return nil
		}
		if err := c.before(ctx, c.root, map[dataset.ID]bool{}); err != nil {
			return err
		}
		return s.run(ctx, slices.Clone(pending))
	})
	if err == nil && room < 0 {
		err = &oversize{fmt.Sprintf("%d bytes", dataset.MaxCollected-room)}
	}
	if over, ok := errors.AsType[*oversize](err); ok {
		return nil, &oversize{fmt.Sprintf("%s: its records are too large to be collected: %s, at most %d can be; "+
			"Take gives the first ones, ForeachPartition reads all of them where they are", c.name, over.text, dataset.MaxCollected)}
	}
	return answers, err
}
