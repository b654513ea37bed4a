package streamtest_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// drawn makes a graph of keyed state over keyed state, as chance has it: the same one for the same seed.
func drawn(seed uint64, every time.Duration) op[string, kv[string, []int]] {
	return func(s stream[string]) stream[kv[string, []int]] {
		rng := rand.New(rand.NewPCG(seed, 3))
		all := []stream[stringInts]{dstream.Map(s, pairOne)}
		one := func() stream[stringInts] { return all[rng.IntN(len(all))] }
		for range 2 + rng.IntN(5) {
			var next stream[stringInts]
			switch rng.IntN(7) {
			case 0:
				next = dstream.ReduceByKey(one(), dstream.Sum, dstream.Partitions(1+rng.IntN(4)))
			case 1:
				next = one().Union(one())
			case 2:
				next = one().Repartition(1 + rng.IntN(4))
			case 3:
				next = dstream.Map(one(), func(p stringInts) stringInts { return pair(p.Key[:len(p.Key)-1], p.Value) })
			case 4:
				next = dstream.UpdateStateByKey(one(), lifecycle, dstream.Partitions(1+rng.IntN(4)))
			default:
				next = dstream.UpdateStateByKey(one(), func(values []int, state dstream.Opt[int]) dstream.Opt[int] {
					next := runningSum(values, state)
					next.Value %= 1000
					return next
				})
			}
			all = append(all, next.Filter(func(p stringInts) bool { return p.Key != "" }))
		}
		one().Count().Print()
		last := dstream.UpdateStateByKey(all[len(all)-1], func(values []int, state dstream.Opt[[]int]) dstream.Opt[[]int] {
			if len(values) == 0 && len(state.Value)%2 == 0 {
				return dstream.None[[]int]()
			}
			values = append(state.Value, values...)
			return dstream.Some(values[max(0, len(values)-20):])
		})
		return last.Checkpoint(every)
	}
}

// Rules 6 and 7: whatever states are made of each other, losing everything in memory changes nothing, not even an order.
func TestGraphsOfStatesGiveTheSameWhateverWasLost(t *testing.T) {
	for range 8 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 4))
			input := make([][]string, 9)
			var restarts []streamtest.Option
			for i := range input {
				if rng.IntN(3) == 0 {
					restarts = append(restarts, streamtest.RestartAfter(i+1))
				}
				input[i] = []string{}
				for range rng.IntN(60) {
					input[i] = append(input[i], fmt.Sprintf("word %d", rng.IntN(120)))
				}
			}
			want := streamtest.Run(t, input, drawn(seed, time.Hour))
			got := streamtest.Run(t, input, drawn(seed, time.Duration(1+rng.IntN(4))*time.Second), restarts...)
			if len(want) != len(input) || !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
