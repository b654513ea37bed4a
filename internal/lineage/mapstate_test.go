package lineage_test

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
	"github.com/raftstream/raftstream/internal/table"
)

// mapping is the function of a mapped state, as tests write it; value is nil where there is none.
type mapping[K comparable, V, S, U any] func(t id.Time, key K, value *V, st *lineage.Cell[S]) (U, bool)

// maps is a stream with mapped state over a stream of pairs, batch by batch.
type maps[K comparable, V, S, U any] struct {
	e     *lineagetest.Engine
	m     lineage.Mapped[pair[K, V], K, V, S, U]
	f     mapping[K, V, S, U]
	parts int
	at    id.Time
}

func mapped[K comparable, V, S, U any](tb testing.TB, parts int, timeout int64, f mapping[K, V, S, U]) *maps[K, V, S, U] {
	return &maps[K, V, S, U]{
		e: &lineagetest.Engine{Blocks: map[lineagetest.Input][]byte{}, Run: dataset.Batch{Attempt: 1}}, parts: parts, f: f,
		m: lineage.Mapped[pair[K, V], K, V, S, U]{
			Split: func(p pair[K, V]) (K, V) { return p.K, p.V },
			Key:   codecOf[K](tb), Value: codecOf[V](tb), State: codecOf[S](tb), Emitted: codecOf[U](tb),
			Timeout: timeout, By: lineage.ByKey,
		},
	}
}

type steps[K comparable, S, U any] = *lineage.Node[lineage.Step[K, S, U]]

// next makes the dataset of the next batch, whose input has a block for each element of in; nil: there is no input.
func (m *maps[K, V, S, U]) next(tb testing.TB, in [][]pair[K, V]) steps[K, S, U] {
	base := m.at
	m.at += 1000
	return m.node(tb, base, in)
}

func (m *maps[K, V, S, U]) node(tb testing.TB, base id.Time, in [][]pair[K, V]) steps[K, S, U] {
	at := base + 1000
	of := m.m
	of.Map = func(cell *lineage.Cell[S]) func(K, V, bool) (U, bool) {
		value := new(V)
		return func(k K, v V, has bool) (U, bool) {
			if *value = v; has {
				return m.f(at, k, value, cell)
			}
			return m.f(at, k, nil, cell)
		}
	}
	s := &lineage.Scope{Stream: states, Time: at, Partitions: m.parts}
	if in == nil {
		return lineage.MapState(s, nil, of, base, m.parts)
	}
	c := codecOf[pair[K, V]](tb)
	for i, p := range in {
		b := []byte{}
		for j := range p {
			b = c.AppendRow(b, &p[j])
		}
		m.e.Blocks[lineagetest.Input{Stream: pairs, Time: at, Part: i}] = b
	}
	n := lineage.Source(&lineage.Scope{Stream: pairs, Time: at}, len(in), c)
	return lineage.MapState(s, n, of, base, m.parts)
}

// both are the two datasets that read a step.
func (m *maps[K, V, S, U]) both(n steps[K, S, U]) (*lineage.Node[U], *lineage.Node[pair[K, S]]) {
	at := n.ID().Time
	return lineage.Emitted(&lineage.Scope{Stream: states + 1, Time: at}, n),
		lineage.Snapshots(&lineage.Scope{Stream: states + 2, Time: at}, n, func(k K, s S) pair[K, S] { return pair[K, S]{k, s} }, lineage.ByKey)
}

// batch runs and completes the next batch.
func (m *maps[K, V, S, U]) batch(t *testing.T, in [][]pair[K, V]) ([][]U, [][]pair[K, S]) {
	t.Helper()
	out, snapshot := m.both(m.next(t, in))
	a, b := all(t, m.e, out), all(t, m.e, snapshot)
	m.e.Complete(m.at)
	return a, b
}

