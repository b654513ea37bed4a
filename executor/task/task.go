package task

import (
	"context"
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// task is dataset.Task for one partition. One goroutine uses it.
type task struct {
	ctx    context.Context // of this task alone: the seam hands it to user code, which takes no ctx argument
	runner *Runner
	launch *job.Launch
	inputs inputs
	// failed is the first failure. User code between the failure and the task's boundary may recover the panic; the
	// task has failed nevertheless.
	failed error
}

var _ dataset.Task = (*task)(nil)

// Context implements dataset.Task.
func (t *task) Context() context.Context { return t.ctx }

// Batch implements dataset.Task.
func (t *task) Batch() dataset.Batch {
	return dataset.Batch{App: t.launch.App.ID, Time: t.launch.Time, Attempt: t.launch.Authority.Attempt, Try: t.launch.Try}
}

// Fail implements dataset.Task.
func (t *task) Fail(err error) {
	if t.failed == nil {
		t.failed = err
	}
	panic(&failure{err})
}

// Block implements dataset.Task.
func (t *task) Block(s id.Stream, at id.Time, part int) []byte {
	if t.ctx.Err() != nil {
		t.Fail(context.Cause(t.ctx))
	}
	blocks := t.inputs[input{s, at}]
	if part < 0 || part >= len(blocks) {
		t.Fail(&job.TaskError{Fault: job.MismatchFault, Text: fmt.Sprintf("stream %d has %d blocks at %d, block %d was asked for", s, len(blocks), at, part)})
	}
	data, err := t.runner.blocks.Read(t.ctx, &blocks[part])
	if err != nil {
		t.Fail(err)
	}
	return data
}

// Part implements dataset.Task.
func (t *task) Part(id.Stream, id.Time, int) (p connector.Part) {
	t.Fail(&job.TaskError{Fault: job.MismatchFault, Text: "direct streams are not read yet"})
	return p
}

// State implements dataset.Task.
func (t *task) State(dataset.Stateful, int, func(dataset.State) dataset.Delta) (s dataset.State, d dataset.Delta) {
	t.Fail(&job.TaskError{Fault: job.MismatchFault, Text: "keyed state is not kept yet"})
	return s, d
}

// Buckets implements dataset.Task.
func (t *task) Buckets(s dataset.ShuffleID, reducer int) iter.Seq[dataset.Chunk] {
	return func(yield func(dataset.Chunk) bool) {
		if t.ctx.Err() != nil {
			t.Fail(context.Cause(t.ctx))
		}
		for _, o := range t.launch.MapOutputs {
			if o.Shuffle != s {
				continue
			}
			f := job.Fetch{Authority: t.launch.Authority, App: t.launch.App.ID, Time: t.launch.Time, Shuffle: s, Reducer: reducer}
			if err := t.runner.shuffles.Read(t.ctx, f, o.Holders, yield); err != nil {
				t.Fail(err)
			}
			return
		}
		t.Fail(&job.TaskError{Fault: job.MismatchFault, Text: fmt.Sprintf("the launch names no map outputs of shuffle %v", s)})
	}
}

// input names what an input stream was allocated at a time.
type input struct {
	stream id.Stream
	time   id.Time
}

// inputs are the blocks of a launch by stream and time; they are its dataset.Sources.
type inputs map[input][]job.Block

func inputsOf(in []job.Input) inputs {
	m := make(inputs, len(in))
	for _, i := range in {
		m[input{i.Stream, i.Time}] = i.Blocks
	}
	return m
}

// Partitions implements dataset.Sources.
func (m inputs) Partitions(s id.Stream, at id.Time) int { return len(m[input{s, at}]) }
