package rdd_test

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// screen is what an example uses for a test: it fails loudly.
type screen struct{ testing.TB }

func (screen) Helper() {}

func (screen) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (screen) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (screen) Logf(string, ...any) {}

func (screen) Cleanup(func()) {}

// show prints what Transform makes of one batch of numbers in two partitions.
func show[U any](f func(r rdd.RDD[int], t time.Time) rdd.RDD[U], numbers ...int) {
	op := func(s *dstream.DStream[int]) *dstream.DStream[U] { return dstream.Transform(s, f) }
	for _, batch := range streamtest.Run(screen{}, [][]int{numbers}, op) {
		fmt.Println(batch)
	}
}

func ExampleSortBy() {
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[int] {
		return rdd.SortBy(r, func(v int) int { return v % 10 })
	}, 13, 21, 32, 11)
	// Output: [21 11 32 13]
}

func ExampleTop() {
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[int] { return rdd.Top(r, 2, cmp.Compare[int]) }, 3, 9, 4, 7)
	// Output: [9 7]
}

func ExampleBottom() {
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[int] { return rdd.Bottom(r, 2, cmp.Compare[int]) }, 3, 9, 4, 7)
	// Output: [3 4]
}

func ExampleDistinct() {
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[int] { return rdd.Distinct(r, 1) }, 3, 1, 3, 1, 2)
	// Output: [3 1 2]
}

func ExampleSubtract() {
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[int] { return rdd.Subtract(r, rdd.FromSlice(r, []int{1}), 1) }, 3, 1, 3, 2)
	// Output: [3 3 2]
}

func ExampleIntersection() {
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[int] {
		return rdd.Intersection(r, rdd.FromSlice(r, []int{2, 3, 5}), 1)
	}, 3, 1, 3, 2)
	// Output: [3 2]
}

func ExampleCartesian() {
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[rdd.Joined[int, string]] {
		return rdd.Cartesian(r, rdd.FromSlice(r, []string{"a", "b"}))
	}, 1, 2)
	// Output: [(1,a) (1,b) (2,a) (2,b)]
}

func ExampleAggregateByKey() {
	type mean struct{ Sum, Count int }
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[rdd.KV[bool, mean]] {
		byParity := rdd.KeyBy(r, func(v int) bool { return v%2 == 0 })
		return rdd.AggregateByKey(byParity, mean{},
			func(m mean, v int) mean { return mean{m.Sum + v, m.Count + 1} },
			func(a, b mean) mean { return mean{a.Sum + b.Sum, a.Count + b.Count} }, 1)
	}, 1, 2, 3, 4, 5)
	// Output: [(false,{9 3}) (true,{6 2})]
}

func ExampleGroupBy() {
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[rdd.KV[int, []int]] {
		return rdd.GroupBy(r, func(v int) int { return v / 10 }, 1)
	}, 13, 21, 11)
	// Output: [(1,[13 11]) (2,[21])]
}

func ExampleRDD_Sample() {
	show(func(r rdd.RDD[int], _ time.Time) rdd.RDD[int64] {
		all := rdd.FromSlice(r, make([]int, 1000), 4)
		return rdd.Map(rdd.Count(all.Sample(0.5, 1)), func(n int64) int64 { return (n + 50) / 100 * 100 })
	}, 1)
	// Output: [500]
}
