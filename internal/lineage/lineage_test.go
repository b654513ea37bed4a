package lineage_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

type pair[K comparable, V any] struct {
	K K
	V V
}

func codecOf[T any](tb testing.TB) *codec.Codec[T] {
	tb.Helper()
	c, err := codec.For[T]()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func keyed[K comparable, V, C any](tb testing.TB) lineage.Keyed[pair[K, V], K, V, C, pair[K, C]] {
	return lineage.Keyed[pair[K, V], K, V, C, pair[K, C]]{
		Split: func(p pair[K, V]) (K, V) { return p.K, p.V },
		Join:  func(k K, c C) pair[K, C] { return pair[K, C]{k, c} },
		Key:   codecOf[K](tb), Value: codecOf[C](tb), By: "pair",
	}
}

// given puts partitions of records into an engine as stream 0 at time 1000 and gives their source.
func given[T any](tb testing.TB, e *lineagetest.Engine, s *lineage.Scope, parts ...[]T) *lineage.Node[T] {
	c := codecOf[T](tb)
	e.Blocks = map[lineagetest.Input][]byte{}
	for i, p := range parts {
		b := []byte{}
		for j := range p {
			b = c.AppendRow(b, &p[j])
		}
		e.Blocks[lineagetest.Input{Time: 1000, Part: i}] = b
	}
	return lineage.Source(s, len(parts), c)
}

func scope() *lineage.Scope { return &lineage.Scope{Time: 1000, Partitions: 2} }

// all gives the records of every partition.
func all[T any](t *testing.T, e *lineagetest.Engine, n *lineage.Node[T]) [][]T {
	t.Helper()
	out := make([][]T, n.Partitions())
	for part := range out {
		if err := e.Try(n, func(task dataset.Task) { out[part] = slices.Collect(n.Seq(task, part)) }); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func expect[T any](t *testing.T, got, want [][]T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNarrowOperatorsKeepPartitionsAndOrder(t *testing.T) {
	var e lineagetest.Engine
	s := scope()
	n := given(t, &e, s, []int{1, 2, 3}, nil, []int{4})
	expect(t, all(t, &e, lineage.Map(s, n, func(v int) string { return fmt.Sprint(v) })), [][]string{{"1", "2", "3"}, nil, {"4"}})
	expect(t, all(t, &e, lineage.Filter(s, n, func(v int) bool { return v%2 == 0 })), [][]int{{2}, nil, {4}})
	expect(t, all(t, &e, lineage.FlatMap(s, n, func(v int) iter.Seq[int] {
		if v == 2 {
			return nil
		}
		return slices.Values([]int{v, 10 * v})
	})), [][]int{{1, 10, 3, 30}, nil, {4, 40}})
	other := lineage.Map(s, n, func(v int) int { return -v })
	expect(t, all(t, &e, lineage.Union(s, []*lineage.Node[int]{n, other})), [][]int{{1, 2, 3}, nil, {4}, {-1, -2, -3}, nil, {-4}})
}

func TestMapPartitionsSeesEmptyPartitions(t *testing.T) {
	var e lineagetest.Engine
	s := scope()
	n := given(t, &e, s, []int{1, 2, 3}, nil)
	sum := lineage.MapPartitions(s, n, func(seq iter.Seq[int]) iter.Seq[int] {
		sum := 0
		for v := range seq {
			sum += v
		}
		return slices.Values([]int{sum})
	})
	expect(t, all(t, &e, sum), [][]int{{6}, {0}})
	nothing := lineage.MapPartitions(s, n, func(iter.Seq[int]) iter.Seq[int] { return nil })
	expect(t, all(t, &e, nothing), [][]int{nil, nil})
}

// A task that is canceled ends even where a sequence of the user has no end, and its consumer does not take what it
// got for all.
func TestSequencesWithoutEndStopWithTheTask(t *testing.T) {
	endless := func(yield func(int) bool) {
		for yield(1) {
		}
	}
	s := scope()
	var blocks lineagetest.Engine
	n := given(t, &blocks, s, []int{1, 2, 3})
	for name, n := range map[string]*lineage.Node[int]{
		"flatMap":       lineage.FlatMap(s, n, func(int) iter.Seq[int] { return endless }),
		"mapPartitions": lineage.MapPartitions(s, n, func(iter.Seq[int]) iter.Seq[int] { return endless }),
	} {
		ctx, cancel := context.WithCancel(t.Context())
		e := lineagetest.Engine{Ctx: ctx, Blocks: blocks.Blocks}
		ended := false
		err := e.Try(n, func(task dataset.Task) {
			n.Each(task, 0, func(int) bool { cancel(); return true })
			ended = true
		})
		if !errors.Is(err, context.Canceled) || ended {
			t.Errorf("%s: error %v, ended in order: %v", name, err, ended)
		}
	}
}

// What a user recovered from may have cut the sequence that he read: nothing is made of it in silence.
func TestRecoveredPanicsDoNotPassForTheEnd(t *testing.T) {
	var e lineagetest.Engine
	s := scope()
	n := given(t, &e, s, []int{1, 2, 3})
	bad := lineage.Map(s, n, func(v int) int { return 6 / (v - 2) })
	read := func(in iter.Seq[int], times int) (got []int) {
		defer func() { _ = recover() }()
		for v := range in {
			if got = append(got, v); len(got) == times {
				break
			}
		}
		return got
	}
	try := func(n *lineage.Node[int], most int) ([]int, error) {
		var got []int
		m := lineage.MapPartitions(s, n, func(in iter.Seq[int]) iter.Seq[int] {
			return func(yield func(int) bool) {
				for _, v := range read(in, most) {
					if !yield(v) {
						return
					}
				}
			}
		})
		err := e.Try(m, func(task dataset.Task) { m.Each(task, 0, func(v int) bool { got = append(got, v); return true }) })
		return got, err
	}
	if got, err := try(n, 2); err != nil || !slices.Equal(got, []int{1, 2}) {
		t.Errorf("reading that was ended early: %v, %v", got, err)
	}
	if got, err := try(bad, -1); err == nil || !strings.Contains(err.Error(), "a panic was recovered") {
		t.Errorf("reading that panicked: %v, %v", got, err)
	}
}

func TestConsumersThatHaveEnoughAreNotCalledAgain(t *testing.T) {
	var e lineagetest.Engine
	s := scope()
	n := given(t, &e, s, []int{1, 2, 3})
	deaf := func(yield func(int) bool) {
		for i := range 5 {
			yield(i)
		}
	}
	for name, n := range map[string]*lineage.Node[int]{
		"flatMap":       lineage.FlatMap(s, n, func(int) iter.Seq[int] { return deaf }),
		"mapPartitions": lineage.MapPartitions(s, n, func(iter.Seq[int]) iter.Seq[int] { return deaf }),
	} {
		calls := 0
		if err := e.Try(n, func(task dataset.Task) { n.Each(task, 0, func(int) bool { calls++; return calls < 2 }) }); err != nil || calls != 2 {
			t.Errorf("%s: %d calls, expected 2 (%v)", name, calls, err)
		}
	}
}

func TestConsumersThatHaveEnoughStopTheLoop(t *testing.T) {
	e := lineagetest.Engine{}
	s := scope()
	read := 0
	n := given(t, &e, s, []int{1, 2, 3, 4, 5, 6, 7, 8})
	counted := lineage.Map(s, n, func(v int) int { read++; return v })
	// The sequence goes on calling its consumer after it was told to stop.
	stubborn := lineage.FlatMap(s, counted, func(v int) iter.Seq[int] {
		return func(yield func(int) bool) {
			for i := range 3 {
				yield(10*v + i)
			}
		}
	})
	u := lineage.Union(s, []*lineage.Node[int]{lineage.Filter(s, stubborn, func(v int) bool { return v != 11 }), n})
	err := e.Try(u, func(task dataset.Task) {
		var got []int
		for v := range u.Seq(task, 0) {
			if got = append(got, v); len(got) == 3 {
				break
			}
		}
		if !slices.Equal(got, []int{10, 12, 20}) || read != 2 {
			t.Errorf("got %v after reading %d records", got, read)
		}
	})
	if err != nil {
		t.Error(err)
	}
	// Behind a shuffle the map side runs whole, the reduce side stops.
	for _, encode := range []bool{false, true} {
		e.Encode = encode
		r := lineage.Repartition(s, n, codecOf[int](t), 2)
		c := lineage.CombineByKey(s, lineage.Map(s, n, func(v int) pair[int, int] { return pair[int, int]{v, v} }), keyed[int, int, int](t), sum[int](), 2)
		if err := e.Try(r, func(task dataset.Task) {
			for range r.Seq(task, 0) {
				break
			}
		}); err != nil {
			t.Error(err)
		}
		if err := e.Try(c, func(task dataset.Task) {
			for range c.Seq(task, 0) {
				break
			}
		}); err != nil {
			t.Error(err)
		}
	}
}

func sum[V int | int64]() lineage.Combiner[V, V] {
	add := func(a, b V) V { return a + b }
	return lineage.Combiner[V, V]{Create: func(v V) V { return v }, Value: add, Merge: add}
}

// Rule 6: the same answer, whether buckets stay in the process or cross it as bytes.
func TestCombineByKeyGivesTheSameForRowsAndBytes(t *testing.T) {
	var results [][][]pair[string, int64]
	for _, encode := range []bool{false, true} {
		e := lineagetest.Engine{Encode: encode}
		s := scope()
		lines := given(t, &e, s, []string{"a b a", "c"}, nil, []string{"b a d e f g h"})
		words := lineage.FlatMap(s, lines, strings.FieldsSeq)
		ones := lineage.Map(s, words, func(w string) pair[string, int64] { return pair[string, int64]{w, 1} })
		counts := lineage.CombineByKey(s, ones, keyed[string, int64, int64](t), sum[int64](), 3)
		got := all(t, &e, counts)
		results = append(results, got)
		total := map[string]int64{}
		for part, pairs := range got {
			for _, p := range pairs {
				if want := codec.Reducer(codecOf[string](t).Hash(&p.K), 3); part != want {
					t.Errorf("%q in partition %d, want %d", p.K, part, want)
				}
				total[p.K] += p.V
			}
		}
		want := map[string]int64{"a": 3, "b": 2, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1, "h": 1}
		if !reflect.DeepEqual(total, want) {
			t.Errorf("got %v, want %v", total, want)
		}
	}
	if !reflect.DeepEqual(results[0], results[1]) {
		t.Errorf("rows give %v, bytes %v", results[0], results[1])
	}
}

// Rule 6: values come in the order of (map partition, row).
func TestGroupsKeepTheOrderOfTheInput(t *testing.T) {
	group := lineage.Combiner[int, []int]{
		Create: func(v int) []int { return []int{v} },
		Value:  func(s []int, v int) []int { return append(s, v) },
		Merge:  func(a, b []int) []int { return append(a, b...) },
	}
	for _, encode := range []bool{false, true} {
		e := lineagetest.Engine{Encode: encode}
		s := scope()
		n := given(t, &e, s, []pair[string, int]{{"a", 1}, {"b", 2}, {"a", 3}}, []pair[string, int]{{"a", 4}}, []pair[string, int]{{"b", 5}, {"a", 6}})
		g := lineage.CombineByKey(s, n, keyed[string, int, []int](t), group, 1)
		want := [][]pair[string, []int]{{{"a", []int{1, 3, 4, 6}}, {"b", []int{2, 5}}}}
		expect(t, all(t, &e, g), want)
		// A second try reads the same buckets: merging must not have changed them.
		expect(t, all(t, &e, g), want)
	}
}

// Rule 6: what combining may change, and what is handed to the user, is not what a second try reads.
func TestBucketsStayAsTheyAreWhateverIsDoneToWhatWasReadOfThem(t *testing.T) {
	longest := lineage.Combiner[int, []int]{
		Create: func(v int) []int { return []int{v} },
		Value:  func(s []int, v int) []int { return append(s, v) },
		Merge: func(a, b []int) []int { // one of them, changed
			if len(a) < len(b) {
				a = b
			}
			a[0] += 100
			return a
		},
	}
	for _, encode := range []bool{false, true} {
		e := lineagetest.Engine{Encode: encode}
		s := scope()
		n := given(t, &e, s, []pair[string, int]{{"a", 1}}, []pair[string, int]{{"a", 2}, {"a", 3}}, []pair[string, int]{{"a", 4}})
		c := lineage.CombineByKey(s, n, keyed[string, int, []int](t), longest, 1)
		for range 2 {
			expect(t, all(t, &e, c), [][]pair[string, []int]{{{"a", []int{202, 3}}}})
		}

		e = lineagetest.Engine{Encode: encode}
		m := given(t, &e, s, []pair[string, []byte]{{"a", []byte("x")}}, []pair[string, []byte]{{"a", []byte("y")}})
		g := lineage.CombineByKey(s, m, keyed[string, []byte, [][]byte](t), lineage.GroupValues[[]byte](), 1)
		for range 2 {
			got := all(t, &e, g)
			expect(t, got, [][]pair[string, [][]byte]{{{"a", [][]byte{[]byte("x"), []byte("y")}}}})
			got[0][0].V[1][0] = '!'
		}
	}
}

func TestRecordsSpreadByKeyAreNotShuffledAgain(t *testing.T) {
	var e lineagetest.Engine
	s := scope()
	n := given(t, &e, s, []pair[string, int64]{{"a", 1}, {"b", 2}}, []pair[string, int64]{{"a", 3}})
	k := keyed[string, int64, int64](t)
	once := lineage.CombineByKey(s, n, k, sum[int64](), 2)
	twice := lineage.CombineByKey(s, lineage.Filter(s, once, func(p pair[string, int64]) bool { return true }), k, sum[int64](), 2)
	if twice.Deps()[0].Shuffle != nil {
		t.Error("shuffled again")
	}
	expect(t, all(t, &e, twice), all(t, &e, once))
	k.By = "another part of the pair"
	if again := lineage.CombineByKey(s, once, k, sum[int64](), 2); again.Deps()[0].Shuffle == nil {
		t.Error("not shuffled for another key")
	}
	if again := lineage.CombineByKey(s, once, keyed[string, int64, int64](t), sum[int64](), 3); again.Deps()[0].Shuffle == nil {
		t.Error("not shuffled into another number of partitions")
	}
}

func TestReduceAndCount(t *testing.T) {
	add := func(a, b int) int { return a + b }
	for _, encode := range []bool{false, true} {
		for _, c := range []struct {
			in    [][]int
			sum   [][]int
			count int64
		}{
			{nil, [][]int{nil}, 0},
			{[][]int{nil, nil}, [][]int{nil}, 0},
			{[][]int{{1, 2}, nil, {3}}, [][]int{{6}}, 3},
			{[][]int{{1, 2}}, [][]int{{3}}, 2},
		} {
			e := lineagetest.Engine{Encode: encode}
			s := scope()
			n := given(t, &e, s, c.in...)
			expect(t, all(t, &e, lineage.Reduce(s, n, codecOf[int](t), add)), c.sum)
			expect(t, all(t, &e, lineage.Count(s, n)), [][]int64{{c.count}})
		}
	}
}

func TestRepartitionSpreadsEvenly(t *testing.T) {
	for _, encode := range []bool{false, true} {
		e := lineagetest.Engine{Encode: encode}
		s := scope()
		n := given(t, &e, s, []string{"a", "b", "c", "d"}, []string{"e", "f"})
		expect(t, all(t, &e, lineage.Repartition(s, n, codecOf[string](t), 3)), [][]string{{"a", "d"}, {"b", "e"}, {"c", "f"}})
		units := lineage.Map(s, n, func(string) struct{} { return struct{}{} })
		expect(t, all(t, &e, lineage.Repartition(s, units, codecOf[struct{}](t), 1)), [][]struct{}{make([]struct{}, 6)})
	}
}

// Rule 12 of the invariants: damaged bytes are noticed and never taken for records.
func TestDamagedBytesFailTheTask(t *testing.T) {
	e := lineagetest.Engine{Encode: true, Damage: func(b []byte) []byte { return b[:len(b)-1] }}
	s := scope()
	n := given(t, &e, s, []pair[string, int64]{{"a", 1}})
	c := lineage.CombineByKey(s, n, keyed[string, int64, int64](t), sum[int64](), 1)
	r := lineage.Repartition(s, n, codecOf[pair[string, int64]](t), 2)
	if c.Deps()[0].Shuffle != nil {
		t.Fatal("one partition was shuffled into one")
	}
	c = lineage.CombineByKey(s, n, keyed[string, int64, int64](t), sum[int64](), 2)
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return append(b, 0) },
		func(b []byte) []byte { return append([]byte{200}, b[1:]...) },
	} {
		e.Damage = damage
		for _, node := range []*lineage.Node[pair[string, int64]]{c, r} {
			failures := 0
			for part := range 2 {
				err := e.Try(node, func(task dataset.Task) { drain(node, task, part) })
				if errors.Is(err, codec.ErrDamaged) {
					failures++
				}
			}
			if failures == 0 {
				t.Error("damaged bucket taken")
			}
		}
	}
	e.Blocks[lineagetest.Input{Time: 1000}] = []byte{9, 'x'}
	err := e.Try(n, func(task dataset.Task) { drain(n, task, 0) })
	if !errors.Is(err, codec.ErrDamaged) || !strings.Contains(err.Error(), "record 1") {
		t.Errorf("damaged block: %v", err)
	}
}

func TestCollectCopiesAtMostTheLimit(t *testing.T) {
	var e lineagetest.Engine
	s := scope()
	n := given(t, &e, s, []string{"a", "b", "c"})
	if err := e.Try(n, func(task dataset.Task) { n.Collect(task, 0, 1) }); err == nil {
		t.Error("collected without a codec")
	}
	n.Encode(codecOf[string](t))
	for limit, want := range map[int]int{-1: 3, 0: 0, 2: 2, 9: 3} {
		if err := e.Try(n, func(task dataset.Task) {
			if got := n.Collect(task, 0, limit).Len(); got != want {
				t.Errorf("limit %d: %d records, want %d", limit, got, want)
			}
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestCancelledTasksEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := lineagetest.Engine{Ctx: ctx}
	s := scope()
	n := given(t, &e, s, make([]int, 10000))
	read := 0
	err := e.Try(n, func(task dataset.Task) {
		for range n.Seq(task, 0) {
			read++
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || read == 10000 {
		t.Errorf("%v after %d records", err, read)
	}
}

func TestDatasetsAreNumberedAlikeInEveryProcess(t *testing.T) {
	build := func() dataset.Dataset {
		s := scope()
		n := lineage.Source(s, 2, codecOf[string](t))
		return lineage.Count(s, lineage.Map(s, n, func(string) int { return 0 }))
	}
	a, b := build(), build()
	for a.ID() == b.ID() && len(a.Deps()) > 0 {
		a, b = a.Deps()[0].On, b.Deps()[0].On
	}
	if a.ID() != b.ID() || a.ID().Sub != 0 {
		t.Errorf("%v and %v", a.ID(), b.ID())
	}
}

func drain[T any](n *lineage.Node[T], task dataset.Task, part int) {
	n.Each(task, part, func(T) bool { return true })
}
