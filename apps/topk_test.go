package apps

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func topOf(k int, running bool) func(*dstream.DStream[string]) *dstream.DStream[count] {
	return func(lines *dstream.DStream[string]) *dstream.DStream[count] {
		return largest(counts(lines, kind{running: running}), k)
	}
}

func TestMostFrequentWordsComeInOrder(t *testing.T) {
	input := [][]string{{"b a c", "a b a"}, {}, {"z"}, {"c b", "b c", "a"}}
	want := [][]count{
		{dstream.Pair("a", int64(3)), dstream.Pair("b", int64(2))},
		{},
		{dstream.Pair("z", int64(1))},
		{dstream.Pair("b", int64(2)), dstream.Pair("c", int64(2))},
	}
	for _, parts := range []int{1, 2, 5} {
		got := streamtest.Run(t, input, topOf(2, false), streamtest.Partitions(parts))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d partitions: %v, want %v", parts, got, want)
		}
	}
}

func TestTotalsAddUp(t *testing.T) {
	state := dstream.None[int64]()
	for _, step := range []struct {
		values []int64
		want   int64
	}{{[]int64{2}, 2}, {nil, 2}, {[]int64{3, 4}, 9}} {
		state = total(step.values, state)
		if !state.OK || state.Value != step.want {
			t.Errorf("after %v the total is %v, want %d", step.values, state, step.want)
		}
	}
}

// A batch has the totals of all words, also of those that it does not have itself.
func TestRunningCountsHoldEveryWordInEveryBatch(t *testing.T) {
	input := [][]string{{"to be or", "not to be"}, {}, {"be"}}
	want := []string{"(be,2) (not,1) (or,1) (to,2)", "(be,2) (not,1) (or,1) (to,2)", "(be,3) (not,1) (or,1) (to,2)"}
	op := func(lines *dstream.DStream[string]) *dstream.DStream[count] {
		return counts(lines, kind{running: true})
	}
	for i, batch := range streamtest.Run(t, input, op) {
		var words []string
		for _, c := range batch {
			words = append(words, fmt.Sprint(c))
		}
		slices.Sort(words)
		if got := strings.Join(words, " "); got != want[i] {
			t.Errorf("batch %d: %s, want %s", i+1, got, want[i])
		}
	}
}
