package properties_test

import (
	"slices"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
)

type (
	two  = dstream.Joined[int, int]
	opt  = dstream.Opt[int]
	both = dstream.CoGrouped[int, int]
)

// cogrouped collects the values of each key of either side.
func cogrouped(a, b []kv) (out []dstream.KV[string, both]) {
	of := func(key string) *both {
		i := slices.IndexFunc(out, func(p dstream.KV[string, both]) bool { return p.Key == key })
		if i < 0 {
			out = append(out, dstream.Pair(key, both{}))
			i = len(out) - 1
		}
		return &out[i].Value
	}
	for _, p := range a {
		g := of(p.Key)
		g.Left = append(g.Left, p.Value)
	}
	for _, p := range b {
		g := of(p.Key)
		g.Right = append(g.Right, p.Value)
	}
	return out
}

// sides gives one side of a join: its values, or none once if the outer join keeps the other side's.
func sides(values []int, outer bool) (out []opt) {
	for _, v := range values {
		out = append(out, dstream.Some(v))
	}
	if len(out) == 0 && outer {
		out = []opt{dstream.None[int]()}
	}
	return out
}

// product joins; left and right say whether keys of that side alone stay.
func product[U any](left, right bool, pair func(key string, a, b opt) U) func(a, b []kv) []U {
	return func(a, b []kv) (out []U) {
		for _, g := range cogrouped(a, b) {
			for _, x := range sides(g.Value.Left, right) {
				for _, y := range sides(g.Value.Right, left) {
					out = append(out, pair(g.Key, x, y))
				}
			}
		}
		return out
	}
}

func joinProperties() []property {
	return []property{
		holds2("cogroup", pairs(), pairs(), func(a, b kvs) *dstream.DStream[dstream.KV[string, both]] { return dstream.CoGroup(a, b) }, cogrouped),
		holds2("join", pairs(), pairs(), func(a, b kvs) *dstream.DStream[dstream.KV[string, two]] { return dstream.Join(a, b) },
			product(false, false, func(key string, a, b opt) dstream.KV[string, two] {
				return dstream.Pair(key, two{Left: a.Value, Right: b.Value})
			})),
		holds2("leftOuterJoin", pairs(), pairs(), func(a, b kvs) *dstream.DStream[dstream.KV[string, dstream.Joined[int, opt]]] {
			return dstream.LeftOuterJoin(a, b)
		}, product(true, false, func(key string, a, b opt) dstream.KV[string, dstream.Joined[int, opt]] {
			return dstream.Pair(key, dstream.Joined[int, opt]{Left: a.Value, Right: b})
		})),
		holds2("rightOuterJoin", pairs(), pairs(), func(a, b kvs) *dstream.DStream[dstream.KV[string, dstream.Joined[opt, int]]] {
			return dstream.RightOuterJoin(a, b)
		}, product(false, true, func(key string, a, b opt) dstream.KV[string, dstream.Joined[opt, int]] {
			return dstream.Pair(key, dstream.Joined[opt, int]{Left: a, Right: b.Value})
		})),
		holds2("fullOuterJoin", pairs(), pairs(), func(a, b kvs) *dstream.DStream[dstream.KV[string, dstream.Joined[opt, opt]]] {
			return dstream.FullOuterJoin(a, b, dstream.Partitions(3))
		}, product(true, true, func(key string, a, b opt) dstream.KV[string, dstream.Joined[opt, opt]] {
			return dstream.Pair(key, dstream.Joined[opt, opt]{Left: a, Right: b})
		})),
		holds2("transformWith", small(), small(), func(a, b ints) ints {
			return dstream.TransformWith(a, b, func(x, y rdd.RDD[int], _ time.Time) rdd.RDD[int] { return x.Union(y.Filter(even)) })
		}, func(a, b numbers) numbers {
			out := slices.Clone(a)
			for _, v := range b {
				if even(v) {
					out = append(out, v)
				}
			}
			return out
		}),
	}
}
