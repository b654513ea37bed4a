package streamtest_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func sub(a, b int) int { return a - b }

func valueNotZero(_ string, v int) bool { return v != 0 }

const sec = time.Second

func reducedWindow(length, slide time.Duration) op[stringInts, stringInts] {
	return func(s stream[stringInts]) stream[stringInts] {
		return dstream.ReduceByKeyAndWindow(s, dstream.Sum, length, slide)
	}
}

func inverseWindow(length, slide time.Duration, opts ...dstream.Option) op[stringInts, stringInts] {
	return func(s stream[stringInts]) stream[stringInts] {
		return dstream.ReduceByKeyAndWindowInverse(s, dstream.Sum, sub, length, slide, opts...).Checkpoint(100 * sec)
	}
}

// ups is how counts of Spark's big test come and go.
var (
	ups = [][]stringInts{
		{pair("a", 1)},
		{pair("a", 1), pair("b", 1)},
		{pair("a", 1), pair("b", 1), pair("c", 1)},
		{pair("a", 1), pair("b", 1)},
		{pair("a", 1)},
		{},
		{pair("a", 1)},
		{pair("a", 1), pair("b", 1)},
		{pair("a", 1), pair("b", 1), pair("c", 1)},
		{pair("a", 1), pair("b", 1)},
		{pair("a", 1)},
		{},
	}
	upsSums = [][]stringInts{
		{pair("a", 1)},
		{pair("a", 2), pair("b", 1)},
		{pair("a", 2), pair("b", 2), pair("c", 1)},
		{pair("a", 2), pair("b", 2), pair("c", 1)},
		{pair("a", 2), pair("b", 1)},
		{pair("a", 1)},
		{pair("a", 1)},
		{pair("a", 2), pair("b", 1)},
		{pair("a", 2), pair("b", 2), pair("c", 1)},
		{pair("a", 2), pair("b", 2), pair("c", 1)},
		{pair("a", 2), pair("b", 1)},
		{pair("a", 1)},
	}
	oneToSix    = [][]stringInts{{pair("a", 1)}, {pair("a", 2)}, {pair("a", 3)}, {pair("a", 4)}, {pair("a", 5)}, {pair("a", 6)}, {}, {}}
	oneToSixOut = [][]stringInts{{pair("a", 3)}, {pair("a", 10)}, {pair("a", 18)}, {pair("a", 11)}}
)

