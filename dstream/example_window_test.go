package dstream_test

import (
	"fmt"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// readingTimes are three batches, a second each, of pages and how long somebody read them.
var readingTimes = [][]dstream.KV[string, int]{
	{dstream.Pair("home", 2), dstream.Pair("news", 5)},
	{dstream.Pair("news", 1)},
	{},
}

func ExampleReduceByKeyAndWindow() {
	lastTwo := func(s *dstream.DStream[dstream.KV[string, int]]) *dstream.DStream[dstream.KV[string, int]] {
		return dstream.ReduceByKeyAndWindow(s, dstream.Sum, 2*time.Second, time.Second)
	}
	for _, sums := range streamtest.Run(console{}, readingTimes, lastTwo, streamtest.Partitions(1)) {
		fmt.Println(sums)
	}
	// Output:
	// [(home,2) (news,5)]
	// [(home,2) (news,6)]
	// [(news,1)]
}

// What has left the window is taken off: the cost does not grow with the window. Keep drops keys of which nothing is
// left.
func ExampleReduceByKeyAndWindowInverse() {
	minus := func(a, b int) int { return a - b }
	some := dstream.Keep(func(_ string, sum int) bool { return sum > 0 })
	lastTwo := func(s *dstream.DStream[dstream.KV[string, int]]) *dstream.DStream[dstream.KV[string, int]] {
		return dstream.ReduceByKeyAndWindowInverse(s, dstream.Sum, minus, 2*time.Second, time.Second, some)
	}
	for _, sums := range streamtest.Run(console{}, readingTimes, lastTwo, streamtest.Partitions(1), streamtest.RestartAfter(2)) {
		fmt.Println(sums)
	}
	// Output:
	// [(home,2) (news,5)]
	// [(home,2) (news,6)]
	// [(news,1)]
}

func ExampleGroupByKeyAndWindow() {
	lastTwo := func(s *dstream.DStream[dstream.KV[string, int]]) *dstream.DStream[dstream.KV[string, []int]] {
		return dstream.GroupByKeyAndWindow(s, 2*time.Second, time.Second)
	}
	for _, groups := range streamtest.Run(console{}, readingTimes, lastTwo, streamtest.Partitions(1)) {
		fmt.Println(groups)
	}
	// Output:
	// [(home,[2]) (news,[5])]
	// [(home,[2]) (news,[5 1])]
	// [(news,[1])]
}

func ExampleCountByValueAndWindow() {
	lastTwo := func(s *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
		return dstream.CountByValueAndWindow(s, 2*time.Second, time.Second)
	}
	for _, counts := range streamtest.Run(console{}, [][]string{{"a", "b", "a"}, {"b"}, {}}, lastTwo, streamtest.Partitions(1)) {
		fmt.Println(counts)
	}
	// Output:
	// [(a,2) (b,1)]
	// [(a,2) (b,2)]
	// [(b,1)]
}

func ExampleDStream_ReduceByWindow() {
	longest := func(s *dstream.DStream[string]) *dstream.DStream[string] {
		return s.ReduceByWindow(func(a, b string) string {
			if len(b) > len(a) {
				return b
			}
			return a
		}, 2*time.Second, time.Second)
	}
	for _, word := range streamtest.Run(console{}, [][]string{{"raft", "stream"}, {"log"}, {}, {}}, longest) {
		fmt.Println(word)
	}
	// Output:
	// [stream]
	// [stream]
	// [log]
	// []
}

func ExampleDStream_ReduceByWindowInverse() {
	minus := func(a, b int) int { return a - b }
	sum := func(s *dstream.DStream[int]) *dstream.DStream[int] {
		return s.ReduceByWindowInverse(dstream.Sum, minus, 3*time.Second, time.Second)
	}
	for _, last := range streamtest.Run(console{}, [][]int{{1, 2}, {3}, {}, {}, {}}, sum) {
		fmt.Println(last)
	}
	// Output:
	// [3]
	// [6]
	// [6]
	// [3]
	// [0]
}

// A window of four batches every two.
func ExampleDStream_CountByWindow() {
	count := func(s *dstream.DStream[string]) *dstream.DStream[int64] {
		return s.CountByWindow(4*time.Second, 2*time.Second)
	}
	for _, n := range streamtest.Run(console{}, [][]string{{"a"}, {"b", "c"}, {}, {"d"}, {}, {}}, count) {
		fmt.Println(n)
	}
	// Output:
	// [3]
	// [4]
	// [1]
}
