package dstream_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/rate"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// table is an idempotent sink: a row per partition of a batch. It stands for one that every node reaches.
type table struct{ rows sync.Map }

// Write puts the row: writing it again changes nothing, as the same partition has the same records.
func (s *table) Write(_ context.Context, p connector.Partition, seq iter.Seq[string]) ([]byte, error) {
	s.rows.Store(fmt.Sprint(p.Time.UnixMilli(), "/", p.Index), slices.Collect(seq))
	return nil, nil
}

// Commit has nothing to do.
func (*table) Commit(context.Context, connector.Batch, [][]byte) error { return nil }

func ExampleTo() {
	var t table
	show(func(words *dstream.DStream[string]) *dstream.DStream[int64] {
		dstream.To(words, &t)
		return words.Count()
	}, []string{"to", "be"}, []string{"or"})
	for _, key := range []string{"1000/0", "2000/0"} {
		row, _ := t.rows.Load(key)
		fmt.Println(key, row)
	}
	// Output:
	// [2]
	// [1]
	// 1000/0 [to be]
	// 2000/0 [or]
}

// The input of each batch is kept for a minute, longer than this graph needs it.
func ExampleContext_Remember() {
	lines := func(c *dstream.Context) *dstream.DStream[int64] {
		c.Remember(time.Minute)
		return rate.Lines(c, 5).Count()
	}
	for _, batch := range streamtest.RunSource(console{}, lines, streamtest.Batches(2)) {
		fmt.Println(batch)
	}
	// Output:
	// [5]
	// [5]
}

// State is saved every two seconds; after the restart that of the third batch is made again from what was saved.
func ExampleContext_Checkpoint() {
	total := func(c *dstream.Context) *dstream.DStream[dstream.KV[string, int64]] {
		c.Checkpoint(2 * time.Second)
		ones := dstream.Map(rate.Lines(c, 5), func(string) dstream.KV[string, int64] { return dstream.Pair("lines", int64(1)) })
		return dstream.UpdateStateByKey(ones, func(values []int64, state dstream.Opt[int64]) dstream.Opt[int64] {
			return dstream.Some(state.Value + int64(len(values)))
		})
	}
	for _, batch := range streamtest.RunSource(console{}, total, streamtest.Batches(4), streamtest.RestartAfter(3)) {
		fmt.Println(batch)
	}
	// Output:
	// [(lines,5)]
	// [(lines,10)]
	// [(lines,15)]
	// [(lines,20)]
}

func ExampleSum() {
	show(func(words *dstream.DStream[string]) *dstream.DStream[int] {
		return dstream.Map(words, length).Reduce(dstream.Sum)
	},
		[]string{"to", "be", "or", "not"})
	// Output:
	// [9]
}
