package streamtest_test

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

const second = time.Second

var singles = [][]int{{0}, {1}, {2}, {3}, {4}, {5}}

func window(length, slide int) op[int, int] {
	return func(s stream[int]) stream[int] {
		return s.Window(time.Duration(length)*second, time.Duration(slide)*second)
	}
}

// windowed is a fact about plain windows.
type windowed struct {
	name    string
	input   [][]int
	batches int
	run     op[int, int]
	want    [][]int
}

// windows are the facts of Spark's WindowOperationsSuite about plain windows, and some that follow from its source
// (derived).
var windows = []windowed{
	{"window - basic window", singles, 6, window(2, 1), [][]int{{0}, {0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}}},
	{"window - tumbling window", singles, 6, window(2, 2), [][]int{{0, 1}, {2, 3}, {4, 5}}},
	{"window - larger window", singles, 8, window(4, 2), [][]int{{0, 1}, {0, 1, 2, 3}, {2, 3, 4, 5}, {4, 5}}},
	{"window - non-overlapping window", singles, 6, window(1, 2), [][]int{{1}, {3}, {5}}},
	{"a window as long as the slide of its parent (derived)", singles, 6, window(1, 1), singles},
	{"missing datasets are skipped, and a window is there all the same (derived)", [][]int{nil, {1}, nil, nil, {4}}, 5, window(2, 1), [][]int{{}, {1}, {1}, {}, {4}}},
	{"a window of windows (derived)", singles, 8, func(s stream[int]) stream[int] {
		return window(4, 2)(window(2, 2)(s))
	}, [][]int{{0, 1}, {0, 1, 2, 3}, {2, 3, 4, 5}, {4, 5}}},
	{"overlapping windows of windows repeat records (derived)", singles[:3], 3, func(s stream[int]) stream[int] {
		return window(2, 1)(window(2, 1)(s))
	}, [][]int{{0}, {0, 0, 1}, {0, 1, 1, 2}}},
	{"windows of one slide are united (derived)", singles[:4], 4, func(s stream[int]) stream[int] {
		return window(3, 2)(s).Union(window(2, 2)(dstream.Map(s, plus4)))
	}, [][]int{{0, 1, 4, 5}, {1, 2, 3, 6, 7}}},
	{"what is counted of a window (derived)", singles, 6, func(s stream[int]) stream[int] {
		return dstream.Map(window(3, 3)(s).Count(), func(n int64) int { return int(n) })
	}, [][]int{{3}, {3}}},
	{"a window of the counts of windows (derived)", singles, 6, func(s stream[int]) stream[int] {
		counts := dstream.Map(window(2, 1)(s).Count(), func(n int64) int { return int(n) })
		return window(4, 2)(counts)
	}, [][]int{{1, 2}, {1, 2, 2, 2}, {2, 2, 2, 2}}},
}

// over says what is below the window: inputs that are read again, a shuffle or state, whose records the window keeps.
var over = map[string]op[int, int]{
	"inputs":    func(s stream[int]) stream[int] { return s },
	"a shuffle": shuffled,
	"state": func(s stream[int]) stream[int] {
		fresh := dstream.UpdateStateByKey(dstream.Map(s, func(v int) kv[int, int] { return pair(v%3, v) }),
			func(values []int, _ dstream.Opt[[]int]) dstream.Opt[[]int] { return dstream.Some(values) }, dstream.Partitions(3))
		return dstream.FlatMap(fresh, func(p kv[int, []int]) iter.Seq[int] { return slices.Values(p.Value) })
	},
}

// shuffled has the records of s, through a shuffle.
func shuffled(s stream[int]) stream[int] {
	groups := dstream.GroupByKey(dstream.Map(s, func(v int) kv[int, int] { return pair(v%3, v) }))
	return dstream.FlatMap(groups, func(p kv[int, []int]) iter.Seq[int] { return slices.Values(p.Value) })
}

// Rules 6 to 8: windows are what Spark's are, whatever is below them and is lost on the way.
func TestWindowsDoWhatSparksDo(t *testing.T) {
	for _, c := range windows {
		for below, f := range over {
			for name, opts := range restarts() {
				t.Run(fmt.Sprintf("%s/over %s/%s", c.name, below, name), func(t *testing.T) {
					t.Parallel()
					got := streamtest.Run(t, c.input, func(s stream[int]) stream[int] { return c.run(f(s)) }, append(slices.Clip(opts), streamtest.Batches(c.batches))...)
					for _, b := range got {
						slices.Sort(b)
					}
					if !reflect.DeepEqual(got, c.want) {
						t.Errorf("got %v, want %v", got, c.want)
					}
				})
			}
		}
	}
}
