package dstream_test

import (
	"fmt"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// Every two seconds, what came in the last three: a record is in more than one window where they overlap.
func ExampleDStream_Window() {
	recent := func(lines *dstream.DStream[string]) *dstream.DStream[string] {
		return lines.Window(3*time.Second, 2*time.Second)
	}
	batches := [][]string{{"a"}, {"b"}, {"c"}, {"d"}, {"e"}}
	for _, lines := range streamtest.Run(console{}, batches, recent, streamtest.Batches(6), streamtest.RestartAfter(3)) {
		fmt.Println(lines)
	}
	// Output:
	// [a b]
	// [b c d]
	// [d e]
}

// The function sees the datasets of earlier batches one by one; here what is new is what the two batches before did not
// have.
func ExampleSlice() {
	fresh := func(words *dstream.DStream[string]) *dstream.DStream[string] {
		return dstream.Slice(words, 3*time.Second, func(past rdd.Past[string], t time.Time) rdd.RDD[string] {
			now := past.Union(t, t)
			before := past.Union(t.Add(-2*time.Second), t.Add(-time.Second))
			signs := rdd.Map(now, func(w string) rdd.KV[string, int] { return rdd.Pair(w, 1) }).
				Union(rdd.Map(before, func(w string) rdd.KV[string, int] { return rdd.Pair(w, -1000) }))
			sums := rdd.ReduceByKey(signs, dstream.Sum).Filter(func(p rdd.KV[string, int]) bool { return p.Value > 0 })
			return rdd.Map(sums, func(p rdd.KV[string, int]) string { return p.Key })
		})
	}
	batches := [][]string{{"a"}, {"a", "b"}, {"c"}, {"b", "a"}, {"b"}, {"a"}}
	for _, words := range streamtest.Run(console{}, batches, fresh, streamtest.Partitions(1)) {
		fmt.Println(words)
	}
	// Output:
	// [a]
	// [b]
	// [c]
	// []
	// []
	// []
}
