package streamtest_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

type mapping[U any] = func(t time.Time, key string, value dstream.Opt[int], st *dstream.State[int]) dstream.Opt[U]

// sums adds values to the state, and emits what of makes of key and state.
func sums[U any](of func(key string, sum int) dstream.Opt[U]) mapping[U] {
	return func(_ time.Time, key string, value dstream.Opt[int], st *dstream.State[int]) dstream.Opt[U] {
		sum, _ := st.Get()
		st.Update(sum + value.Value)
		return of(key, sum+value.Value)
	}
}

var (
	sumTwice   = sums(func(key string, _ int) dstream.Opt[string] { return dstream.Some(key + key) })
	sumNothing = sums(func(string, int) dstream.Opt[string] { return dstream.None[string]() })
	sumPairs   = sums(func(key string, sum int) dstream.Opt[stringInts] { return dstream.Some(pair(key, sum)) })
)

func removeIfExists(_ time.Time, key string, value dstream.Opt[int], st *dstream.State[int]) dstream.Opt[string] {
	if st.Exists() {
		st.Remove()
		return dstream.Some(key)
	}
	st.Update(value.Value)
	return dstream.None[string]()
}

// remembers is a state that remembers the batch of its key's last data, and says so when it times out.
func remembers(t time.Time, key string, value dstream.Opt[int], st *dstream.State[int]) dstream.Opt[string] {
	if st.TimingOut() {
		last, ok := st.Get()
		if value.OK || !ok {
			panic("a state that times out has no value, and exists")
		}
		return dstream.Some(fmt.Sprintf("%s of %d at %d", key, last, t.Unix()))
	}
	st.Update(int(t.Unix()))
	return dstream.None[string]()
}

func mapped[U any](f mapping[U], opts ...dstream.Option) op[string, U] {
	return func(s stream[string]) stream[U] {
		return dstream.MapWithState(dstream.Map(s, pairOne), f, opts...).Checkpoint(3 * time.Second)
	}
}

func snapshots[U any](f mapping[U], opts ...dstream.Option) op[string, stringInts] {
	return func(s stream[string]) stream[stringInts] {
		return dstream.MapWithState(dstream.Map(s, pairOne), f, opts...).StateSnapshots()
	}
}

func beginning() iter.Seq2[string, int] {
	return maps.All(map[string]int{"a": 5, "b": 10, "c": -20, "d": 0})
}

var (
	mapInput  = [][]string{{}, {"a"}, {"a", "b"}, {"a", "b", "c"}, {"a", "b"}, {"a"}, {}}
	mapStates = [][]stringInts{
		{},
		{pair("a", 1)},
		{pair("a", 2), pair("b", 1)},
		{pair("a", 3), pair("b", 2), pair("c", 1)},
		{pair("a", 4), pair("b", 3), pair("c", 1)},
		{pair("a", 5), pair("b", 3), pair("c", 1)},
		{pair("a", 5), pair("b", 3), pair("c", 1)},
	}
	begunStates = [][]stringInts{
		{pair("a", 5), pair("b", 10), pair("c", -20), pair("d", 0)},
		{pair("a", 6), pair("b", 10), pair("c", -20), pair("d", 0)},
		{pair("a", 7), pair("b", 11), pair("c", -20), pair("d", 0)},
		{pair("a", 8), pair("b", 12), pair("c", -19), pair("d", 0)},
		{pair("a", 9), pair("b", 13), pair("c", -19), pair("d", 0)},
		{pair("a", 10), pair("b", 13), pair("c", -19), pair("d", 0)},
		{pair("a", 10), pair("b", 13), pair("c", -19), pair("d", 0)},
	}
	removeInput = [][]string{{}, {"a"}, {"a", "b"}, {"a", "b", "c"}, {"a", "b", "c"}, {"a", "b"}, {"a"}, {}}
	timeInput   = [][]string{{"a", "b", "c"}, {"a", "b"}, {"a"}, {}, {}, {"a"}, {}, {}, {}, {}}
)