// keyedWindows are the facts of Spark's WindowOperationsSuite about reduced windows, and some that follow from its source
// (derived) or from what raftstream does instead (ours).
var keyedWindows = []spark{
	{name: "reduceByKeyAndWindow - basic reduction", run: given([][]stringInts{{pair("a", 1), pair("a", 3)}}, reducedWindow(2*sec, sec), [][]stringInts{{pair("a", 4)}})},
	{name: "reduceByKeyAndWindow - new key added into window", run: given([][]stringInts{{pair("a", 1)}, {pair("a", 1), pair("b", 1)}},
		reducedWindow(2*sec, sec), [][]stringInts{{pair("a", 1)}, {pair("a", 2), pair("b", 1)}})},
	{name: "reduceByKeyAndWindow - larger slide time", run: given(oneToSix, reducedWindow(4*sec, 2*sec), oneToSixOut)},
	{name: "reduceByKeyAndWindow - big test", run: given(ups, reducedWindow(2*sec, sec), upsSums)},
	{name: "reduceByKeyAndWindow - key removed from window (derived)", run: given([][]stringInts{{pair("a", 1)}, {pair("a", 1)}, {}, {}},
		reducedWindow(2*sec, sec), [][]stringInts{{pair("a", 1)}, {pair("a", 2)}, {pair("a", 1)}, {}})},
	{name: "reduceByKeyAndWindow with inverse function - key already in window and new value added into window", run: given([][]stringInts{{pair("a", 1)}, {pair("a", 1)}},
		inverseWindow(2*sec, sec), [][]stringInts{{pair("a", 1)}, {pair("a", 2)}})},
	{name: "reduceByKeyAndWindow with inverse function - key removed from window", run: given([][]stringInts{{pair("a", 1)}, {pair("a", 1)}, {}, {}},
		inverseWindow(2*sec, sec), [][]stringInts{{pair("a", 1)}, {pair("a", 2)}, {pair("a", 1)}, {pair("a", 0)}})},
	{name: "reduceByKeyAndWindow with inverse function - larger slide time", run: given(oneToSix, inverseWindow(4*sec, 2*sec), oneToSixOut)},
	{name: "reduceByKeyAndWindow with inverse and filter functions - big test", run: given(ups, inverseWindow(2*sec, sec, dstream.Keep(valueNotZero)), upsSums)},
	{name: "countByWindow", run: given([][]int{{1}, {1}, {1, 2}, {0}, {}, {}}, func(s stream[int]) stream[int64] { return s.CountByWindow(2*sec, sec) },
		[][]int64{{1}, {2}, {3}, {3}, {1}, {0}})},
	{name: "countByValueAndWindow", run: given([][]string{{"a"}, {"b", "b"}, {"a", "b"}}, func(s stream[string]) stream[kv[string, int64]] {
		return dstream.CountByValueAndWindow(s, 2*sec, sec)
	}, [][]kv[string, int64]{{pair("a", int64(1))}, {pair("a", int64(1)), pair("b", int64(2))}, {pair("a", int64(1)), pair("b", int64(3))}})},
	{name: "reduceByWindow (no inverse) over gaps", run: given([][]int{{1, 2}, {}, {}, {5}}, func(s stream[int]) stream[int] { return s.ReduceByWindow(dstream.Sum, 2*sec, sec) },
		[][]int{{3}, {3}, {}, {5}})},
	{name: "groupByKeyAndWindow with slide 2", ordered: true, run: given(oneToSix[:6], func(s stream[stringInts]) stream[kv[string, []int]] {
		return dstream.GroupByKeyAndWindow(s, 4*sec, 2*sec)
	}, [][]kv[string, []int]{{pair("a", []int{1, 2})}, {pair("a", []int{1, 2, 3, 4})}, {pair("a", []int{3, 4, 5, 6})}})},
	{name: "inverse window + filter: a key that was filtered and has no new values is absent (ours)", run: given([][]stringInts{{pair("a", 1)}, {pair("a", -1)}, {}, {pair("a", 2)}},
		inverseWindow(2*sec, sec, dstream.Keep(valueNotZero)), [][]stringInts{{pair("a", 1)}, {}, {}, {pair("a", 2)}})},
	{name: "slide > window leaves batches out (derived)", run: given(oneToSix[:6], reducedWindow(2*sec, 3*sec), [][]stringInts{{pair("a", 5)}, {pair("a", 11)}})},
	{name: "countByValueAndWindow, slide > window (ours)", run: given([][]string{{"a"}, {"b", "b"}, {"a", "b"}, {"a"}}, func(s stream[string]) stream[kv[string, int64]] {
		return dstream.CountByValueAndWindow(s, sec, 2*sec)
	}, [][]kv[string, int64]{{pair("b", int64(2))}, {pair("a", int64(1))}})},
	{name: "countByWindow is 0 before the first element (ours)", run: given([][]int{nil, {}, {1}, nil, nil}, func(s stream[int]) stream[int64] { return s.CountByWindow(2*sec, sec) },
		[][]int64{{0}, {0}, {1}, {1}, {0}})},
	{name: "countByWindow, slide > window (ours)", run: given([][]int{{7}, {}, {1}, {1, 2}, {3}, {}}, func(s stream[int]) stream[int64] { return s.CountByWindow(sec, 2*sec) },
		[][]int64{{0}, {2}, {0}})},
	{name: "reduceByWindow with inverse function keeps what is left (derived)", run: given([][]int{{}, {1, 2}, {4}, {}, {}}, func(s stream[int]) stream[int] {
		return s.ReduceByWindowInverse(dstream.Sum, sub, 2*sec, sec)
	}, [][]int{{}, {3}, {7}, {4}, {0}})},
	{name: "missing parent datasets are no new data (derived)", run: given([][]stringInts{nil, {pair("a", 1)}, nil, {pair("b", 1)}, nil, nil},
		reducedWindow(2*sec, sec), [][]stringInts{{}, {pair("a", 1)}, {pair("a", 1)}, {pair("b", 1)}, {pair("b", 1)}, {}})},
	{name: "missing parent datasets, with inverse function (derived)", run: given([][]stringInts{nil, {pair("a", 1)}, nil, {pair("b", 1)}, nil, nil},
		inverseWindow(2*sec, sec), [][]stringInts{{}, {pair("a", 1)}, {pair("a", 1)}, {pair("a", 0), pair("b", 1)}, {pair("a", 0), pair("b", 1)}, {pair("a", 0), pair("b", 0)}})},
	{name: "window over a window (derived)", run: given(oneToSix, func(s stream[stringInts]) stream[stringInts] {
		return reducedWindow(4*sec, 4*sec)(inverseWindow(2*sec, 2*sec)(s))
	}, [][]stringInts{{pair("a", 10)}, {pair("a", 11)}})},
	{name: "window over state (derived)", run: given(letters, func(s stream[string]) stream[stringInts] {
		return reducedWindow(3*sec, 3*sec)(running(s)).Checkpoint(3 * sec)
	}, [][]stringInts{{pair("a", 6), pair("b", 3), pair("c", 1)}, {pair("a", 14), pair("b", 9), pair("c", 3)}})},
	{name: "checkpoints between windows (ours)", run: given(oneToSix, func(s stream[stringInts]) stream[stringInts] {
		other := dstream.UpdateStateByKey(s, func(values []int, _ dstream.Opt[int]) dstream.Opt[int] { return dstream.Some(len(values)) }).Checkpoint(sec)
		return reducedWindow(4*sec, 2*sec)(s.Union(dstream.MapValues(other, func(int) int { return 0 })))
	}, oneToSixOut)},
	{name: "windows of one stream in other partitions (derived)", run: given(ups[:3], func(s stream[stringInts]) stream[stringInts] {
		return inverseWindow(2*sec, sec)(s).Union(dstream.ReduceByKeyAndWindow(s, dstream.Sum, sec, sec, dstream.Partitions(3)))
	}, [][]stringInts{
		{pair("a", 1), pair("a", 1)},
		{pair("a", 2), pair("b", 1), pair("a", 1), pair("b", 1)},
		{pair("a", 2), pair("b", 2), pair("c", 1), pair("a", 1), pair("b", 1), pair("c", 1)},
	})},
}

// Rules 6 to 8: windows are what Spark's are, also when everything in memory is lost after any batch, or after every one.
func TestReducedWindowsAreWhatSparksAre(t *testing.T) {
	for _, c := range keyedWindows {
		for _, parts := range []int{1, 2, 5} {
			for name, opts := range restarts() {
				t.Run(fmt.Sprintf("%s/%d partitions/%s", c.name, parts, name), func(t *testing.T) {
					t.Parallel()
					o := c.run(t, append(opts[:len(opts):len(opts)], streamtest.Partitions(parts))...)
					if !c.ordered {
						sortAll(o.got)
						sortAll(o.want)
					}
					if !reflect.DeepEqual(o.got, o.want) {
						t.Errorf("got %q, want %q", o.got, o.want)
					}
				})
			}
		}
	}
}
