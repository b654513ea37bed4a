package rdd

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
)

// Acting gives a lineage node whose actions jobs runs, and that takes no operators. For package dstream.
func Acting[T any](s *lineage.Scope, n *lineage.Node[T], jobs dataset.Jobs) RDD[T] {
	return RDD[T]{node: n, scope: s, jobs: jobs}
}

// Collect gives all records, in order of partition: at most 64 MiB of them, encoded, because they come to the memory of
// one process; it is an error if there are more. It is for ForeachRDD alone, as long as the function given there runs.
// The error says that a task failed for good, that ctx has ended, or that the batch is given up here: then another
// process runs it, and nothing that is done with the result counts any more. T needs a codec.
func (r RDD[T]) Collect(ctx context.Context) ([]T, error) {
	c, err := r.acting("Collect")
	if err != nil {
		return nil, err
	}
	got, _, err := r.read(ctx, c, []T{}, -1, 0, r.node.Partitions())
	if err != nil {
		return nil, fmt.Errorf("Collect: %w", err)
	}
	return got, nil
}

// Take gives the first n records in order of partition, or all if there are fewer. It computes the first partition, then
// as many as it is likely to need (Spark: take). What holds for Collect holds for it.
func (r RDD[T]) Take(ctx context.Context, n int) ([]T, error) {
	c, err := r.acting("Take")
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, fmt.Errorf("Take: %d records, expected 0 or more", n)
	}
	got := []T{}
	var bytes, size int64
	for next, ask := 0, 1; len(got) < n && next < r.node.Partitions(); {
		end := min(next+ask, r.node.Partitions())
		if got, size, err = r.read(ctx, c, got, n-len(got), next, end); err != nil {
			return nil, fmt.Errorf("Take: %w", err)
		}
		if bytes += size; bytes > dataset.MaxCollected {
			return nil, fmt.Errorf("Take: %d bytes of records, at most %d can be taken", bytes, dataset.MaxCollected)
		}
		next, ask = end, more(end, len(got), n)
	}
	return got[:min(n, len(got))], nil
}

// more is how many partitions to read after some have given a number of records: half as many again as are likely to
// hold the rest of n, and at most four times those that were read.
func more(read, got, n int) int {
	if got == 0 {
		return 4 * read
	}
	likely := 3*float64(read)*float64(n)/(2*float64(got)) - float64(read)
	return int(min(max(likely, 1), float64(4*read)))
}

// First gives the first record; ok is false where there is none. What holds for Take holds for it.
func (r RDD[T]) First(ctx context.Context) (v T, ok bool, err error) {
	got, err := r.Take(ctx, 1)
	if err != nil || len(got) == 0 {
		return v, false, err
	}
	return got[0], true, nil
}

// Count gives the number of records. What holds for Collect holds for it, but that there is no limit and no codec.
// The function Count gives the number as a dataset, for Transform.
func (r RDD[T]) Count(ctx context.Context) (int64, error) {
	if err := r.refusal("Count"); err != nil {
		return 0, err
	}
	answers, err := r.jobs.Run(ctx, dataset.Query{Count: true, Limit: -1}, span(0, r.node.Partitions()))
	if err != nil {
		return 0, fmt.Errorf("Count: %w", err)
	}
	var n int64
	for _, a := range answers {
		n += a.Records
	}
	return n, nil
}

// acting gives the codec that an action needs, or why it is refused.
func (r RDD[T]) acting(action string) (*codec.Codec[T], error) {
	if err := r.refusal(action); err != nil {
		return nil, err
	}
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	return c, nil
}

var errNoDataset = errors.New("this RDD was not given by the engine: it has no records")

// refusal says why there is no action on this dataset. Inside Transform the batch fails with it, whether or not the
// function there looks at its error.
func (r RDD[T]) refusal(action string) error {
	switch {
	case r.jobs != nil:
		return nil
	case r.scope == nil:
		return fmt.Errorf("%s: %w", action, errNoDataset)
	}
	err := fmt.Errorf("%s is an action: it computes, and is for ForeachRDD alone; here a dataset is described (rdd.Count has the number of records as a dataset)", action)
	r.scope.Fail(err)
	return err
}

// read appends the first limit records of each of some partitions to got, and gives how many bytes they took.
func (r RDD[T]) read(ctx context.Context, c *codec.Codec[T], got []T, limit, first, end int) ([]T, int64, error) {
	answers, err := r.jobs.Run(ctx, dataset.Query{Limit: limit}, span(first, end))
	if err != nil {
		return nil, 0, err
	}
	var bytes int64
	for i, a := range answers {
		bytes += int64(len(a.Rows))
		if got, err = lineage.ReadRows(got, a.Rows, a.Records, c); err != nil {
			return nil, 0, fmt.Errorf("partition %d: %w", first+i, err)
		}
	}
	return got, bytes, nil
}

// span lists the partitions from first to end, end excluded.
func span(first, end int) []int {
	parts := make([]int, end-first)
	for i := range parts {
		parts[i] = first + i
	}
	return parts
}
