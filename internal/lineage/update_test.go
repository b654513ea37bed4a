package lineage_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// updates is a stream with keyed state over a stream of pairs, batch by batch.
type updates[K comparable, V, S any] struct {
	e     *lineagetest.Engine
	u     lineage.Updated[pair[K, V], K, V, S, pair[K, S]]
	parts int
	at    id.Time
}

const (
	pairs id.Stream = iota
	states
)

func updating[K comparable, V, S any](tb testing.TB, parts int, f func([]V, S, bool) (S, bool)) *updates[K, V, S] {
	return &updates[K, V, S]{
		e: &lineagetest.Engine{Blocks: map[lineagetest.Input][]byte{}, Run: dataset.Batch{Attempt: 1}}, parts: parts,
		u: lineage.Updated[pair[K, V], K, V, S, pair[K, S]]{
			Split: func(p pair[K, V]) (K, V) { return p.K, p.V }, Update: f,
			Join: func(k K, s S) pair[K, S] { return pair[K, S]{k, s} },
			Key:  codecOf[K](tb), Values: codecOf[[]V](tb), State: codecOf[S](tb), By: lineage.ByKey,
		},
	}
}

// next makes the dataset of the next batch, whose input has a block for each element of in; nil: there is no input.
func (u *updates[K, V, S]) next(tb testing.TB, in [][]pair[K, V]) *lineage.Node[pair[K, S]] {
	base := u.at
	u.at += 1000
	return u.node(tb, base, in)
}

func (u *updates[K, V, S]) node(tb testing.TB, base id.Time, in [][]pair[K, V]) *lineage.Node[pair[K, S]] {
	s := &lineage.Scope{Stream: states, Time: base + 1000, Partitions: u.parts}
	if in == nil {
		return lineage.UpdateState[pair[K, V]](s, nil, u.u, base, u.parts)
	}
	c := codecOf[pair[K, V]](tb)
	for i, p := range in {
		b := []byte{}
		for j := range p {
			b = c.AppendRow(b, &p[j])
		}
		u.e.Blocks[lineagetest.Input{Stream: pairs, Time: base + 1000, Part: i}] = b
	}
	n := lineage.Source(&lineage.Scope{Stream: pairs, Time: base + 1000}, len(in), c)
	return lineage.UpdateState(s, n, u.u, base, u.parts)
}

// batch runs and completes the next batch.
func (u *updates[K, V, S]) batch(t *testing.T, in [][]pair[K, V]) [][]pair[K, S] {
	t.Helper()
	out := all(t, u.e, u.next(t, in))
	u.e.Complete(u.at)
	return out
}

func count(values []int64, sum int64, _ bool) (int64, bool) {
	for _, v := range values {
		sum += v
	}
	return sum, sum >= 0
}

func TestStateIsTheFoldOfAllBatches(t *testing.T) {
	for _, parts := range []int{1, 2, 5} {
		for _, encode := range []bool{false, true} {
			u := updating[string](t, parts, count)
			u.e.Encode = encode
			for i, step := range []struct {
				in   [][]pair[string, int64]
				want map[string]int64
			}{
				{[][]pair[string, int64]{{{"a", 1}, {"b", 2}, {"a", 3}}, {{"b", 4}}}, map[string]int64{"a": 4, "b": 6}},
				{nil, map[string]int64{"a": 4, "b": 6}},
				{[][]pair[string, int64]{{{"c", 0}, {"a", -5}}}, map[string]int64{"b": 6, "c": 0}},
				{[][]pair[string, int64]{}, map[string]int64{"b": 6, "c": 0}},
				{[][]pair[string, int64]{{}, {{"a", 7}}}, map[string]int64{"a": 7, "b": 6, "c": 0}},
			} {
				got := map[string]int64{}
				for _, p := range slices.Concat(u.batch(t, step.in)...) {
					got[p.K] = p.V
				}
				if !reflect.DeepEqual(got, step.want) {
					t.Errorf("%d partitions, batch %d: %v, want %v", parts, i+1, got, step.want)
				}
			}
		}
	}
}

// Rule 6: keys come in the order in which they got their state, values in order of (map partition, row).
func TestStateHasOneOrder(t *testing.T) {
	u := updating[string](t, 1, func(values []string, s string, _ bool) (string, bool) {
		s += strings.Join(values, "")
		return s, !strings.HasSuffix(s, "!")
	})
	expect(t, u.batch(t, [][]pair[string, string]{{{"b", "1"}, {"a", "1"}}, {{"c", "1"}, {"a", "2"}}}), [][]pair[string, string]{{{"b", "1"}, {"a", "12"}, {"c", "1"}}})
	expect(t, u.batch(t, [][]pair[string, string]{{{"d", "1"}, {"b", "!"}, {"c", "2"}}}), [][]pair[string, string]{{{"a", "12"}, {"c", "12"}, {"d", "1"}}})
	expect(t, u.batch(t, [][]pair[string, string]{{{"b", "2"}}}), [][]pair[string, string]{{{"a", "12"}, {"c", "12"}, {"d", "1"}, {"b", "2"}}})
}