// Spark's MapWithStateSuite: "state - get, exists, update, remove".
func TestCellDoesWhatSparksStateDoes(t *testing.T) {
	type look struct {
		exists, ok, timing bool
		value              int
	}
	looked := func(c *lineage.Cell[int]) look {
		v, ok := c.Get()
		return look{c.Exists(), ok, c.TimingOut(), v}
	}
	refused := func(f func()) (why string) {
		defer func() { why, _ = recover().(string) }()
		f()
		return ""
	}
	var seen []string
	m := mapped(t, 1, 1000, func(_ id.Time, key string, value *int, c *lineage.Cell[int]) (string, bool) {
		check := func(name string, want look) {
			if got := looked(c); got != want {
				t.Errorf("%s, %s: %+v, want %+v", key, name, got, want)
			}
			seen = append(seen, key+" "+name)
		}
		refuses := func(why string) {
			for _, f := range []func(){c.Remove, func() { c.Update(-1) }} {
				if got := refused(f); !strings.HasSuffix(got, why) {
					t.Errorf("%s: refused with %q, want %q", key, got, why)
				}
			}
		}
		switch {
		case value == nil:
			check("timing out", look{exists: true, ok: true, timing: true, value: 3})
			refuses("is timing out")
		case !c.Exists():
			check("none", look{})
			c.Update(2)
			check("updated", look{exists: true, ok: true, value: 2})
			c.Update(*value)
			check("updated again", look{exists: true, ok: true, value: *value})
			if *value == 1 {
				return "", false
			}
			fallthrough
		default:
			c.Remove()
			check("removed", look{})
			refuses("was removed in this call already")
		case *value == 3:
			check("there", look{exists: true, ok: true, value: 1})
			c.Update(3)
		}
		return "", false
	})
	m.batch(t, [][]pair[string, int]{{{"a", 1}, {"a", 3}, {"b", 4}, {"b", 4}, {"c", 1}, {"c", 1}}})
	m.batch(t, nil)
	m.batch(t, nil)
	want := "a none,a updated,a updated again,a there,b none,b updated,b updated again,b removed,b none,b updated,b updated again,b removed,c none,c updated,c updated again,c removed,a timing out"
	if got := strings.Join(seen, ","); got != want {
		t.Errorf("seen %s", got)
	}
}

func TestRemovingAStateThatIsNotThereIsAllowed(t *testing.T) {
	m := mapped(t, 1, 0, func(_ id.Time, _ string, _ *int, c *lineage.Cell[int]) (bool, bool) {
		c.Remove()
		return c.Exists(), true
	})
	out, rest := m.batch(t, [][]pair[string, int]{{{"a", 1}}})
	expect(t, out, [][]bool{{false}})
	expect(t, rest, [][]pair[string, int]{nil})
}

// Spark's MapWithStateRDDSuite: "states generated by MapWithStateRDD". Value 0 does nothing, 1 counts up from 0, 2 removes.
func TestOnlyKeysWithDataChange(t *testing.T) {
	calls := 0
	f := func(_ id.Time, _ string, value *int, c *lineage.Cell[int]) (int, bool) {
		calls++
		switch *value {
		case 1:
			if n, ok := c.Get(); ok {
				c.Update(n + 1)
			} else {
				c.Update(0)
			}
		case 2:
			c.Remove()
		}
		return 0, false
	}
	type data = []pair[string, int]
	for name, c := range map[string]struct {
		batches []data // after the first, which begins with k1 and k2
		want    data
		changed []int64 // rows and removals, by batch
	}{
		"no data":          {[]data{{}}, data{{"k1", 0}, {"k2", 0}}, []int64{0}},
		"nothing":          {[]data{{{"k1", 0}}}, data{{"k1", 0}, {"k2", 0}}, []int64{0}},
		"nothing of new":   {[]data{{{"k3", 0}}}, data{{"k1", 0}, {"k2", 0}}, []int64{0}},
		"new":              {[]data{{{"k3", 1}}, {{"k4", 1}}}, data{{"k1", 0}, {"k2", 0}, {"k3", 0}, {"k4", 0}}, []int64{1, 1}},
		"updates":          {[]data{{{"k1", 1}}, {{"x", 0}, {"k2", 1}, {"k2", 1}, {"k3", 1}}, {{"k3", 1}}}, data{{"k1", 1}, {"k2", 2}, {"k3", 1}}, []int64{1, 2, 1}},
		"removals":         {[]data{{{"k1", 2}}, {{"k2", 2}, {"k0", 2}, {"k3", 1}}, {{"k3", 2}}}, nil, []int64{1, 2, 1}},
		"removed and back": {[]data{{{"k1", 1}, {"k1", 2}, {"k1", 1}}, {{"k3", 1}, {"k3", 2}}}, data{{"k1", 0}, {"k2", 0}}, []int64{1, 0}},
	} {
		m := mapped(t, 1, 0, f)
		m.m.Initial = func() iter.Seq2[string, int] {
			return func(yield func(string, int) bool) { _ = yield("k1", 0) && yield("k2", 0) }
		}
		calls = 0
		_, got := m.batch(t, [][]pair[string, int]{{}})
		want := 0
		for i, in := range c.batches {
			_, got = m.batch(t, [][]pair[string, int]{in})
			s, _ := m.e.State(lineagetest.StatePart{Stream: states})
			changed := int64(0)
			s.Encode(m.at-1000, false, 1<<20, func(_ []byte, rows int64) bool { changed += rows; return true })
			if changed != c.changed[i] {
				t.Errorf("%s, batch %d: %d changes, want %d", name, i+2, changed, c.changed[i])
			}
			want += len(in)
		}
		if !slices.Equal(got[0], c.want) {
			t.Errorf("%s: %v, want %v", name, got[0], c.want)
		}
		if calls != want {
			t.Errorf("%s: %d calls for %d records", name, calls, want)
		}
	}
}

