package conformance_test

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
)

// The functions of the tables, by their ids there.

func plus(n int64) func(string) string {
	return func(s string) string { return text(number(s) + n) }
}

func pairWith(v string) func(string) string {
	return func(s string) string { return list(s, v) }
}

var elementwise = map[string]func(string) string{
	"toString": func(s string) string { return text(fmt.Sprint(value(s))) },
	"pair_1":   pairWith("1"),
	"pair_x":   pairWith(`"x"`),
	"plus4":    plus(4),
	"plus8":    plus(8),
	"plus10":   plus(10),
	"mod10_pair_1": func(s string) string {
		return list(text(number(s)%10), "1")
	},
	"counterField": func(s string) string { // of [key, {counter, expire}]
		p := split(s)
		return list(p.Key, text(value(p.Value).(map[string]any)["counter"]))
	},
}

var flatMaps = map[string]func(string) iter.Seq[string]{
	"x_and_2x":       func(s string) iter.Seq[string] { return slices.Values([]string{s, text(2 * number(s))}) },
	"x_and_x_plus10": func(s string) iter.Seq[string] { return slices.Values([]string{s, plus(10)(s)}) },
}

var filters = map[string]func(string) bool{
	"isEven":       func(s string) bool { return number(s)%2 == 0 },
	"valueNotZero": func(s string) bool { return number(s) != 0 },
}

var reduces = map[string]func(a, b string) string{
	"add": func(a, b string) string { return text(number(a) + number(b)) },
	"sub": func(a, b string) string { return text(number(a) - number(b)) },
}

var partitionFns = map[string]func(iter.Seq[string]) iter.Seq[string]{
	"sumOfPartition": func(seq iter.Seq[string]) iter.Seq[string] {
		sum := int64(0)
		for s := range seq {
			sum += number(s)
		}
		return slices.Values([]string{text(sum)})
	},
}

var transforms = map[string]func(dataset, time.Time) dataset{
	"rdd_map_toString": func(r dataset, _ time.Time) dataset { return rdd.Map(r, elementwise["toString"]) },
	"returns_null":     func(dataset, time.Time) dataset { return dataset{} },
}

var transformWiths = map[string]func(x, y dataset, _ time.Time) dataset{
	"rdd1_join_rdd2": func(x, y dataset, _ time.Time) dataset {
		joined := rdd.Join(rdd.Map(x, split), rdd.Map(y, split))
		return rdd.Map(joined, func(p dstream.KV[string, dstream.Joined[string, string]]) string {
			return list(p.Key, list(p.Value.Left, p.Value.Right))
		})
	},
	"rdd1_union_rdd2": func(x, y dataset, _ time.Time) dataset { return x.Union(y) },
}

func unionAll(rs []dataset, _ time.Time) dataset { return rs[0].Union(rs[1:]...) }

func sum(values []string, state dstream.Opt[string]) int64 {
	total := int64(0)
	if state.OK {
		total = number(state.Value)
	}
	for _, v := range values {
		total += number(v)
	}
	return total
}

// updates are the functions of updateStateByKey.
var updates = map[string]func(at time.Time, values []string, state dstream.Opt[string]) dstream.Opt[string]{
	"runningSum": func(_ time.Time, values []string, state dstream.Opt[string]) dstream.Opt[string] {
		return dstream.Some(text(sum(values, state)))
	},
	"addBatchTimeIfValues": func(at time.Time, values []string, state dstream.Opt[string]) dstream.Opt[string] {
		total := sum(nil, state)
		if len(values) > 0 {
			total += at.UnixMilli()
		}
		return dstream.Some(text(total))
	},
	"expireAfterTwoIdleBatches": func(_ time.Time, values []string, state dstream.Opt[string]) dstream.Opt[string] {
		s := map[string]any{"counter": 0.0, "expire": 0.0}
		if state.OK {
			s = value(state.Value).(map[string]any)
		}
		if total := sum(values, dstream.None[string]()); total == 0 {
			s["expire"] = s["expire"].(float64) + 1
		} else {
			s["counter"], s["expire"] = s["counter"].(float64)+float64(total), 0.0
		}
		if s["expire"].(float64) == 2 {
			return dstream.None[string]()
		}
		return dstream.Some(text(s))
	},
}

type mapping = func(t time.Time, key string, value dstream.Opt[string], st *dstream.State[string]) dstream.Opt[string]

// running adds the value to the state and emits what emit makes of the key and the sum.
func running(emit func(key string, sum int64) dstream.Opt[string]) mapping {
	return func(_ time.Time, key string, v dstream.Opt[string], st *dstream.State[string]) dstream.Opt[string] {
		total := int64(0)
		if s, ok := st.Get(); ok {
			total = number(s)
		}
		if v.OK {
			total += number(v.Value)
		}
		st.Update(text(total))
		return emit(key, total)
	}
}

// mappings are the functions of mapWithState.
var mappings = map[string]mapping{
	"mws_runningSum_emitSum": running(func(_ string, sum int64) dstream.Opt[string] { return dstream.Some(text(sum)) }),
	"mws_runningSum_emitKeyTwice": running(func(key string, _ int64) dstream.Opt[string] {
		return dstream.Some(text(value(key).(string) + value(key).(string)))
	}),
	"mws_runningSum_emitKeySum": running(func(key string, sum int64) dstream.Opt[string] {
		return dstream.Some(list(key, text(sum)))
	}),
	"mws_runningSum_emitNothing": running(func(string, int64) dstream.Opt[string] { return dstream.None[string]() }),
	"mws_removeIfExistsElseSet": func(_ time.Time, key string, v dstream.Opt[string], st *dstream.State[string]) dstream.Opt[string] {
		if st.Exists() {
			st.Remove()
			return dstream.Some(key)
		}
		st.Update(v.Value)
		return dstream.None[string]()
	},
	"mws_setOne_emitKeyOnTimeout": func(_ time.Time, key string, v dstream.Opt[string], st *dstream.State[string]) dstream.Opt[string] {
		if v.OK {
			st.Update("1")
		}
		if st.TimingOut() {
			return dstream.Some(key)
		}
		return dstream.None[string]()
	},
}
