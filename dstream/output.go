package dstream

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/plan"
)

// output is what all output operations have.
type output struct {
	name   string
	stream id.Stream
}

func (o output) Name() string      { return o.name }
func (o output) Stream() id.Stream { return o.stream }

// output names an output operation of s and puts it into the plan; the caller adds the operation itself, unless it
// fails. Outputs of a batch are independent of each other.
func (s *DStream[T]) output(op string) output {
	c := s.c
	c.unsealed(op)
	o := output{name: op + "-" + strconv.Itoa(len(c.plan.Outputs)), stream: s.id}
	c.plan.Outputs = append(c.plan.Outputs, plan.Output{Stream: s.id, Operator: op, Name: o.name, At: caller()})
	return o
}

// node gives the typed dataset of an output's task.
func node[T any](t dataset.Task, d dataset.Dataset) *lineage.Node[T] {
	n, ok := d.(*lineage.Node[T])
	if !ok {
		t.Fail(fmt.Errorf("dataset %v is a %T, expected a %T", d.ID(), d, n))
	}
	return n
}

// partition describes a task's partition to user code.
func (o output) partition(t dataset.Task, d dataset.Dataset, part int) Partition {
	b := t.Batch()
	return Partition{Output: o.name, Time: b.Time.Time(), Index: part, Count: d.Partitions(), Attempt: b.Try}
}

// ForeachPartition calls f with every partition of every batch, on executors. f may run several times for the same
// partition, also at the same time on two executors: p.Output, p.Time and p.Index are the key under which it should
// write. An error fails the task, which is tried again. seq is for the goroutine and the time of the call; it may be
// ranged over again, which computes it again.
func ForeachPartition[T any](s *DStream[T], f func(ctx context.Context, p Partition, seq iter.Seq[T]) error) {
	s.c.function("foreachPartition", f)
	s.c.outputs = append(s.c.outputs, foreach[T]{s.output("foreachPartition"), f})
}

type foreach[T any] struct {
	output
	f func(ctx context.Context, p Partition, seq iter.Seq[T]) error
}

func (o foreach[T]) Run(t dataset.Task, d dataset.Dataset, part int) []byte {
	n := node[T](t, d)
	seq, whole := n.Read(t, part)
	if err := o.f(t.Context(), o.partition(t, d, part), seq); err != nil {
		t.Fail(fmt.Errorf("%s, partition %d: %w", o.name, part, err))
	}
	whole()
	return nil
}

// Commit has nothing to do: the effects are f's own.
func (o foreach[T]) Commit(context.Context, dataset.Batch, [][]byte) error { return nil }
