package streamtest_test

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

type (
	joined[V, W any]    = dstream.Joined[V, W]
	opt[T any]          = dstream.Opt[T]
	cogrouped[V, W any] = dstream.CoGrouped[V, W]
)

func pairX(s string) kv[string, string] { return dstream.Pair(s, "x") }

// with makes an operator on words of one operator on pairs of a word and 1, and of a word and "x".
func with[U any](f func(stream[stringInts], stream[kv[string, string]]) stream[U]) func(stream[string], stream[string]) stream[U] {
	return func(a, b stream[string]) stream[U] { return f(dstream.Map(a, pairOne), dstream.Map(b, pairX)) }
}

func left[V, W any](v V, w W) joined[V, W] { return joined[V, W]{Left: v, Right: w} }

func both(ones []int, xs []string) cogrouped[int, string] {
	return cogrouped[int, string]{Left: ones, Right: xs}
}

var (
	someOne, someX = dstream.Some(1), dstream.Some("x")
	noOne, noX     = dstream.None[int](), dstream.None[string]()
	joinLeft       = [][]string{{"a", "b"}, {"a", ""}, {""}, {}}
	joinRight      = [][]string{{"a", "b"}, {"b", ""}, {}, {""}}
)

func toText(r rdd.RDD[int], _ time.Time) rdd.RDD[string] { return rdd.Map(r, strconv.Itoa) }

func unionAll(rs []rdd.RDD[int], _ time.Time) rdd.RDD[int] { return rs[0].Union(rs[1:]...) }

func joinAll(x rdd.RDD[stringInts], y rdd.RDD[kv[string, string]], _ time.Time) rdd.RDD[kv[string, joined[int, string]]] {
	return rdd.Join(x, y)
}

