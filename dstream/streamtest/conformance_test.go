package streamtest_test

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	stream[T any]           = *dstream.DStream[T]
	kv[K comparable, V any] = dstream.KV[K, V]
	stringInts              = kv[string, int]
	op[T, U any]            = func(stream[T]) stream[U]
	outcome                 struct{ got, want [][]string }
	spark                   struct {
		name string
		// errorAt is the batch that fails, 0 for none.
		errorAt int
		ordered bool
		run     func(tb testing.TB, opts ...streamtest.Option) outcome
	}
)

// given makes the run of a table case: what Spark's tests say that op makes of the input.
func given[T, U any](input [][]T, f op[T, U], want [][]U) func(testing.TB, ...streamtest.Option) outcome {
	return func(tb testing.TB, opts ...streamtest.Option) outcome {
		return outcome{texts(streamtest.Run(tb, input, f, opts...)), texts(want)}
	}
}

func given2[T, V, U any](a [][]T, b [][]V, f func(stream[T], stream[V]) stream[U], want [][]U) func(testing.TB, ...streamtest.Option) outcome {
	return func(tb testing.TB, opts ...streamtest.Option) outcome {
		return outcome{texts(streamtest.Run2(tb, a, b, f, opts...)), texts(want)}
	}
}

func texts[T any](batches [][]T) [][]string {
	out := make([][]string, len(batches))
	for i, b := range batches {
		out[i] = []string{}
		for _, v := range b {
			out[i] = append(out[i], fmt.Sprintf("%v", v))
		}
	}
	return out
}

func pairOne(s string) stringInts { return dstream.Pair(s, 1) }

func sumOfPartition(seq iter.Seq[int]) iter.Seq[int] {
	sum := 0
	for v := range seq {
		sum += v
	}
	return slices.Values([]int{sum})
}

func numbers(from, to int) []int {
	var n []int
	for i := from; i <= to; i++ {
		n = append(n, i)
	}
	return n
}

func pair[K comparable, V any](k K, v V) kv[K, V] { return dstream.Pair(k, v) }

var (
	twelve = [][]int{{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}}
	fours  = [][]int{{1, 2, 3, 4}, {101, 102, 103, 104}, {201, 202, 203, 204}}
	words  = [][]string{{"a", "a", "b"}, {"", ""}, {}}
)

func plus4(v int) int { return v + 4 }

func unionPlus4(s stream[int]) stream[int] { return s.Union(dstream.Map(s, plus4)) }

