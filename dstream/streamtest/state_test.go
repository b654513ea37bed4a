package streamtest_test

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func runningSum(values []int, state dstream.Opt[int]) dstream.Opt[int] {
	sum := state.Value
	for _, v := range values {
		sum += v
	}
	return dstream.Some(sum)
}

func running(s stream[string]) stream[stringInts] {
	return dstream.UpdateStateByKey(dstream.Map(s, pairOne), runningSum)
}

func every(d time.Duration) op[string, stringInts] {
	return func(s stream[string]) stream[stringInts] { return running(s).Checkpoint(d) }
}

var (
	letters     = [][]string{{"a"}, {"a", "b"}, {"a", "b", "c"}, {"a", "b"}, {"a"}, {}}
	lettersSums = [][]stringInts{
		{pair("a", 1)},
		{pair("a", 2), pair("b", 1)},
		{pair("a", 3), pair("b", 2), pair("c", 1)},
		{pair("a", 4), pair("b", 3), pair("c", 1)},
		{pair("a", 5), pair("b", 3), pair("c", 1)},
		{pair("a", 5), pair("b", 3), pair("c", 1)},
	}
	tenOfA = [][]string{{"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}, {"a"}}
)

func onesOfA(n int) (sums [][]stringInts) {
	for i := range n {
		sums = append(sums, []stringInts{pair("a", i+1)})
	}
	return sums
}

// lifecycle is the function of Spark's "object lifecycle": a state lives as long as values come.
func lifecycle(values []int, state dstream.Opt[int]) dstream.Opt[int] {
	if len(values) == 0 && state.OK {
		return dstream.None[int]()
	}
	return runningSum(values, state)
}

// stateful are the facts of Spark's suites about updateStateByKey, and some that follow from its source (derived).
var stateful = []spark{
	{name: "updateStateByKey", run: given(letters, running, lettersSums)},
	{name: "checkpoint after every batch", run: given(letters, every(time.Second), lettersSums)},
	{name: "recovery with updateStateByKey operation", run: given(tenOfA, every(2*time.Second), onesOfA(10))},
	{name: "object lifecycle", run: given([][]string{{"a"}, {"a", "b"}, {}, {"b"}, {}, {}}, func(s stream[string]) stream[stringInts] {
		return dstream.UpdateStateByKey(dstream.Map(s, pairOne), lifecycle)
	}, [][]stringInts{{pair("a", 1)}, {pair("a", 2), pair("b", 1)}, {}, {pair("b", 1)}, {}, {}})},
	{name: "batches without a parent dataset apply the function (derived)", run: given([][]string{{"a", "a"}, nil, {"b"}, nil, nil, {"a"}},
		func(s stream[string]) stream[stringInts] {
			return dstream.UpdateStateByKey(dstream.Map(s, pairOne), func(values []int, state dstream.Opt[int]) dstream.Opt[int] {
				if len(values) == 0 {
					state.Value *= 10
				}
				return runningSum(values, state)
			})
		}, [][]stringInts{{pair("a", 2)}, {pair("a", 20)}, {pair("a", 200), pair("b", 1)}, {pair("a", 2000), pair("b", 10)}, {pair("a", 20000), pair("b", 100)}, {pair("a", 20001), pair("b", 1000)}})},
	{name: "no dataset before the parent has had one (derived)", run: given([][]string{nil, nil, {"a"}, nil, {"a"}}, every(time.Second),
		[][]stringInts{{pair("a", 1)}, {pair("a", 1)}, {pair("a", 2)}})},
	{name: "an empty batch is a dataset without states (derived)", run: given([][]string{{}, {"a"}}, running, [][]stringInts{{}, {pair("a", 1)}})},
	{name: "state over state (derived)", run: given(letters[:3], func(s stream[string]) stream[stringInts] {
		return dstream.UpdateStateByKey(running(s), runningSum).Checkpoint(2 * time.Second)
	}, [][]stringInts{{pair("a", 1)}, {pair("a", 3), pair("b", 1)}, {pair("a", 6), pair("b", 3), pair("c", 1)}})},
	{name: "two states, one in other partitions (derived)", run: given(letters[:3], func(s stream[string]) stream[stringInts] {
		other := dstream.UpdateStateByKey(dstream.Map(s, pairOne), runningSum, dstream.Partitions(3))
		return running(s).Union(dstream.MapValues(other, func(v int) int { return -v }))
	}, [][]stringInts{
		{pair("a", 1), pair("a", -1)},
		{pair("a", 2), pair("b", 1), pair("a", -2), pair("b", -1)},
		{pair("a", 3), pair("b", 2), pair("c", 1), pair("a", -3), pair("b", -2), pair("c", -1)},
	})},
	{name: "what is made of a state (derived)", run: given(letters, func(s stream[string]) stream[stringInts] {
		return dstream.ReduceByKey(dstream.Map(running(s), func(p stringInts) stringInts { return pair("all", p.Value) }), dstream.Sum)
	}, [][]stringInts{{pair("all", 1)}, {pair("all", 3)}, {pair("all", 6)}, {pair("all", 8)}, {pair("all", 9)}, {pair("all", 9)}})},
}

// Rules 7 and 8: state is the fold of all batches, also when everything in memory is lost after any batch, or after
// every one.
func TestStateDoesWhatSparksDoes(t *testing.T) {
	for _, c := range stateful {
		for _, parts := range []int{1, 2, 5} {
			for name, opts := range restarts() {
				t.Run(fmt.Sprintf("%s/%d partitions/%s", c.name, parts, name), func(t *testing.T) {
					t.Parallel()
					o := c.run(t, append(slices.Clip(opts), streamtest.Partitions(parts))...)
					sortAll(o.got)
					sortAll(o.want)
					if !reflect.DeepEqual(o.got, o.want) {
						t.Errorf("got %q, want %q", o.got, o.want)
					}
				})
			}
		}
	}
}

func restarts() map[string][]streamtest.Option {
	var always []streamtest.Option
	for n := range 9 {
		always = append(always, streamtest.RestartAfter(n+1))
	}
	return map[string][]streamtest.Option{
		"straight": nil, "restart after 1": always[:1], "restart after 3": always[2:3], "restart after 4": always[3:4], "restart after each": always,
	}
}

// Spark's FailureSuite: batch i has "a" i times, and whatever dies, each output is the sum up to it.
func TestMultipleFailuresWithUpdateStateByKey(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	var input [][]string
	var want [][]stringInts
	opts := []streamtest.Option{streamtest.Partitions(1 + rng.IntN(4))}
	for i := 1; i <= 30; i++ {
		input = append(input, slices.Repeat([]string{"a"}, i))
		want = append(want, []stringInts{pair("a", i*(i+1)/2)})
		if rng.IntN(4) == 0 {
			opts = append(opts, streamtest.RestartAfter(i))
		}
	}
	if got := streamtest.Run(t, input, every(5*time.Second), opts...); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

// Rule 6: the order of results does not depend on what was lost and computed again.
func TestStatesComeInOneOrderWhateverWasLost(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var input [][]string
	for range 8 {
		var batch []string
		for range 60 {
			batch = append(batch, fmt.Sprintf("word %d", rng.IntN(40)))
		}
		input = append(input, batch)
	}
	input[4] = nil
	coming := func(every time.Duration) op[string, kv[string, []string]] {
		return func(s stream[string]) stream[kv[string, []string]] {
			pairs := dstream.Map(s, func(w string) kv[string, string] { return pair(w, w[len(w)-1:]) })
			return dstream.UpdateStateByKey(pairs, func(values []string, state dstream.Opt[[]string]) dstream.Opt[[]string] {
				if len(values) == 0 && len(state.Value)%3 == 0 {
					return dstream.None[[]string]()
				}
				return dstream.Some(append(state.Value, values...))
			}).Checkpoint(every)
		}
	}
	want := streamtest.Run(t, input, coming(time.Hour), streamtest.Partitions(3))
	for checkpoint := 1; checkpoint <= 3; checkpoint++ {
		for first := 1; first <= 2; first++ {
			var opts []streamtest.Option
			for n := first; n < len(input); n += first {
				opts = append(opts, streamtest.RestartAfter(n))
			}
			got := streamtest.Run(t, input, coming(time.Duration(checkpoint)*time.Second), append(slices.Clip(opts), streamtest.Partitions(3))...)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("checkpoints every %d batches, restarts every %d: got %v, want %v", checkpoint, first, got, want)
			}
		}
	}
}

// Rule 7: what a try that failed made of the state is seen by nobody.
func TestATryThatFailsLeavesNoState(t *testing.T) {
	var calls atomic.Int64
	got := streamtest.Run(t, tenOfA, func(s stream[string]) stream[stringInts] {
		return dstream.UpdateStateByKey(dstream.Map(s, pairOne), func(values []int, state dstream.Opt[int]) dstream.Opt[int] {
			if calls.Add(1)%3 == 0 {
				panic("not this time")
			}
			return runningSum(values, state)
		})
	}, streamtest.RestartAfter(5))
	for _, b := range got {
		slices.SortFunc(b, func(a, b stringInts) int { return strings.Compare(a.Key, b.Key) })
	}
	if !reflect.DeepEqual(got, onesOfA(10)) {
		t.Errorf("got %v", got)
	}
}

// State goes on whether or not anybody reads the results of a batch.
func TestStateThatNobodyReadsGoesOn(t *testing.T) {
	var calls atomic.Int64
	got := streamtest.Run(t, tenOfA, func(s stream[string]) stream[stringInts] {
		return dstream.MapPartitions(running(s), func(seq iter.Seq[stringInts]) iter.Seq[stringInts] {
			if calls.Add(1) < 10 {
				return nil
			}
			return seq
		})
	}, streamtest.Partitions(1), streamtest.RestartAfter(4))
	if !slices.Equal(got[9], []stringInts{pair("a", 10)}) {
		t.Errorf("got %v", got)
	}
}

// Files that are complete are not written again by another run of their batch. The state below them goes on all the same
// (rule 7).
func TestStateGoesOnUnderFilesThatAreComplete(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	run := func() (updates int64) {
		var n atomic.Int64
		streamtest.Run(t, letters, func(s stream[string]) stream[string] {
			dstream.UpdateStateByKey(dstream.Map(s, pairOne), func(values []int, state dstream.Opt[int]) dstream.Opt[int] {
				n.Add(1)
				return runningSum(values, state)
			}).SaveAsTextFiles(prefix, "")
			return s
		})
		return n.Load()
	}
	first := run()
	if again := run(); again != first || first == 0 { // the same application, as after the loss of its last reports
		t.Errorf("%d updates where the files were complete, %d where they were not", again, first)
	}
}
