package dstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
)

// ForeachRDD calls f with the dataset of every batch and its time, on the coordinator: in one process, for one batch at a
// time, in order of time. What f wants of r it asks for by r's actions Collect, Take, First and Count: each of them is a
// job on executors, which computes the dataset anew but for shuffles that the batch has made already. Jobs of one batch
// run one after the other, also when f starts them on several goroutines. If f asks for nothing, nothing is computed.
// r has no operators there: apply them to s, or in Transform. r is for the time of the call.
//
// An error or panic of f counts as a try: after four the batch fails. f may run again for a batch after a failure, also
// when it had returned nil, so that its effects must be idempotent under the batch time (Spark: foreachRDD, output
// operations are at least once). ctx ends when the batch is given up here: another process runs it then, and f should
// return.
func ForeachRDD[T any](s *DStream[T], f func(ctx context.Context, r rdd.RDD[T], t time.Time) error) {
	s.c.function("foreachRDD", f)
	s.c.outputs = append(s.c.outputs, foreachRDD[T]{s.output("foreachRDD"), f})
}

type foreachRDD[T any] struct {
	output
	f func(ctx context.Context, r rdd.RDD[T], t time.Time) error
}

var _ dataset.Action = foreachRDD[int]{}

// Call implements dataset.Action.
func (o foreachRDD[T]) Call(ctx context.Context, b dataset.Batch, d dataset.Dataset, jobs dataset.Jobs) error {
	n, ok := d.(*lineage.Node[T])
	if !ok {
		return fmt.Errorf("dataset %v is a %T, expected a %T", d.ID(), d, n)
	}
	scope := &lineage.Scope{
		Stream: o.stream, Time: b.Time, Partitions: 1,
		Closed: "a dataset takes no operators inside ForeachRDD, only the actions Collect, Take, First and Count: apply operators to the stream, or in Transform",
	}
	return o.f(ctx, rdd.Acting(scope, n, jobs), b.Time.Time())
}

// Read implements dataset.Action.
func (o foreachRDD[T]) Read(t dataset.Task, d dataset.Dataset, part int, q dataset.Query, put func(rows []byte)) int64 {
	n := node[T](t, d)
	if q.Count {
		return n.Count(t, part)
	}
	c, err := codec.For[T]()
	if err != nil {
		t.Fail(fmt.Errorf("%s: %w", o.name, err))
	}
	return n.Rows(t, part, q.Limit, c, put)
}

var errNoTasks = errors.New("an output operation that runs on the coordinator has no tasks")

// Run is not called for an Action.
func (o foreachRDD[T]) Run(t dataset.Task, _ dataset.Dataset, _ int) []byte {
	t.Fail(fmt.Errorf("%s: %w", o.name, errNoTasks))
	return nil
}

// Commit is not called for an Action.
func (o foreachRDD[T]) Commit(context.Context, dataset.Batch, [][]byte) error {
	return fmt.Errorf("%s: %w", o.name, errNoTasks)
}
