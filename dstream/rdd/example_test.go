package rdd_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
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

// show prints what an operator makes, inside Transform, of one batch of records in two partitions.
func show[T, U any](op func(r rdd.RDD[T]) rdd.RDD[U], records ...T) {
	transform := func(s *dstream.DStream[T]) *dstream.DStream[U] {
		return dstream.Transform(s, func(r rdd.RDD[T], _ time.Time) rdd.RDD[U] { return op(r) })
	}
	for _, batch := range streamtest.Run(screen{}, [][]T{records}, transform) {
		fmt.Println(batch)
	}
}

// act runs actions on one batch of numbers in two partitions.
func act(f func(ctx context.Context, r rdd.RDD[int]) error, numbers ...int) {
	streamtest.Run(screen{}, [][]int{numbers}, func(s *dstream.DStream[int]) *dstream.DStream[int] {
		dstream.ForeachRDD(s, func(ctx context.Context, r rdd.RDD[int], _ time.Time) error { return f(ctx, r) })
		return s
	})
}

func ExampleMap() {
	show(func(r rdd.RDD[int]) rdd.RDD[string] { return rdd.Map(r, strconv.Itoa) }, 1, 2, 3)
	// Output: [1 2 3]
}

func ExampleFlatMap() {
	show(func(r rdd.RDD[string]) rdd.RDD[string] { return rdd.FlatMap(r, strings.FieldsSeq) }, "to be", "or not")
	// Output: [to be or not]
}

// The function sees a whole partition; here it adds up what is in it.
func ExampleMapPartitions() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] {
		return rdd.MapPartitions(r, func(in iter.Seq[int]) iter.Seq[int] {
			return func(yield func(int) bool) {
				sum := 0
				for v := range in {
					sum += v
				}
				yield(sum)
			}
		})
	}, 1, 2, 3, 4)
	// Output: [3 7]
}

// A partition without records is a slice, too.
func ExampleGlom() {
	show(func(r rdd.RDD[int]) rdd.RDD[[]int] { return rdd.Glom(r.Filter(func(v int) bool { return v > 2 })) }, 1, 2, 3, 4)
	// Output: [[] [3 4]]
}

func ExampleRDD_Filter() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] { return r.Filter(func(v int) bool { return v%2 == 1 }) }, 1, 2, 3)
	// Output: [1 3]
}

func ExampleRDD_Union() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] { return r.Union(r, rdd.FromSlice(r, []int{7})) }, 1, 2)
	// Output: [1 2 1 2 7]
}

func ExampleRDD_Repartition() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] {
		return rdd.Map(rdd.Glom(r.Repartition(3)), func(part []int) int { return len(part) })
	}, 1, 2, 3, 4, 5, 6)
	// Output: [2 2 2]
}

// Neighbours are put together where they are.
func ExampleRDD_Coalesce() {
	show(func(r rdd.RDD[int]) rdd.RDD[[]int] {
		four := rdd.FromSlice(r, []int{1, 2, 3, 4}, 4)
		return rdd.Glom(four.Coalesce(2))
	}, 0)
	// Output: [[1 2] [3 4]]
}

func ExampleRDD_Reduce() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] { return r.Reduce(func(a, b int) int { return a + b }) }, 1, 2, 3)
	// Output: [6]
}

// The number is a dataset, to be joined with others, say.
func ExampleCount() {
	show(func(r rdd.RDD[string]) rdd.RDD[int64] { return rdd.Count(r) }, "to", "be", "or")
	// Output: [3]
}

// What a program knows by itself is spread over partitions at i*n/p.
func ExampleFromSlice() {
	show(func(r rdd.RDD[int]) rdd.RDD[[]int] { return rdd.Glom(rdd.FromSlice(r, []int{1, 2, 3, 4, 5}, 2)) }, 0)
	// Output: [[1 2] [3 4 5]]
}