// joins are the facts of Spark's BasicOperationsSuite about several streams and transform, and some that follow from its
// source (derived).
var joins = []spark{
	{name: "cogroup", run: given2([][]string{{"a", "a", "b"}, {"a", ""}, {""}, {}}, [][]string{{"a", "a", "b"}, {"b", ""}, {}, {}},
		with(func(a stream[stringInts], b stream[kv[string, string]]) stream[kv[string, cogrouped[int, string]]] {
			return dstream.CoGroup(a, b)
		}),
		[][]kv[string, cogrouped[int, string]]{
			{pair("a", both([]int{1, 1}, []string{"x", "x"})), pair("b", both([]int{1}, []string{"x"}))},
			{pair("a", both([]int{1}, nil)), pair("b", both(nil, []string{"x"})), pair("", both([]int{1}, []string{"x"}))},
			{pair("", both([]int{1}, nil))},
			{},
		})},
	{name: "join", run: given2(joinLeft, joinRight, with(func(a stream[stringInts], b stream[kv[string, string]]) stream[kv[string, joined[int, string]]] {
		return dstream.Join(a, b)
	}), [][]kv[string, joined[int, string]]{{pair("a", left(1, "x")), pair("b", left(1, "x"))}, {pair("", left(1, "x"))}, {}, {}})},
	{name: "leftOuterJoin", run: given2(joinLeft, joinRight, with(func(a stream[stringInts], b stream[kv[string, string]]) stream[kv[string, joined[int, opt[string]]]] {
		return dstream.LeftOuterJoin(a, b)
	}), [][]kv[string, joined[int, opt[string]]]{
		{pair("a", left(1, someX)), pair("b", left(1, someX))}, {pair("", left(1, someX)), pair("a", left(1, noX))}, {pair("", left(1, noX))}, {},
	})},
	{name: "rightOuterJoin", run: given2(joinLeft, joinRight, with(func(a stream[stringInts], b stream[kv[string, string]]) stream[kv[string, joined[opt[int], string]]] {
		return dstream.RightOuterJoin(a, b)
	}), [][]kv[string, joined[opt[int], string]]{
		{pair("a", left(someOne, "x")), pair("b", left(someOne, "x"))}, {pair("", left(someOne, "x")), pair("b", left(noOne, "x"))}, {}, {pair("", left(noOne, "x"))},
	})},
	{name: "fullOuterJoin", run: given2(joinLeft, joinRight, with(func(a stream[stringInts], b stream[kv[string, string]]) stream[kv[string, joined[opt[int], opt[string]]]] {
		return dstream.FullOuterJoin(a, b, dstream.Partitions(3))
	}), [][]kv[string, joined[opt[int], opt[string]]]{
		{pair("a", left(someOne, someX)), pair("b", left(someOne, someX))},
		{pair("", left(someOne, someX)), pair("a", left(someOne, noX)), pair("b", left(noOne, someX))},
		{pair("", left(someOne, noX))},
		{pair("", left(noOne, someX))},
	})},
	{name: "join is an inner product per key inside the batch (derived)", run: given2([][]string{{"a", "a", "b"}}, [][]string{{"a", "a", "c"}},
		with(func(a stream[stringInts], b stream[kv[string, string]]) stream[kv[string, joined[int, string]]] {
			return dstream.Join(a, b)
		}),
		[][]kv[string, joined[int, string]]{{pair("a", left(1, "x")), pair("a", left(1, "x")), pair("a", left(1, "x")), pair("a", left(1, "x"))}})},
	{name: "join of a missing parent dataset fails (derived)", errorAt: 2, run: given2([][]string{{"a"}, {"a"}}, [][]string{{"a"}, nil},
		with(func(a stream[stringInts], b stream[kv[string, string]]) stream[kv[string, joined[int, string]]] {
			return dstream.Join(a, b)
		}),
		[][]kv[string, joined[int, string]]{{pair("a", left(1, "x"))}})},
	{name: "transform", ordered: true, run: given(twelve, func(s stream[int]) stream[string] { return dstream.Transform(s, toText) },
		[][]string{{"1", "2", "3", "4"}, {"5", "6", "7", "8"}, {"9", "10", "11", "12"}})},
	{name: "transform with input stream return None", ordered: true, errorAt: 3, run: given([][]int{{1, 2, 3, 4}, {5, 6, 7, 8}, nil},
		func(s stream[int]) stream[string] { return dstream.Transform(s, toText) }, [][]string{{"1", "2", "3", "4"}, {"5", "6", "7", "8"}})},
	{name: "transform with NULL", errorAt: 1, run: given(twelve, func(s stream[int]) stream[int] {
		return dstream.Transform(s, func(rdd.RDD[int], time.Time) (none rdd.RDD[int]) { return none })
	}, nil)},
	{name: "transformWith", run: given2(joinLeft, joinRight, with(func(a stream[stringInts], b stream[kv[string, string]]) stream[kv[string, joined[int, string]]] {
		return dstream.TransformWith(a, b, joinAll)
	}), [][]kv[string, joined[int, string]]{{pair("a", left(1, "x")), pair("b", left(1, "x"))}, {pair("", left(1, "x"))}, {}, {}})},
	{name: "transformWith with input stream return None", errorAt: 2, run: given2([][]string{{"a"}, nil}, [][]string{{"a"}, {"a"}},
		with(func(a stream[stringInts], b stream[kv[string, string]]) stream[kv[string, joined[int, string]]] {
			return dstream.TransformWith(a, b, joinAll)
		}), [][]kv[string, joined[int, string]]{{pair("a", left(1, "x"))}})},
	{name: "StreamingContext.transform", ordered: true, run: given(fours, func(s stream[int]) stream[int] {
		plus8 := func(v int) int { return v + 8 }
		return dstream.TransformAll([]stream[int]{s, dstream.Map(s, plus4), dstream.Map(s, plus8)}, unionAll)
	}, [][]int{numbers(1, 12), numbers(101, 112), numbers(201, 212)})},
	{name: "StreamingContext.transform with input stream return None", ordered: true, errorAt: 3, run: given([][]int{{1}, {101}, nil},
		func(s stream[int]) stream[int] {
			return dstream.TransformAll([]stream[int]{s, dstream.Map(s, plus4)}, unionAll)
		},
		[][]int{{1, 5}, {101, 105}})},
	{name: "transform is told the time (derived)", ordered: true, run: given([][]int{{1}, {2}}, func(s stream[int]) stream[int64] {
		return dstream.Transform(s, func(r rdd.RDD[int], t time.Time) rdd.RDD[int64] {
			return rdd.Map(r, func(int) int64 { return t.UnixMilli() })
		})
	}, [][]int64{{1000}, {2000}})},
}