// Rule 7: a task works on its own delta; what an attempt that lost made is seen by nobody.
func TestAttemptsThatLostLeaveNothing(t *testing.T) {
	u := updating[string](t, 2, count)
	u.batch(t, [][]pair[string, int64]{{{"a", 1}, {"b", 1}}})
	u.e.Run.Attempt = 2
	n := u.next(t, [][]pair[string, int64]{{{"a", 10}, {"c", 10}}})
	lost := all(t, u.e, n)
	u.e.Run.Attempt = 3
	again := all(t, u.e, n)
	expect(t, again, lost)
	u.e.Complete(u.at)
	got := slices.Concat(u.batch(t, nil)...)
	slices.SortFunc(got, func(a, b pair[string, int64]) int { return strings.Compare(a.K, b.K) })
	expect(t, [][]pair[string, int64]{got}, [][]pair[string, int64]{{{"a", 11}, {"b", 1}, {"c", 10}}})
}

func TestAReaderThatStopsEarlyLeavesWholeState(t *testing.T) {
	u := updating[string](t, 1, count)
	in := [][]pair[string, int64]{{{"a", 1}, {"b", 1}, {"c", 1}}}
	for name, read := range map[string]func(*lineage.Node[pair[string, int64]], dataset.Task){
		"first": func(n *lineage.Node[pair[string, int64]], task dataset.Task) {
			n.Each(task, 0, func(pair[string, int64]) bool { return false })
		},
		"nothing": func(n *lineage.Node[pair[string, int64]], task dataset.Task) { _, whole := n.Read(task, 0); whole() },
		"limit 0": func(n *lineage.Node[pair[string, int64]], task dataset.Task) {
			n.Encode(codecOf[pair[string, int64]](t)).Collect(task, 0, 0)
		},
		"the engine itself": func(n *lineage.Node[pair[string, int64]], task dataset.Task) { stateful(t, n).Collect(task, 0, 0) },
		"below other operators": func(n *lineage.Node[pair[string, int64]], task dataset.Task) {
			s := scope()
			m := lineage.Filter(s, n, func(pair[string, int64]) bool { return true })
			_, whole := lineage.Union(s, []*lineage.Node[pair[string, int64]]{m, m}).Read(task, 1)
			whole()
		},
	} {
		before := u.at
		n := u.next(t, in)
		if err := u.e.Try(n, func(task dataset.Task) { read(n, task) }); err != nil {
			t.Fatal(err)
		}
		u.e.Complete(u.at)
		if s, at := u.e.State(lineagetest.StatePart{Stream: states}); s.Len() != 3 || at != before+1000 {
			t.Errorf("%s: %d keys at %d", name, s.Len(), at)
		}
	}
	expect(t, u.batch(t, nil), [][]pair[string, int64]{{{"a", 5}, {"b", 5}, {"c", 5}}})
}

// stateful finds what the engine finds.
func stateful(t *testing.T, d dataset.Dataset) dataset.Stateful {
	t.Helper()
	for {
		if s, ok := d.(dataset.Stateful); ok {
			return s
		}
		if len(d.Deps()) == 0 || d.Deps()[0].Narrow == nil {
			t.Fatal("no stateful dataset in the narrow lineage")
		}
		d = d.Deps()[0].On
	}
}

func TestTheEngineSeesTheStateOnce(t *testing.T) {
	u := updating[string](t, 3, count)
	n := u.next(t, [][]pair[string, int64]{{{"a", 1}}})
	if _, ok := dataset.Dataset(n).(dataset.Stateful); ok {
		t.Error("the node itself is stateful")
	}
	s := stateful(t, n)
	if s.Base() != 0 || s.Partitions() != 3 || s.Blank().Len() != 0 || s.ID().Time != 1000 || s.Deps()[0].Shuffle == nil {
		t.Errorf("dataset %v: base %d, %d partitions", s.ID(), s.Base(), s.Partitions())
	}
	// Records that are spread by key already are not shuffled again, nor is what is made of the states.
	again := lineage.UpdateState(&lineage.Scope{Stream: 9, Time: 1000}, n, updating[string](t, 3, count).u, 0, 3)
	if dep := stateful(t, again).Deps()[0]; dep.Shuffle != nil || !slices.Equal(dep.Narrow(2), []int{2}) {
		t.Error("a shuffle without need")
	}
}