// Executors make the records, each partition by itself.
func ExampleFromSeq() {
	show(func(r rdd.RDD[int]) rdd.RDD[string] {
		return rdd.FromSeq(r, func(part, parts int) iter.Seq[string] {
			return slices.Values([]string{fmt.Sprintf("%d of %d", part, parts)})
		}, 3)
	}, 0)
	// Output: [0 of 3 1 of 3 2 of 3]
}

// The least digit counts; of two records with the same one the first stays first.
func ExampleSortBy() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] {
		return rdd.SortBy(r, func(v int) int { return v % 10 })
	}, 13, 21, 32, 11)
	// Output: [21 11 32 13]
}

func ExampleTop() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] { return rdd.Top(r, 2, cmp.Compare[int]) }, 3, 9, 4, 7)
	// Output: [9 7]
}

func ExampleBottom() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] { return rdd.Bottom(r, 2, cmp.Compare[int]) }, 3, 9, 4, 7)
	// Output: [3 4]
}

func ExampleDistinct() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] { return rdd.Distinct(r, 1) }, 3, 1, 3, 1, 2)
	// Output: [3 1 2]
}

func ExampleSubtract() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] { return rdd.Subtract(r, rdd.FromSlice(r, []int{1}), 1) }, 3, 1, 3, 2)
	// Output: [3 3 2]
}

func ExampleIntersection() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] {
		return rdd.Intersection(r, rdd.FromSlice(r, []int{2, 3, 5}), 1)
	}, 3, 1, 3, 2)
	// Output: [3 2]
}

func ExampleCartesian() {
	show(func(r rdd.RDD[int]) rdd.RDD[rdd.Joined[int, string]] {
		return rdd.Cartesian(r, rdd.FromSlice(r, []string{"a", "b"}))
	}, 1, 2)
	// Output: [(1,a) (1,b) (2,a) (2,b)]
}

func ExampleRDD_Sample() {
	show(func(r rdd.RDD[int]) rdd.RDD[int64] {
		all := rdd.FromSlice(r, make([]int, 1000), 4)
		return rdd.Map(rdd.Count(all.Sample(0.5, 1)), func(n int64) int64 { return (n + 50) / 100 * 100 })
	}, 1)
	// Output: [500]
}

func ExampleSortFunc() {
	show(func(r rdd.RDD[int]) rdd.RDD[int] {
		return rdd.SortFunc(r, func(a, b int) int { return cmp.Compare(b, a) })
	}, 3, 9, 4, 7)
	// Output: [9 7 4 3]
}

// Each of the two partitions is in order by itself.
func ExampleSortPartitions() {
	show(func(r rdd.RDD[int]) rdd.RDD[[]int] { return rdd.Glom(rdd.SortPartitions(r, cmp.Compare[int])) }, 9, 3, 7, 4)
	// Output: [[3 9] [4 7]]
}

func ExampleRDD_Collect() {
	act(func(ctx context.Context, r rdd.RDD[int]) error {
		all, err := r.Collect(ctx)
		fmt.Println(all)
		return err
	}, 3, 1, 2)
	// Output: [3 1 2]
}

func ExampleRDD_Take() {
	act(func(ctx context.Context, r rdd.RDD[int]) error {
		some, err := r.Take(ctx, 2)
		fmt.Println(some)
		return err
	}, 3, 1, 2)
	// Output: [3 1]
}

// A batch may be empty: then there is no first record, which is no error.
func ExampleRDD_First() {
	first := func(ctx context.Context, r rdd.RDD[int]) error {
		v, ok, err := r.First(ctx)
		fmt.Println(v, ok)
		return err
	}
	act(first, 3, 1, 2)
	act(first, []int{}...)
	// Output:
	// 3 true
	// 0 false
}

func ExampleRDD_Count() {
	act(func(ctx context.Context, r rdd.RDD[int]) error {
		n, err := r.Count(ctx)
		fmt.Println(n)
		return err
	}, 3, 1, 2)
	// Output: 3
}
