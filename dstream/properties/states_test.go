package properties_test

import (
	"iter"
	"slices"
	"time"

	"github.com/raftstream/raftstream/dstream"
)

// sumState adds up, and removes a key whose sum is 7.
func sumState(values []int, state opt) opt {
	for _, v := range values {
		state.Value += v
	}
	if state.Value == 7 {
		return dstream.None[int]()
	}
	return dstream.Some(state.Value)
}

// states is the oracle of keyed state: f changes the states in order of their keys' arrival.
type states struct {
	keys   []string
	values map[string]int
	last   map[string]int // batch of the last data
}

func newStates() *states { return &states{values: map[string]int{}, last: map[string]int{}} }

func (s *states) set(key string, v, batch int) {
	if _, ok := s.values[key]; !ok {
		s.keys = append(s.keys, key)
	}
	s.values[key], s.last[key] = v, batch
}

func (s *states) remove(key string) {
	delete(s.values, key)
	s.keys = slices.DeleteFunc(s.keys, func(k string) bool { return k == key })
}

func (s *states) all() []kv {
	out := []kv{}
	for _, k := range s.keys {
		out = append(out, dstream.Pair(k, s.values[k]))
	}
	return out
}

// idle is the timeout of the sessions, in batches.
const idle = 2

// session sums up, forgets a key at 0 after a removal, and tells of the end of a session.
func session(_ time.Time, key string, v opt, s *dstream.State[int]) dstream.Opt[kv] {
	sum, _ := s.Get()
	switch {
	case s.TimingOut():
		return dstream.Some(dstream.Pair(key+" ends", sum))
	case v.Value == 5 && s.Exists():
		s.Remove()
		return dstream.None[kv]()
	case v.Value != 0:
		s.Update(sum + v.Value)
	}
	return dstream.Some(dstream.Pair(key, sum+v.Value))
}

// sessions is the oracle of session: what is emitted, and the states after each batch.
func sessions(in [][]kv, timeout bool, start ...kv) (emitted, after [][]kv) {
	s := newStates()
	for _, p := range start {
		s.set(p.Key, p.Value, 0)
	}
	for n, batch := range in {
		out := []kv{}
		for _, p := range batch {
			sum, ok := s.values[p.Key]
			switch {
			case p.Value == 5 && ok:
				s.remove(p.Key)
				continue
			case p.Value != 0:
				s.set(p.Key, sum+p.Value, n)
			case ok && timeout:
				s.last[p.Key] = n
			}
			out = append(out, dstream.Pair(p.Key, sum+p.Value))
		}
		for _, key := range slices.Clone(s.keys) {
			if timeout && n-s.last[key] > idle {
				out = append(out, dstream.Pair(key+" ends", s.values[key]))
				s.remove(key)
			}
		}
		emitted, after = append(emitted, out), append(after, s.all())
	}
	return emitted, after
}

// started are the states that some runs begin with.
var started = []kv{dstream.Pair("a", 3), dstream.Pair("z", 1)}

func initial() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		for _, p := range started {
			if !yield(p.Key, p.Value) {
				return
			}
		}
	}
}

func stateProperties() []property {
	withTimeout := dstream.Timeout(idle * interval)
	return []property{
		holds("updateStateByKey", pairs(), true, func(s kvs) kvs { return dstream.UpdateStateByKey(s, sumState) },
			func(in [][]kv, _ drawn) (out [][]kv) {
				s, begun := newStates(), false
				for n, batch := range in {
					if begun = begun || batch != nil; !begun {
						continue
					}
					for _, g := range groups(batch) {
						v, ok := s.values[g.Key]
						if next := sumState(g.Value, opt{Value: v, OK: ok}); next.OK {
							s.set(g.Key, next.Value, n)
						} else {
							s.remove(g.Key)
						}
					}
					out = append(out, s.all())
				}
				return out
			}),
		holds("mapWithState", pairs(), true, func(s kvs) kvs { return dstream.MapWithState(s, session).DStream },
			func(in [][]kv, _ drawn) [][]kv { emitted, _ := sessions(in, false); return emitted }),
		holds("mapWithState with a timeout", pairs(), true, func(s kvs) kvs { return dstream.MapWithState(s, session, withTimeout).DStream },
			func(in [][]kv, _ drawn) [][]kv { emitted, _ := sessions(in, true); return emitted }),
		holds("stateSnapshots", pairs(), true, func(s kvs) kvs { return dstream.MapWithState(s, session, withTimeout).StateSnapshots() },
			func(in [][]kv, _ drawn) [][]kv { _, after := sessions(in, true); return after }),
		holds("initial state", pairs(), true, func(s kvs) kvs {
			return dstream.MapWithState(s, session, withTimeout, dstream.InitialState(initial), dstream.Partitions(3)).StateSnapshots()
		}, func(in [][]kv, _ drawn) [][]kv { _, after := sessions(in, true, started...); return after }),
		holds("window of state", pairs(), false, func(s kvs) kvs {
			return dstream.UpdateStateByKey(s, sumState).Window(2*interval, 2*interval)
		}, func(in [][]kv, d drawn) (out [][]kv) {
			var all [][]kv
			s := newStates()
			for n, batch := range in {
				for _, g := range groups(batch) {
					v, ok := s.values[g.Key]
					if next := sumState(g.Value, opt{Value: v, OK: ok}); next.OK {
						s.set(g.Key, next.Value, n)
					} else {
						s.remove(g.Key)
					}
				}
				all = append(all, s.all())
			}
			return windowsOf(2, 2, func(batch []kv) []kv { return batch })(all, d)
		}),
	}
}
