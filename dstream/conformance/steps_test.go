package conformance_test

import (
	"fmt"
	"iter"
	"time"

	"github.com/raftstream/raftstream/dstream"
)

// program makes the stream of a case from its inputs. Unknown names panic: no case is passed over.
type program struct{ input, input2 stream }

func (p program) from(b branch) stream {
	s := p.input
	if b.From == "input2" {
		s = p.input2
	}
	if s == nil {
		panic(fmt.Sprintf("the case has no %q", b.From))
	}
	return p.apply(s, b.Steps)
}

func (p program) apply(s stream, steps []step) stream {
	var state *dstream.StateStream[string, string, string]
	for _, st := range steps {
		switch st.Op {
		case "mapWithState":
			state = mapWithState(byKey(s), st)
			s = state.DStream
		case "stateSnapshots":
			s = elementsOf(state.StateSnapshots())
		default:
			s = p.one(s, st)
		}
	}
	return s
}

func named[F any](fns map[string]F, name string) F {
	f, ok := fns[name]
	if !ok {
		panic(fmt.Sprintf("the function %q is not known here", name))
	}
	return f
}

func (st step) options() []dstream.Option {
	if st.Partitions > 0 {
		return []dstream.Option{dstream.Partitions(st.Partitions)}
	}
	return nil
}

func (p program) one(s stream, st step) stream {
	switch st.Op {
	case "map":
		return dstream.Map(s, named(elementwise, st.Fn))
	case "flatMap":
		return dstream.FlatMap(s, named(flatMaps, st.Fn))
	case "filter":
		return s.Filter(named(filters, st.Fn))
	case "glom":
		return dstream.Map(dstream.Glom(s), func(vs []string) string { return list(vs...) })
	case "mapPartitions":
		return dstream.MapPartitions(s, named(partitionFns, st.Fn))
	case "repartition":
		return s.Repartition(st.Partitions)
	case "reduce":
		return s.Reduce(named(reduces, st.Fn))
	case "count":
		return dstream.Map(s.Count(), number64)
	case "countByValue":
		return dstream.Map(dstream.CountByValue(s, st.options()...), counted)
	case "union":
		return s.Union(p.from(*st.Other))
	case "transform":
		return dstream.Transform(s, named(transforms, st.Fn))
	case "transformWith":
		return dstream.TransformWith(s, p.from(*st.Other), named(transformWiths, st.Fn))
	case "contextTransform":
		var all []stream
		for _, b := range st.Streams {
			all = append(all, p.from(b))
		}
		return dstream.TransformAll(all, unionAll)
	case "checkpoint":
		return s.Checkpoint(time.Duration(st.IntervalMS) * time.Millisecond)
	case "persist":
		return s.Persist()
	}
	if w := windowed(s, st); w != nil {
		return w
	}
	return p.keyed(byKey(s), st)
}

func number64(n int64) string { return text(n) }

func counted(p dstream.KV[string, int64]) string { return list(p.Key, text(p.Value)) }

func grouped(p dstream.KV[string, []string]) string { return list(p.Key, list(p.Value...)) }

// windowed applies the windows; nil for another operator.
func windowed(s stream, st step) stream {
	w, slide := st.window(), st.slide()
	switch st.Op {
	case "window":
		return s.Window(w, slide)
	case "countByWindow":
		return dstream.Map(s.CountByWindow(w, slide), number64)
	case "reduceByWindow":
		if st.InvFn != "" {
			return s.ReduceByWindowInverse(named(reduces, st.Fn), named(reduces, st.InvFn), w, slide)
		}
		return s.ReduceByWindow(named(reduces, st.Fn), w, slide)
	case "reduceByWindowInverse":
		return s.ReduceByWindowInverse(named(reduces, st.Fn), named(reduces, st.InvFn), w, slide)
	case "countByValueAndWindow":
		return dstream.Map(dstream.CountByValueAndWindow(s, w, slide, st.options()...), counted)
	case "groupByKeyAndWindow":
		return dstream.Map(dstream.GroupByKeyAndWindow(byKey(s), w, slide, st.options()...), grouped)
	case "reduceByKeyAndWindow":
		return elementsOf(dstream.ReduceByKeyAndWindow(byKey(s), named(reduces, st.Fn), w, slide, st.options()...))
	case "reduceByKeyAndWindowInverse":
		opts := st.options()
		if st.FilterFn != "" {
			keep := named(filters, st.FilterFn)
			opts = append(opts, dstream.Keep(func(_, v string) bool { return keep(v) }))
		}
		return elementsOf(dstream.ReduceByKeyAndWindowInverse(byKey(s), named(reduces, st.Fn), named(reduces, st.InvFn), w, slide, opts...))
	}
	return nil
}