// Rule 6: records come in order of (map partition, arrival), states in the order in which keys got them, wherever
// buckets come from.
func TestMappedStateHasOneOrder(t *testing.T) {
	for _, encode := range []bool{false, true} {
		m := mapped(t, 1, 0, func(_ id.Time, key string, value *string, c *lineage.Cell[string]) (string, bool) {
			s, _ := c.Get()
			c.Update(s + *value)
			return key + s + *value, true
		})
		m.e.Encode = encode
		out, rest := m.batch(t, [][]pair[string, string]{{{"b", "1"}, {"a", "1"}}, {{"c", "1"}, {"a", "2"}, {"b", "2"}}})
		expect(t, out, [][]string{{"b1", "a1", "c1", "a12", "b12"}})
		expect(t, rest, [][]pair[string, string]{{{"b", "12"}, {"a", "12"}, {"c", "1"}}})
	}
}

func TestEveryPartitionHasItsKeys(t *testing.T) {
	var in [][]pair[string, int64]
	want := map[string]int64{}
	for i := range 3 {
		var block []pair[string, int64]
		for j := range 1000 {
			k := fmt.Sprint("key ", (i*7+j)%400)
			block = append(block, pair[string, int64]{k, int64(j)})
			want[k] += int64(j)
		}
		in = append(in, block)
	}
	for _, parts := range []int{1, 2, 5} {
		m := mapped(t, parts, 0, func(_ id.Time, _ string, value *int64, c *lineage.Cell[int64]) (int64, bool) {
			s, _ := c.Get()
			c.Update(s + *value)
			return *value, true
		})
		m.m.Initial = func() iter.Seq2[string, int64] { return func(yield func(string, int64) bool) { yield("initial", 7) } }
		out, rest := m.batch(t, in)
		got := map[string]int64{}
		for _, p := range slices.Concat(rest...) {
			got[p.K] = p.V
		}
		delete(got, "initial")
		if !reflect.DeepEqual(got, want) || len(slices.Concat(out...)) != 3000 || len(slices.Concat(rest...)) != 401 {
			t.Errorf("%d partitions: %d keys, %d emitted", parts, len(got), len(slices.Concat(out...)))
		}
		// What is spread by key already is not shuffled again.
		_, snapshot := m.both(m.node(t, m.at, nil))
		again := lineage.MapState(&lineage.Scope{Stream: 9, Time: 1000}, snapshot, m.m, 0, parts)
		if dep := stateful(t, again).Deps()[0]; dep.Shuffle != nil {
			t.Error("a shuffle without need")
		}
	}
}

// A user who changes what he was given, or keeps what he gave, must not change what is kept.
func TestMappedStatesAndValuesBelongToTheUser(t *testing.T) {
	var held [][]string
	m := mapped(t, 1, 5000, func(_ id.Time, _ string, value *[]string, c *lineage.Cell[[]string]) ([]string, bool) {
		s, has := c.Get()
		held = append(held, *value, s)
		if !has || len((*value)) > 1 {
			c.Update(*value)
			return *value, true
		}
		s[0] += "!" // changed, but not given back
		(*value)[0] += "?"
		return s, true
	})
	spoil := func(rows ...[]string) {
		for _, r := range rows {
			for i := range r {
				r[i] = "spoiled"
			}
		}
	}
	type data = []pair[string, []string]
	m.batch(t, [][]pair[string, []string]{{{"a", []string{"x"}}, {"b", []string{"y", "z"}}}})
	spoil(held...)
	n := m.next(t, [][]pair[string, []string]{{{"a", []string{"1"}}, {"b", []string{"2", "3"}}}, {{"b", []string{"4"}}}})
	out, snapshot := m.both(n)
	for attempt := range 2 {
		m.e.Run.Attempt = id.Attempt(2 + attempt)
		for range 2 { // the second reading finds the delta of the first
			a, b := all(t, m.e, out), all(t, m.e, snapshot)
			expect(t, a, [][][]string{{{"x!"}, {"2", "3"}, {"2!", "3"}}})
			expect(t, b, [][]pair[string, []string]{data{{"a", []string{"x"}}, {"b", []string{"2", "3"}}}})
			spoil(a[0]...)
			spoil(b[0][0].V, b[0][1].V)
			spoil(held...)
		}
	}
	m.e.Complete(m.at)
	spoil(held...)
	_, rest := m.batch(t, nil)
	expect(t, rest, [][]pair[string, []string]{data{{"a", []string{"x"}}, {"b", []string{"2", "3"}}}})
}