// cases are the facts of Spark's BasicOperationsSuite, and some that follow from its source (derived), for the
// operators that there are. Left out: transform, cogroup and joins, state, windows, slice.
var cases = []spark{
	{name: "map", ordered: true, run: given(twelve, func(s stream[int]) stream[string] { return dstream.Map(s, strconv.Itoa) },
		[][]string{{"1", "2", "3", "4"}, {"5", "6", "7", "8"}, {"9", "10", "11", "12"}})},
	{name: "flatMap", ordered: true, run: given([][]int{{1, 2}, {3}}, func(s stream[int]) stream[int] {
		return dstream.FlatMap(s, func(v int) iter.Seq[int] { return slices.Values([]int{v, 2 * v}) })
	}, [][]int{{1, 2, 2, 4}, {3, 6}})},
	{name: "filter", ordered: true, run: given(twelve, func(s stream[int]) stream[int] {
		return s.Filter(func(v int) bool { return v%2 == 0 })
	}, [][]int{{2, 4}, {6, 8}, {10, 12}})},
	{name: "glom", ordered: true, run: given(twelve, func(s stream[int]) stream[[]int] { return dstream.Glom(s) },
		[][][]int{{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}, {{9, 10}, {11, 12}}})},
	{name: "mapPartitions", run: given(twelve, func(s stream[int]) stream[int] { return dstream.MapPartitions(s, sumOfPartition) },
		[][]int{{3, 7}, {11, 15}, {19, 23}})},
	{name: "mapPartitions of empty partitions (derived)", run: given([][]int{{}, {1}}, func(s stream[int]) stream[int] {
		return dstream.MapPartitions(s, sumOfPartition)
	}, [][]int{{0, 0}, {0, 1}})},
	{name: "repartition (more partitions)", run: given([][]int{numbers(1, 100), numbers(101, 200), numbers(201, 300)}, func(s stream[int]) stream[int] {
		return s.Repartition(5)
	}, [][]int{numbers(1, 100), numbers(101, 200), numbers(201, 300)})},
	{name: "repartition (fewer partitions), their number", ordered: true, run: given([][]int{numbers(1, 100), {}}, func(s stream[int]) stream[int] {
		return dstream.Map(dstream.Glom(s.Repartition(5).Repartition(2)), func(p []int) int { return len(p) })
	}, [][]int{{50, 50}, {0, 0}})},
	{name: "groupByKey", run: given(words, func(s stream[string]) stream[kv[string, []int]] {
		return dstream.GroupByKey(dstream.Map(s, pairOne))
	}, [][]kv[string, []int]{{pair("a", []int{1, 1}), pair("b", []int{1})}, {pair("", []int{1, 1})}, {}})},
	{name: "reduceByKey", run: given(words, func(s stream[string]) stream[stringInts] {
		return dstream.ReduceByKey(dstream.Map(s, pairOne), dstream.Sum)
	}, [][]stringInts{{pair("a", 2), pair("b", 1)}, {pair("", 2)}, {}})},
	{name: "combineByKey", run: given(words, func(s stream[string]) stream[kv[string, []string]] {
		pairs := dstream.Map(s, func(w string) kv[string, string] { return dstream.Pair(w, w+"!") })
		return dstream.CombineByKey(pairs, func(v string) []string { return []string{v} },
			func(c []string, v string) []string { return append(c, v) },
			func(a, b []string) []string { return append(a, b...) }, dstream.Partitions(3))
	}, [][]kv[string, []string]{{pair("a", []string{"a!", "a!"}), pair("b", []string{"b!"})}, {pair("", []string{"!", "!"})}, {}})},
	{name: "countByValue", run: given(words, func(s stream[string]) stream[kv[string, int64]] { return dstream.CountByValue(s) },
		[][]kv[string, int64]{{pair("a", int64(2)), pair("b", int64(1))}, {pair("", int64(2))}, {}})},
	{name: "reduce", ordered: true, run: given(twelve, func(s stream[int]) stream[int] { return s.Reduce(dstream.Sum) },
		[][]int{{10}, {26}, {42}})},
	{name: "reduce of an empty batch is an empty batch (derived)", run: given([][]int{{1, 2}, {}, {3}}, func(s stream[int]) stream[int] {
		return s.Reduce(dstream.Sum)
	}, [][]int{{3}, {}, {3}})},
	{name: "count", ordered: true, run: given([][]int{{}, {1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}}, func(s stream[int]) stream[int64] { return s.Count() },
		[][]int64{{0}, {1}, {2}, {3}, {4}})},
	{name: "count of a missing parent dataset fails (derived)", errorAt: 2, run: given([][]int{{1}, nil, {2}}, func(s stream[int]) stream[int64] {
		return s.Count()
	}, [][]int64{{1}})},
	{name: "mapValues", run: given(words, func(s stream[string]) stream[stringInts] {
		return dstream.MapValues(dstream.ReduceByKey(dstream.Map(s, pairOne), dstream.Sum), func(v int) int { return v + 10 })
	}, [][]stringInts{{pair("a", 12), pair("b", 11)}, {pair("", 12)}, {}})},
	{name: "flatMapValues", run: given(words, func(s stream[string]) stream[stringInts] {
		return dstream.FlatMapValues(dstream.ReduceByKey(dstream.Map(s, pairOne), dstream.Sum), func(v int) iter.Seq[int] { return slices.Values([]int{v, v + 10}) })
	}, [][]stringInts{{pair("a", 2), pair("a", 12), pair("b", 1), pair("b", 11)}, {pair("", 2), pair("", 12)}, {}})},
	{name: "union", ordered: true, run: given(fours, unionPlus4, [][]int{numbers(1, 8), numbers(101, 108), numbers(201, 208)})},
	{name: "union with input stream return None", ordered: true, errorAt: 4, run: given(append(slices.Clone(fours), nil), unionPlus4,
		[][]int{numbers(1, 8), numbers(101, 108), numbers(201, 208)})},
	{name: "narrow operators skip a missing parent dataset", ordered: true, run: given([][]int{{1}, nil, {}, {4}}, func(s stream[int]) stream[int] {
		return dstream.Map(s, plus4).Filter(func(int) bool { return true })
	}, [][]int{{5}, {}, {8}})},
	{name: "keyed operators skip a missing parent dataset", run: given([][]string{nil, {"a"}, nil}, func(s stream[string]) stream[stringInts] {
		return dstream.ReduceByKey(dstream.Map(s, pairOne), dstream.Sum)
	}, [][]stringInts{{pair("a", 1)}})},
	{name: "union of two inputs of different lengths", ordered: true, run: given2([][]int{{1, 2}, {3}}, [][]string{{"4"}}, func(a stream[int], b stream[string]) stream[string] {
		return dstream.Map(a, strconv.Itoa).Union(b)
	}, [][]string{{"1", "2", "4"}, {"3"}})},
}

// Rules 6 and 7: the same, whether or not everything volatile is lost on the way.
func TestOperatorsDoWhatSparksDo(t *testing.T) {
	for _, c := range cases {
		for restart := range 3 {
			t.Run(fmt.Sprintf("%s/restart after %d", c.name, restart), func(t *testing.T) {
				t.Parallel()
				tb := &recorder{TB: t}
				o := c.run(tb, streamtest.RestartAfter(restart))
				if !c.ordered {
					sortAll(o.got)
					sortAll(o.want)
				}
				if !reflect.DeepEqual(o.got, o.want) {
					t.Errorf("got %q, want %q", o.got, o.want)
				}
				if c.errorAt == 0 && len(tb.errors) > 0 {
					t.Error(tb.errors)
				}
				if c.errorAt > 0 && (len(tb.errors) != 1 || !strings.Contains(tb.errors[0], fmt.Sprintf("batch %d at %d ms", c.errorAt, c.errorAt*1000))) {
					t.Errorf("errors %q, expected one of batch %d", tb.errors, c.errorAt)
				}
			})
		}
	}
}

func sortAll(batches [][]string) {
	for _, b := range batches {
		slices.Sort(b)
	}
}

// recorder notes what would fail a test.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) Logf(string, ...any) {}
