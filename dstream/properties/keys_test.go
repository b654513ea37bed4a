package properties_test

import (
	"slices"

	"github.com/raftstream/raftstream/dstream"
)

type (
	kv    = dstream.KV[string, int]
	group = dstream.KV[string, []int]
)

// groups collects values by key, in order.
func groups(batch []kv) (out []group) {
	for _, p := range batch {
		i := slices.IndexFunc(out, func(g group) bool { return g.Key == p.Key })
		if i < 0 {
			out = append(out, dstream.Pair(p.Key, []int(nil)))
			i = len(out) - 1
		}
		out[i].Value = append(out[i].Value, p.Value)
	}
	return out
}

func grouped(batch []kv, _ drawn) []group { return groups(batch) }

// folded folds the values of each key in order.
func folded(f func(a, b int) int) func([]kv) []kv {
	return func(batch []kv) (out []kv) {
		for _, g := range groups(batch) {
			v := g.Value[0]
			for _, w := range g.Value[1:] {
				v = f(v, w)
			}
			out = append(out, dstream.Pair(g.Key, v))
		}
		return out
	}
}

func perBatch[T, U any](f func([]T) []U) func([]T, drawn) []U {
	return func(batch []T, _ drawn) []U { return f(batch) }
}

// keyProperties are the operators on pairs.
func keyProperties() []property {
	return []property{
		holds("mapValues", pairs(), true, func(s kvs) kvs { return dstream.MapValues(s, func(v int) int { return -v }) },
			each(mapped(func(p kv) []kv { return []kv{dstream.Pair(p.Key, -p.Value)} }))),
		holds("flatMapValues", pairs(), true, func(s kvs) kvs { return dstream.FlatMapValues(s, twice) },
			each(mapped(func(p kv) (out []kv) {
				if seq := twice(p.Value); seq != nil {
					for v := range seq {
						out = append(out, dstream.Pair(p.Key, v))
					}
				}
				return out
			}))),
		holds("groupByKey", pairs(), true, func(s kvs) *dstream.DStream[group] { return dstream.GroupByKey(s, dstream.Partitions(3)) }, each(grouped)),
		holds("reduceByKey", pairs(), true, func(s kvs) kvs { return dstream.ReduceByKey(s, dstream.Sum) }, each(perBatch(folded(dstream.Sum[int])))),
		holds("combineByKey", pairs(), true, func(s kvs) *dstream.DStream[group] {
			return dstream.CombineByKey(s, func(v int) []int { return []int{v} },
				func(c []int, v int) []int { return append(c, v) }, func(a, b []int) []int { return append(a, b...) })
		}, each(grouped)),
	}
}