// mapStateful are the facts of Spark's MapWithStateSuite, and some that follow from its source (derived).
var mapStateful = []spark{
	{name: "basic operations with advanced API", run: given(mapInput, mapped(sumTwice),
		[][]string{{}, {"aa"}, {"aa", "bb"}, {"aa", "bb", "cc"}, {"aa", "bb"}, {"aa"}, {}})},
	{name: "basic operations with advanced API, states", run: given(mapInput, snapshots(sumTwice), mapStates)},
	{name: "states as mapped data", run: given(mapInput, mapped(sumPairs),
		[][]stringInts{{}, {pair("a", 1)}, {pair("a", 2), pair("b", 1)}, {pair("a", 3), pair("b", 2), pair("c", 1)}, {pair("a", 4), pair("b", 3)}, {pair("a", 5)}, {}})},
	{name: "initial states, with nothing returned as from mapping function", run: given(mapInput,
		mapped(sumNothing, dstream.InitialState(beginning)), [][]string{{}, {}, {}, {}, {}, {}, {}})},
	{name: "initial states, states", run: given(mapInput, snapshots(sumNothing, dstream.InitialState(beginning)), begunStates)},
	{name: "initial states in other partitions (derived)", run: given(mapInput,
		snapshots(sumNothing, dstream.InitialState(beginning), dstream.Partitions(3)), begunStates)},
	{name: "state removing", run: given(removeInput, mapped(removeIfExists, dstream.Partitions(1)),
		[][]string{{}, {}, {"a"}, {"b"}, {"a", "c"}, {"b"}, {"a"}, {}})},
	{name: "state removing, states", run: given(removeInput, snapshots(removeIfExists, dstream.Partitions(1)),
		[][]stringInts{{}, {pair("a", 1)}, {pair("b", 1)}, {pair("a", 1), pair("c", 1)}, {pair("b", 1)}, {pair("a", 1)}, {}, {}})},
	{name: "state timing out", run: given(timeInput, mapped(remembers, dstream.Timeout(3*time.Second)),
		[][]string{{}, {}, {}, {}, {"c of 1 at 5"}, {"b of 2 at 6"}, {}, {}, {}, {"a of 6 at 10"}})},
	{name: "state timing out, states", run: given(timeInput, snapshots(remembers, dstream.Timeout(3*time.Second)), [][]stringInts{
		{pair("a", 1), pair("b", 1), pair("c", 1)},
		{pair("a", 2), pair("b", 2), pair("c", 1)},
		{pair("a", 3), pair("b", 2), pair("c", 1)},
		{pair("a", 3), pair("b", 2), pair("c", 1)},
		{pair("a", 3), pair("b", 2)},
		{pair("a", 6)},
		{pair("a", 6)},
		{pair("a", 6)},
		{pair("a", 6)},
		{},
	})},
	{name: "initial states time out from the first batch on (derived)", run: given(mapInput[:5], mapped(remembers, dstream.Timeout(1500*time.Millisecond), dstream.InitialState(beginning)),
		[][]string{{}, {}, {"c of -20 at 3", "d of 0 at 3"}, {}, {}})},
	{name: "batches without a parent dataset are empty (derived)", run: given([][]string{nil, {"a"}, nil, {"a"}}, snapshots(sumNothing),
		[][]stringInts{{}, {pair("a", 1)}, {pair("a", 1)}, {pair("a", 2)}})},
	{name: "mapped data and states together (derived)", run: given(mapInput[:4], func(s stream[string]) stream[stringInts] {
		m := dstream.MapWithState(dstream.Map(s, pairOne), sumPairs)
		return m.Union(dstream.MapValues(m.StateSnapshots(), func(v int) int { return -v }))
	}, [][]stringInts{
		{},
		{pair("a", 1), pair("a", -1)},
		{pair("a", 2), pair("b", 1), pair("a", -2), pair("b", -1)},
		{pair("a", 3), pair("b", 2), pair("c", 1), pair("a", -3), pair("b", -2), pair("c", -1)},
	})},
	{name: "mapped data without an encoding (derived)", run: given([][]string{{"a"}, {"a", "b"}}, func(s stream[string]) stream[string] {
		m := dstream.MapWithState(dstream.Map(s, pairOne), sums(func(key string, sum int) dstream.Opt[map[string]int] {
			return dstream.Some(map[string]int{key: sum})
		}))
		text := dstream.Map(m.DStream, func(m map[string]int) string { return fmt.Sprint(m) })
		return text.Union(text)
	}, [][]string{{"map[a:1]", "map[a:1]"}, {"map[a:2]", "map[a:2]", "map[b:1]", "map[b:1]"}})},
	{name: "updateStateByKey with an initial state", run: given([][]string{nil, {}, {"a"}, {"a", "d", "e"}}, func(s stream[string]) stream[stringInts] {
		return dstream.UpdateStateByKey(dstream.Map(s, pairOne), runningSum, dstream.InitialState(beginning))
	}, [][]stringInts{
		{pair("a", 5), pair("b", 10), pair("c", -20), pair("d", 0)},
		{pair("a", 6), pair("b", 10), pair("c", -20), pair("d", 0)},
		{pair("a", 7), pair("b", 10), pair("c", -20), pair("d", 1), pair("e", 1)},
	})},
	{name: "updateStateByKey - testing time stamps as input", run: given([][]string{{"a"}, {"a", "b"}, {}}, func(s stream[string]) stream[kv[string, string]] {
		return dstream.UpdateStateByKeyTimed(dstream.Map(s, pairOne), func(t time.Time, key string, values []int, state dstream.Opt[string]) dstream.Opt[string] {
			return dstream.Some(fmt.Sprintf("%s%s%d:%d ", state.Value, key, t.UnixMilli(), len(values)))
		})
	}, [][]kv[string, string]{
		{pair("a", "a1000:1 ")},
		{pair("a", "a1000:1 a2000:1 "), pair("b", "b2000:1 ")},
		{pair("a", "a1000:1 a2000:1 a3000:0 "), pair("b", "b2000:1 b3000:0 ")},
	})},
}