func TestAReaderOfMappedStateThatStopsEarlyLeavesWholeState(t *testing.T) {
	m := mapped(t, 1, 0, func(_ id.Time, key string, value *int, c *lineage.Cell[int]) (string, bool) {
		c.Update(*value)
		return key, true
	})
	in := [][]pair[string, int]{{{"a", 1}, {"b", 1}, {"c", 1}}}
	for name, emitted := range map[string]*codec.Codec[string]{"kept": codecOf[string](t), "made again": nil} {
		m.m.Emitted = emitted
		out, snapshot := m.both(m.next(t, in))
		var got []string
		if err := m.e.Try(out, func(task dataset.Task) {
			out.Each(task, 0, func(s string) bool { got = append(got, s); return len(got) < 2 })
			snapshot.Each(task, 0, func(p pair[string, int]) bool { got = append(got, p.K); return false })
		}); err != nil {
			t.Fatal(err)
		}
		m.e.Complete(m.at)
		s, at := m.e.State(lineagetest.StatePart{Stream: states})
		if want := []string{"a", "b", "a"}; !slices.Equal(got, want) || s.Len() != 3 || at != m.at {
			t.Errorf("%s: read %q, %d keys at %d", name, got, s.Len(), at)
		}
	}
}

func TestMappedKeysThatAreNotEqualToThemselvesAreRefused(t *testing.T) {
	f := func(_ id.Time, _ float64, _ *int, _ *lineage.Cell[int]) (int, bool) { return 0, false }
	m := mapped(t, 2, 0, f)
	out, _ := m.both(m.next(t, [][]pair[float64, int]{{{math.NaN(), 1}}}))
	var failed error
	for part := range 2 {
		failed = errors.Join(failed, m.e.Try(out, func(task dataset.Task) { drain(out, task, part) }))
	}
	if failed == nil || !strings.Contains(failed.Error(), "the key NaN is not equal to itself") {
		t.Errorf("error %v", failed)
	}
}

func TestKeysThatAreTooLongForStateAreRefused(t *testing.T) {
	in := [][]pair[string, int64]{{{strings.Repeat("k", table.MaxKey+1), 1}}}
	u := updating[string](t, 1, count)
	m := mapped(t, 1, 0, func(_ id.Time, _ string, _ *int64, _ *lineage.Cell[int]) (int, bool) { return 0, false })
	n, of := u.next(t, in), m.next(t, in)
	for name, err := range map[string]error{
		"update": u.e.Try(n, func(task dataset.Task) { drain(n, task, 0) }),
		"map":    m.e.Try(of, func(task dataset.Task) { drain(of, task, 0) }),
	} {
		if err == nil || !strings.Contains(err.Error(), "a key has 16777216 bytes, at most 16777215 can have a state") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamagedBucketsOfPairsAreRefused(t *testing.T) {
	in := [][]pair[string, string]{{{"a", "1"}, {"bb", "2"}}, {}}
	for name, damage := range map[string]func([]byte) []byte{
		"cut":         func(b []byte) []byte { return b[:len(b)-1] },
		"longer":      func(b []byte) []byte { return append(b, 0) },
		"more rows":   func(b []byte) []byte { b[0] += 3; return b },
		"no row left": func(b []byte) []byte { return nil },
	} {
		m := mapped(t, 2, 0, func(_ id.Time, _ string, _ *string, _ *lineage.Cell[int]) (int, bool) { return 0, false })
		m.e.Encode, m.e.Damage = true, damage
		out, _ := m.both(m.next(t, in))
		err := m.e.Try(out, func(task dataset.Task) { drain(out, task, 0) })
		if !errors.Is(err, codec.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
