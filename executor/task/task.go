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
	// contents is shared with the other tasks of the launch.
	contents *contents
	// failed is the first failure. User code between the failure and the task's boundary may recover the panic; the
	// task has failed nevertheless.
	failed error
	// uses are the readings of keyed state that end with the task.
	uses []func()
}

var _ dataset.Task = (*task)(nil)

// Context implements dataset.Task.
func (t *task) Context() context.Context { return t.ctx }

// Batch implements dataset.Task. The state of an earlier time is computed again as of that time.
func (t *task) Batch() dataset.Batch {
	at := t.launch.Time
	if t.launch.Output < 0 {
		at = t.launch.Root.Time
	}
	return dataset.Batch{App: t.launch.App.ID, Time: at, Attempt: t.launch.Authority.Attempt, Try: t.launch.Try}
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
	t.alive()
	blocks := t.input(s, at).Blocks
	if part < 0 || part >= len(blocks) {
		t.Fail(mismatch("stream %d has %d blocks at %d, block %d was asked for", s, len(blocks), at, part))
	}
	data, err := t.runner.blocks.Read(t.ctx, &blocks[part])
	if err != nil {
		t.Fail(err)
	}
	return data
}

func (t *task) input(s id.Stream, at id.Time) *job.Input {
	if in := t.inputs[input{s, at}]; in != nil {
		return in
	}
	return &job.Input{Stream: s, Time: at}
}

// alive ends a task that is not wanted any more.
func (t *task) alive() {
	if t.ctx.Err() != nil {
		t.Fail(context.Cause(t.ctx))
	}
}

// Part implements dataset.Task.
func (t *task) Part(s id.Stream, at id.Time, part int) connector.Part {
	t.alive()
	parts := t.input(s, at).Parts
	if part < 0 || part >= len(parts) {
		t.Fail(mismatch("direct stream %d has %d parts at %d, part %d was asked for", s, len(parts), at, part))
	}
	return parts[part]
}

// Buckets implements dataset.Task.
func (t *task) Buckets(s dataset.ShuffleID, reducer int) iter.Seq[dataset.Chunk] {
	return func(yield func(dataset.Chunk) bool) {
		t.alive()
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

// inputs are what a launch reads, by stream and time; they are its dataset.Sources.
type inputs map[input]*job.Input

func inputsOf(in []job.Input) inputs {
	m := make(inputs, len(in))
	for i := range in {
		m[input{in[i].Stream, in[i].Time}] = &in[i]
	}
	return m
}

// Partitions implements dataset.Sources.
func (m inputs) Partitions(s id.Stream, at id.Time) int {
	if in := m[input{s, at}]; in != nil {
		return in.Partitions()
	}
	return 0
}