// Rules 7 and 8: state is the fold of all batches, also when everything in memory is lost after any batch, or after
// every one.
func TestMapWithStateDoesWhatSparksDoes(t *testing.T) {
	for _, c := range mapStateful {
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

// collect is a second output: what a stream has in each partition of each batch.
type collect[T any] struct {
	mu  sync.Mutex
	got map[int64]map[int][]T
}

func (c *collect[T]) output(s stream[T]) {
	dstream.ForeachPartition(s, func(_ context.Context, p dstream.Partition, seq iter.Seq[T]) error {
		rows := slices.Collect(seq)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.got == nil {
			c.got = map[int64]map[int][]T{}
		}
		at := p.Time.UnixMilli()
		if c.got[at] == nil {
			c.got[at] = map[int][]T{}
		}
		c.got[at][p.Index] = rows
		return nil
	})
}

// batch has the partitions of a batch one after the other.
func (c *collect[T]) batch(at int64) (all []T) {
	for _, part := range slices.Sorted(maps.Keys(c.got[at])) {
		all = append(all, c.got[at][part]...)
	}
	return all
}

// The function runs once per record, whether mapped data, snapshots, both or neither are written anywhere.
func TestMapWithStateRunsOncePerRecordForAllOutputs(t *testing.T) {
	for name, outputs := range map[string][2]bool{"mapped": {true, false}, "states": {false, true}, "both": {true, true}} {
		var mu sync.Mutex
		calls := map[string]int{}
		var out collect[stringInts]
		var states collect[stringInts]
		streamtest.Run(t, mapInput, func(s stream[string]) stream[string] {
			m := dstream.MapWithState(dstream.Map(s, pairOne), func(at time.Time, key string, value dstream.Opt[int], st *dstream.State[int]) dstream.Opt[stringInts] {
				mu.Lock()
				calls[fmt.Sprint(key, at.Unix())]++
				mu.Unlock()
				return sumPairs(at, key, value, st)
			})
			if outputs[0] {
				out.output(m.DStream)
				out.output(m.DStream)
			}
			if outputs[1] {
				states.output(m.StateSnapshots())
			}
			return s
		})
		want := map[string]int{}
		for i, batch := range mapInput {
			for _, w := range batch {
				want[fmt.Sprint(w, i+1)]++
			}
			got := states.batch(int64(i+1) * 1000)
			slices.SortFunc(got, func(a, b stringInts) int { return strings.Compare(a.Key, b.Key) })
			if outputs[1] && !slices.Equal(got, mapStates[i]) {
				t.Errorf("%s, batch %d: states %v, want %v", name, i+1, got, mapStates[i])
			}
		}
		if !reflect.DeepEqual(calls, want) {
			t.Errorf("%s: calls %v, want %v", name, calls, want)
		}
	}
}

// A function that uses the state in a wrong way fails the task, with a text that says how.
func TestWrongUsesOfAStateFailTheBatch(t *testing.T) {
	for name, f := range map[string]mapping[string]{
		"State.Update: the state was removed": func(_ time.Time, _ string, _ dstream.Opt[int], st *dstream.State[int]) dstream.Opt[string] {
			st.Remove()
			st.Update(1)
			return dstream.None[string]()
		},
		"State.Remove: the state was removed": func(_ time.Time, _ string, _ dstream.Opt[int], st *dstream.State[int]) dstream.Opt[string] {
			st.Remove()
			st.Remove()
			return dstream.None[string]()
		},
	} {
		tb := &recorder{TB: t}
		streamtest.Run(tb, [][]string{{"a"}}, mapped(f))
		if len(tb.errors) != 1 || !strings.Contains(tb.errors[0], name) {
			t.Errorf("errors %q, expected one with %q", tb.errors, name)
		}
	}
}
