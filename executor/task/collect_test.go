package task_test

import (
	"context"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
)

// collecting is a bench whose output is a function, with the buckets of three blocks made.
func collecting(t *testing.T, graph *executortest.WordCount) *bench {
	t.Helper()
	graph.OnCall = func(context.Context, dataset.Batch, dataset.Jobs) error { return nil }
	b := newBench(t, 1, graph)
	for _, r := range b.run(t, b.launch(job.MapTasks, 3, 0, 1, 2)) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return b
}

// collect makes a launch of CollectTasks for both partitions.
func (b *bench) collect(o *job.CollectOrder) *job.Launch {
	l := b.launch(job.OutputTasks, 3, 0, 1)
	l.Kind, l.Collect = job.CollectTasks, o
	return l
}

func TestCollectTasksGiveRowsOrTheirNumber(t *testing.T) {
	b := collecting(t, &executortest.WordCount{Reducers: 2, Depth: 1})
	all := executortest.Words{}
	var records, counted int64
	for _, r := range b.run(t, b.collect(&job.CollectOrder{Limit: -1, Bytes: 100})) {
		words, err := executortest.Decode(r.Rows)
		if r.Err != nil || err != nil {
			t.Fatal(r.Err, err)
		}
		for w, n := range words {
			all[w] += n
		}
		records += r.Records
	}
	for _, r := range b.run(t, b.collect(&job.CollectOrder{Count: true})) {
		if counted += r.Records; r.Rows != nil {
			t.Errorf("%d bytes of rows were not asked for", len(r.Rows))
		}
	}
	if all["a"] != 1 || all["b"] != 2 || all["c"] != 2 || records != 3 || counted != 3 {
		t.Errorf("words are %v, %d records, counted %d", all, records, counted)
	}
}

// The limit is one of all tasks together: an executor's memory holds what they give.
func TestCollectTasksShareTheirRoom(t *testing.T) {
	b := collecting(t, &executortest.WordCount{Reducers: 2, Depth: 1})
	const row = 3 // bytes of a word of one letter
	for room, want := range map[int64]int{3 * row: 0, 3*row - 1: 1, 0: 2} {
		over := 0
		for _, r := range b.run(t, b.collect(&job.CollectOrder{Limit: -1, Bytes: room})) {
			if fault(r) == job.SizeFault {
				over++
			}
			if r.Err != nil && r.Rows != nil {
				t.Error("a task that failed gives rows")
			}
		}
		if over != want {
			t.Errorf("room for %d bytes: %d tasks are over it, expected %d", room, over, want)
		}
	}
}

func TestCollectForWhatIsNoActionIsRefused(t *testing.T) {
	b := newBench(t, 1, &executortest.WordCount{Reducers: 2, Depth: 1})
	for _, r := range b.run(t, b.collect(&job.CollectOrder{Limit: -1})) {
		if fault(r) != job.MismatchFault || !strings.Contains(r.Err.Text, "no action") {
			t.Errorf("got %v", r.Err)
		}
	}
	b = collecting(t, &executortest.WordCount{Reducers: 2, Depth: 1})
	for _, r := range b.run(t, b.collect(nil)) {
		if fault(r) != job.MismatchFault || !strings.Contains(r.Err.Text, "no order") {
			t.Errorf("got %v", r.Err)
		}
	}
}