// A user who changes what he was given must not change what is kept.
func TestStatesAndValuesBelongToTheUser(t *testing.T) {
	u := updating[string](t, 1, func(values []string, s []string, has bool) ([]string, bool) {
		if !has {
			return values, true // kept as it was then
		}
		for i := range s {
			s[i] += "."
		}
		return s[:len(s):len(s)], true
	})
	rows := u.batch(t, [][]pair[string, string]{{{"a", "x"}, {"a", "y"}}})
	rows[0][0].V[0] = "spoiled"
	n := u.next(t, nil)
	for range 2 { // the second reading finds the delta of the first
		rows = all(t, u.e, n)
		expect(t, rows, [][]pair[string, []string]{{{"a", []string{"x.", "y."}}}})
		rows[0][0].V[1] = "spoiled"
	}
	u.e.Run.Attempt = 2
	expect(t, all(t, u.e, n), [][]pair[string, []string]{{{"a", []string{"x.", "y."}}}})
}

// What is kept refers neither to input nor to checkpoints, nor to what the user may still hold.
func TestWhatIsKeptIsACopy(t *testing.T) {
	var held [][]string
	u := updating[string](t, 1, func(values []string, s []string, _ bool) ([]string, bool) {
		if len(values) == 0 {
			return s, true
		}
		held = append(held, values)
		return values, true
	})
	forget := func() {
		for _, b := range u.e.Blocks {
			clear(b)
		}
		for _, v := range held {
			clear(v)
		}
	}
	var want [][]pair[string, []string]
	for _, last := range []string{"second", "other"} { // states that are new, and states that change
		in := [][]pair[string, string]{{{"key a", "first"}, {"key a", last}}, {{"key b", last}}}
		want = [][]pair[string, []string]{{{"key a", []string{"first", last}}, {"key b", []string{last}}}}
		expect(t, u.batch(t, in), want)
		forget()
		expect(t, u.batch(t, nil), want)
	}
	s, at := u.e.State(lineagetest.StatePart{Stream: states})
	restored := stateful(t, u.node(t, at, nil)).Blank()
	s.Encode(0, true, 1<<20, func(chunk []byte, _ int64) bool {
		if err := restored.Decode(chunk, at); err != nil {
			t.Error(err)
		}
		clear(chunk)
		return true
	})
	u.e.Restore(lineagetest.StatePart{Stream: states}, restored, at)
	expect(t, u.batch(t, nil), want)
}

func TestOnlyWhatChangesIsInTheDelta(t *testing.T) {
	u := updating[string](t, 1, func(values []float64, s pair[string, []float64], has bool) (pair[string, []float64], bool) {
		if len(values) > 0 {
			s.V = append(s.V[:0:0], values...)
		}
		return pair[string, []float64]{"state", slices.Clone(s.V)}, true // another slice with the same in it
	})
	u.batch(t, [][]pair[string, float64]{{{"a", 1}, {"b", math.NaN()}, {"c", 3}}})
	for i, want := range []int64{0, 0, 1, 2} {
		in := [][]pair[string, float64]{{}, {{"a", 1}, {"b", math.NaN()}}, {{"a", math.Copysign(0, -1)}}, {{"d", 1}, {"c", 0}}}[i]
		u.batch(t, [][]pair[string, float64]{in})
		s, _ := u.e.State(lineagetest.StatePart{Stream: states})
		changed := int64(0)
		s.Encode(u.at-1000, false, 1<<20, func(_ []byte, rows int64) bool { changed += rows; return true })
		if changed != want {
			t.Errorf("batch %d: %d rows changed, want %d", i+2, changed, want)
		}
	}
}

func TestKeysThatAreNotEqualToThemselvesAreRefused(t *testing.T) {
	u := updating[float64](t, 2, count)
	n := u.next(t, [][]pair[float64, int64]{{{math.NaN(), 1}}})
	var failed error
	for part := range 2 {
		failed = errors.Join(failed, u.e.Try(n, func(task dataset.Task) { drain(n, task, part) }))
	}
	if failed == nil || !strings.Contains(failed.Error(), "the key NaN is not equal to itself") {
		t.Errorf("error %v", failed)
	}
}

// State that nobody touches costs no memory.
func TestKeysThatStayAreNotAllocated(t *testing.T) {
	const keys = 20000
	u := updating[string](t, 1, count)
	var in []pair[string, int64]
	for i := range keys {
		in = append(in, pair[string, int64]{fmt.Sprint("key ", i), 1})
	}
	u.batch(t, [][]pair[string, int64]{in})
	n := u.next(t, [][]pair[string, int64]{{{"key 7", 1}}})
	allocs := testing.AllocsPerRun(2, func() {
		u.e.Run.Attempt++
		if err := u.e.Try(n, func(task dataset.Task) { drain(n, task, 0) }); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 60 {
		t.Errorf("%v allocations for one key of %d", allocs, keys)
	}
}