func TestStreamsComeTogetherAsInSpark(t *testing.T) {
	for _, c := range joins {
		for _, parts := range []int{1, 2, 5} {
			t.Run(fmt.Sprintf("%s/%d partitions", c.name, parts), func(t *testing.T) {
				t.Parallel()
				tb := &recorder{TB: t}
				o := c.run(tb, streamtest.Partitions(parts), streamtest.RestartAfter(1))
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

// What is joined comes from shuffles, from keyed state and from nowhere but the batch, all in one stage.
func TestStatesJoinBatches(t *testing.T) {
	input := [][]string{{"a", "b", "a"}, {"c"}, {"b", "b", "a"}, {}}
	want := [][]string{{"(a,(2,2))", "(b,(1,1))"}, {"(c,(1,1))"}, {"(a,(1,3))", "(b,(2,3))"}, {}}
	for _, parts := range []int{1, 2, 5} {
		got := texts(streamtest.Run(t, input, func(s stream[string]) stream[kv[string, joined[int, int]]] {
			now := dstream.ReduceByKey(dstream.Map(s, pairOne), dstream.Sum)
			return dstream.Join(now, running(s))
		}, streamtest.Partitions(parts), streamtest.RestartAfter(2)))
		sortAll(got)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d partitions: got %q, want %q", parts, got, want)
		}
	}
}

func TestWhatATransformMustNotDoFailsItsBatch(t *testing.T) {
	var kept atomic.Pointer[rdd.RDD[int]] // coordinator and executors call the functions
	var calls atomic.Int64
	for _, c := range []struct {
		name string
		f    func(r rdd.RDD[int], t time.Time) rdd.RDD[int]
		want string
	}{
		{"gives nothing", func(rdd.RDD[int], time.Time) (none rdd.RDD[int]) { return none }, "the function gave no dataset"},
		{"gives the dataset of another batch", func(r rdd.RDD[int], t time.Time) rdd.RDD[int] {
			if t.UnixMilli() == 1000 {
				kept.Store(&r)
				return r
			}
			return *kept.Load()
		}, "a dataset of another batch"},
		{"unites with one of another batch", func(r rdd.RDD[int], t time.Time) rdd.RDD[int] {
			if t.UnixMilli() == 1000 {
				kept.Store(&r)
			}
			return r.Union(*kept.Load())
		}, "union: the two datasets are not of the same call"},
		{"is not pure", func(r rdd.RDD[int], _ time.Time) rdd.RDD[int] {
			if calls.Add(1)%2 == 0 {
				return r.Repartition(3)
			}
			return r
		}, "a Transform is not pure"},
		{"panics", func(rdd.RDD[int], time.Time) rdd.RDD[int] { panic("no") }, "panic: no"},
		{"asks for too many partitions", func(r rdd.RDD[int], _ time.Time) rdd.RDD[int] { return r.Repartition(1 << 20) }, "repartition: 1048576 partitions"},
	} {
		tb := &recorder{TB: t}
		streamtest.Run(tb, [][]int{{1}, {2}}, func(s stream[int]) stream[int] { return dstream.Transform(s, c.f) })
		if all := strings.Join(tb.errors, "; "); !strings.Contains(all, c.want) || !strings.Contains(all, "transform") && c.name != "is not pure" {
			t.Errorf("a function that %s: %q does not say %q", c.name, all, c.want)
		}
	}
}

// Slices that are given away belong to who gets them, however often the same value is.
func TestJoinedValuesBelongToWhoGetsThem(t *testing.T) {
	input := [][]string{{"a", "a", "b"}}
	spoil := func(p kv[string, joined[[]int, []int]]) string {
		text := fmt.Sprint(p)
		p.Value.Left[0], p.Value.Right[0] = -1, -1
		return text
	}
	values := func(s string) kv[string, []int] { return dstream.Pair(s, []int{len(s), 7}) }
	for _, parts := range []int{1, 2, 5} {
		got := texts(streamtest.Run(t, input, func(s stream[string]) stream[string] {
			pairs := dstream.Map(s, values)
			return dstream.Map(dstream.Join(pairs, pairs), spoil)
		}, streamtest.Partitions(parts)))
		sortAll(got)
		want := slices.Repeat([]string{"(a,([1 7],[1 7]))"}, 4)
		if want = append(want, "(b,([1 7],[1 7]))"); !reflect.DeepEqual(got, [][]string{want}) {
			t.Errorf("%d partitions: %q", parts, got)
		}
	}
}

// Every state partition is read by several tasks, wherever they run, and nothing but the program makes the other side.
func TestStatesPairWithStaticRecords(t *testing.T) {
	input := [][]string{{"a", "b", "a"}, {"c"}, {}, {"b"}}
	want := [][]string{
		{"((a,2),1)", "((a,2),2)", "((b,1),1)", "((b,1),2)"},
		{"((a,2),1)", "((a,2),2)", "((b,1),1)", "((b,1),2)", "((c,1),1)", "((c,1),2)"},
		{"((a,2),1)", "((a,2),2)", "((b,1),1)", "((b,1),2)", "((c,1),1)", "((c,1),2)"},
		{"((a,2),1)", "((a,2),2)", "((b,2),1)", "((b,2),2)", "((c,1),1)", "((c,1),2)"},
	}
	for _, parts := range []int{1, 2, 5} {
		got := texts(streamtest.Run(t, input, func(s stream[string]) stream[joined[stringInts, int]] {
			return dstream.Transform(running(s), func(r rdd.RDD[stringInts], _ time.Time) rdd.RDD[joined[stringInts, int]] {
				return rdd.Cartesian(r, rdd.FromSlice(r, []int{1, 2}, 2))
			})
		}, streamtest.Partitions(parts), streamtest.RestartAfter(2)))
		sortAll(got)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d partitions: got %q, want %q", parts, got, want)
		}
	}
}