// keyed applies the operators of pairs.
func (p program) keyed(s keyed, st step) stream {
	switch st.Op {
	case "mapValues":
		return elementsOf(dstream.MapValues(s, named(elementwise, st.Fn)))
	case "flatMapValues":
		return elementsOf(dstream.FlatMapValues(s, named(flatMaps, st.Fn)))
	case "groupByKey":
		return dstream.Map(dstream.GroupByKey(s, st.options()...), grouped)
	case "reduceByKey":
		return elementsOf(dstream.ReduceByKey(s, named(reduces, st.Fn), st.options()...))
	case "updateStateByKey":
		return elementsOf(updateState(s, st))
	}
	return joined(s, byKey(p.from(*st.Other)), st)
}

// joined applies the operators of two streams of pairs.
func joined(a, b keyed, st step) stream {
	type opt = dstream.Opt[string]
	switch st.Op {
	case "cogroup":
		return dstream.Map(dstream.CoGroup(a, b, st.options()...), func(p dstream.KV[string, dstream.CoGrouped[string, string]]) string {
			return list(p.Key, list(list(p.Value.Left...), list(p.Value.Right...)))
		})
	case "join":
		return dstream.Map(dstream.Join(a, b, st.options()...), func(p dstream.KV[string, dstream.Joined[string, string]]) string {
			return list(p.Key, list(p.Value.Left, p.Value.Right))
		})
	case "leftOuterJoin":
		return dstream.Map(dstream.LeftOuterJoin(a, b, st.options()...), func(p dstream.KV[string, dstream.Joined[string, opt]]) string {
			return list(p.Key, list(p.Value.Left, option(p.Value.Right)))
		})
	case "rightOuterJoin":
		return dstream.Map(dstream.RightOuterJoin(a, b, st.options()...), func(p dstream.KV[string, dstream.Joined[opt, string]]) string {
			return list(p.Key, list(option(p.Value.Left), p.Value.Right))
		})
	case "fullOuterJoin":
		return dstream.Map(dstream.FullOuterJoin(a, b, st.options()...), func(p dstream.KV[string, dstream.Joined[opt, opt]]) string {
			return list(p.Key, list(option(p.Value.Left), option(p.Value.Right)))
		})
	}
	panic(fmt.Sprintf("the operator %q is not known here", st.Op))
}

// initial gives the initial state of a step, if it has one.
func (st step) initial() []dstream.Option {
	if st.Initial == nil {
		return nil
	}
	return []dstream.Option{dstream.InitialState(func() iter.Seq2[string, string] {
		return func(yield func(string, string) bool) {
			for _, raw := range st.Initial {
				if p := split(string(raw)); !yield(text(value(p.Key)), text(value(p.Value))) {
					return
				}
			}
		}
	})}
}

func updateState(s keyed, st step) keyed {
	f := named(updates, st.Fn)
	return dstream.UpdateStateByKeyTimed(s, func(t time.Time, _ string, values []string, state dstream.Opt[string]) dstream.Opt[string] {
		return f(t, values, state)
	}, append(st.options(), st.initial()...)...)
}

func mapWithState(s keyed, st step) *dstream.StateStream[string, string, string] {
	opts := append(st.options(), st.initial()...)
	if st.TimeoutMS > 0 {
		opts = append(opts, dstream.Timeout(time.Duration(st.TimeoutMS)*time.Millisecond))
	}
	out := dstream.MapWithState(s, named(mappings, st.Fn), opts...)
	if st.CheckpointMS > 0 {
		out.Checkpoint(time.Duration(st.CheckpointMS) * time.Millisecond)
	}
	return out
}
