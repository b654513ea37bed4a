package properties_test

import (
	"slices"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
)

func max2(a, b int) int { return max(a, b) }

func minus(a, b int) int { return a - b }

// windowProperties are the windows, for lengths and slides of every kind.
func windowProperties() (all []property) {
	for _, w := range []struct{ length, slide int }{{1, 1}, {2, 1}, {5, 1}, {4, 2}, {3, 2}, {2, 2}, {2, 3}} {
		length, slide := time.Duration(w.length)*interval, time.Duration(w.slide)*interval
		name := func(op string) string { return op + " " + length.String() + " " + slide.String() }
		same := func(batch numbers) numbers { return batch }
		all = append(all,
			holds(name("slice"), small(), true, func(s ints) ints {
				return dstream.Slice(s, length, func(past rdd.Past[int], t time.Time) rdd.RDD[int] { return past.Union(t.Add(interval-length), t) })
			}, windowsOf(w.length, 1, same)),
			holds(name("window"), small(), true, func(s ints) ints { return s.Window(length, slide) }, windowsOf(w.length, w.slide, same)),
			holds(name("window of a shuffle"), small(), false, func(s ints) ints { return s.Repartition(2).Window(length, slide) }, windowsOf(w.length, w.slide, same)),
			holds(name("reduceByWindow"), small(), true, func(s ints) ints { return s.ReduceByWindow(max2, length, slide) },
				windowsOf(w.length, w.slide, func(batch numbers) numbers { return reduced(max2)(batch, drawn{}) })),
			holds(name("reduceByKeyAndWindow"), pairs(), true, func(s kvs) kvs { return dstream.ReduceByKeyAndWindow(s, max2, length, slide) },
				windowsOf(w.length, w.slide, folded(max2))),
			holds(name("groupByKeyAndWindow"), pairs(), true, func(s kvs) *dstream.DStream[group] {
				return dstream.GroupByKeyAndWindow(s, length, slide)
			}, windowsOf(w.length, w.slide, groups)),
		)
		if w.slide > w.length {
			continue // refused for inverse windows
		}
		all = append(all,
			holds(name("countByWindow"), small(), true, func(s ints) *dstream.DStream[int64] { return s.CountByWindow(length, slide) },
				windowsOf(w.length, w.slide, func(batch numbers) []int64 { return []int64{int64(len(batch))} })),
			holds(name("countByValueAndWindow"), words(), true, func(s strs) *dstream.DStream[dstream.KV[string, int64]] {
				return dstream.CountByValueAndWindow(s, length, slide)
			}, windowsOf(w.length, w.slide, counted[string])),
			holds(name("reduceByKeyAndWindowInverse"), pairs(), true, func(s kvs) kvs {
				return dstream.ReduceByKeyAndWindowInverse(s, dstream.Sum, minus, length, slide)
			}, everSeen(w.length, w.slide)),
			holds(name("reduceByWindowInverse"), small(), true, func(s ints) ints {
				return s.ReduceByWindowInverse(dstream.Sum, minus, length, slide)
			}, func(in [][]int, d drawn) (out [][]int) {
				keyed := make([][]kv, len(in))
				for i, batch := range in {
					for _, v := range batch {
						keyed[i] = append(keyed[i], dstream.Pair("", v))
					}
				}
				for _, batch := range everSeen(w.length, w.slide)(keyed, d) {
					values := numbers{}
					for _, p := range batch {
						values = append(values, p.Value)
					}
					out = append(out, values)
				}
				return out
			}),
		)
	}
	return all
}

// everSeen is the oracle of an inverse window without Keep: a key that was in a window once stays, with 0 when nothing of
// it is there.
func everSeen(length, slide int) func([][]kv, drawn) [][]kv {
	return func(in [][]kv, _ drawn) (out [][]kv) {
		seen := []string{}
		for n := slide; n <= len(in); n += slide {
			window := slices.Concat(in[max(0, n-length):n]...)
			sums := folded(dstream.Sum[int])(window)
			for _, p := range sums {
				if !slices.Contains(seen, p.Key) {
					seen = append(seen, p.Key)
				}
			}
			batch := []kv{}
			for _, key := range seen {
				sum := 0
				for _, p := range sums {
					if p.Key == key {
						sum = p.Value
					}
				}
				batch = append(batch, dstream.Pair(key, sum))
			}
			out = append(out, batch)
		}
		return out
	}
}
