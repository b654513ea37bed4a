package rdd_test

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

type (
	num  = rdd.KV[uint8, int]
	text = rdd.KV[uint8, string]
)

// batch is a scope with a dataset to make others from.
func batch() (rdd.RDD[int], *lineage.Scope) {
	s := &lineage.Scope{Time: 1, Partitions: 2}
	return rdd.Of(s, lineage.Empty[int](s)), s
}

// cut makes a dataset of the given partitions.
func cut[T, U any](r rdd.RDD[T], parts [][]U) rdd.RDD[U] {
	if len(parts) == 0 {
		return rdd.Map(r, func(T) (none U) { return none })
	}
	return rdd.FromSeq(r, func(part, _ int) iter.Seq[U] { return slices.Values(parts[part]) }, len(parts))
}

// read gives the records of every partition.
func read[T any](t rapid.TB, e *lineagetest.Engine, r rdd.RDD[T]) [][]T {
	n := r.Node()
	out := make([][]T, n.Partitions())
	for part := range out {
		if err := e.Try(n, func(task dataset.Task) { out[part] = slices.Collect(n.Seq(task, part)) }); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func texts[K comparable, V any](r rdd.RDD[rdd.KV[K, V]]) rdd.RDD[rdd.KV[K, string]] {
	return rdd.MapValues(r, func(v V) string { return fmt.Sprint(v) })
}

func keyed(r rdd.RDD[uint8]) rdd.RDD[text] {
	return rdd.Map(r, func(v uint8) text { return rdd.Pair(v, "") })
}

// values are those of a key.
func values(of []num, key uint8) (vs []int) {
	for _, p := range of {
		if p.Key == key {
			vs = append(vs, p.Value)
		}
	}
	return vs
}

// joinOracle is a join by two loops.
func joinOracle(a, b []num, leftToo, rightToo bool, show func(v, w rdd.Opt[int]) string) (all []text) {
	for _, p := range a {
		ws := values(b, p.Key)
		for _, w := range ws {
			all = append(all, text{p.Key, show(rdd.Some(p.Value), rdd.Some(w))})
		}
		if len(ws) == 0 && leftToo {
			all = append(all, text{p.Key, show(rdd.Some(p.Value), rdd.None[int]())})
		}
	}
	for _, k := range distinct(b) {
		for _, w := range values(b, k) {
			if rightToo && values(a, k) == nil {
				all = append(all, text{k, show(rdd.None[int](), rdd.Some(w))})
			}
		}
	}
	return all
}

// distinct are the keys in the order in which they came first.
func distinct(of []num) (keys []uint8) {
	for _, p := range of {
		if !slices.Contains(keys, p.Key) {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

func keysIf(keys []uint8, keep func(uint8) bool) (all []text) {
	for _, k := range keys {
		if keep(k) {
			all = append(all, text{k, ""})
		}
	}
	return all
}

func allKeys(of []num) (keys []uint8) {
	for _, p := range of {
		keys = append(keys, p.Key)
	}
	return keys
}

// byKey are the operators that spread records by key, each with an oracle that knows no partitions.
var byKey = []struct {
	name   string
	op     func(a, b rdd.RDD[num], parts int) rdd.RDD[text]
	oracle func(a, b []num) []text
}{
	{"join", func(a, b rdd.RDD[num], n int) rdd.RDD[text] { return texts(rdd.Join(a, b, n)) }, func(a, b []num) []text {
		return joinOracle(a, b, false, false, func(v, w rdd.Opt[int]) string { return fmt.Sprint(rdd.Joined[int, int]{v.Value, w.Value}) })
	}},
	{"leftOuterJoin", func(a, b rdd.RDD[num], n int) rdd.RDD[text] { return texts(rdd.LeftOuterJoin(a, b, n)) }, func(a, b []num) []text {
		return joinOracle(a, b, true, false, func(v, w rdd.Opt[int]) string { return fmt.Sprint(rdd.Joined[int, rdd.Opt[int]]{v.Value, w}) })
	}},
	{"rightOuterJoin", func(a, b rdd.RDD[num], n int) rdd.RDD[text] { return texts(rdd.RightOuterJoin(a, b, n)) }, func(a, b []num) []text {
		return joinOracle(a, b, false, true, func(v, w rdd.Opt[int]) string { return fmt.Sprint(rdd.Joined[rdd.Opt[int], int]{v, w.Value}) })
	}},
	{"fullOuterJoin", func(a, b rdd.RDD[num], n int) rdd.RDD[text] { return texts(rdd.FullOuterJoin(a, b, n)) }, func(a, b []num) []text {
		return joinOracle(a, b, true, true, func(v, w rdd.Opt[int]) string { return fmt.Sprint(rdd.Joined[rdd.Opt[int], rdd.Opt[int]]{v, w}) })
	}},
	{"cogroup", func(a, b rdd.RDD[num], n int) rdd.RDD[text] { return texts(rdd.CoGroup(a, b, n)) }, func(a, b []num) (all []text) {
		for _, k := range distinct(slices.Concat(a, b)) {
			all = append(all, text{k, fmt.Sprint(rdd.CoGrouped[int, int]{Left: values(a, k), Right: values(b, k)})})
		}
		return all
	}},
	{"subtractByKey", func(a, b rdd.RDD[num], n int) rdd.RDD[text] { return texts(rdd.SubtractByKey(a, b, n)) }, func(a, b []num) (all []text) {
		for _, p := range a {
			if values(b, p.Key) == nil {
				all = append(all, text{p.Key, fmt.Sprint(p.Value)})
			}
		}
		return all
	}},
	{"subtract", func(a, b rdd.RDD[num], n int) rdd.RDD[text] {
		return keyed(rdd.Subtract(rdd.Keys(a), rdd.Keys(b), n))
	}, func(a, b []num) []text {
		return keysIf(allKeys(a), func(k uint8) bool { return values(b, k) == nil })
	}},
	{"intersection", func(a, b rdd.RDD[num], n int) rdd.RDD[text] {
		return keyed(rdd.Intersection(rdd.Keys(a), rdd.Keys(b), n))
	}, func(a, b []num) []text {
		return keysIf(distinct(a), func(k uint8) bool { return values(b, k) != nil })
	}},
	{"distinct", func(a, _ rdd.RDD[num], n int) rdd.RDD[text] { return keyed(rdd.Distinct(rdd.Keys(a), n)) }, func(a, _ []num) []text {
		return keysIf(distinct(a), func(uint8) bool { return true })
	}},
	{"partitionBy", func(a, _ rdd.RDD[num], n int) rdd.RDD[text] { return texts(rdd.PartitionBy(a, n)) }, func(a, _ []num) (all []text) {
		for _, p := range a {
			all = append(all, text{p.Key, fmt.Sprint(p.Value)})
		}
		return all
	}},
	{"aggregateByKey", func(a, _ rdd.RDD[num], n int) rdd.RDD[text] {
		return texts(rdd.AggregateByKey(a, make([]int, 1), func(c []int, v int) []int {
			c[0] += v
			return c
		}, func(c, d []int) []int { return []int{c[0] + d[0]} }, n))
	}, func(a, _ []num) (all []text) {
		for _, k := range distinct(a) {
			sum := 0
			for _, v := range values(a, k) {
				sum += v
			}
			all = append(all, text{k, fmt.Sprint([]int{sum})})
		}
		return all
	}},
	{"foldByKey", func(a, _ rdd.RDD[num], n int) rdd.RDD[text] {
		return texts(rdd.FoldByKey(a, -1, func(x, y int) int { return max(x, y) }, n))
	}, func(a, _ []num) (all []text) {
		for _, k := range distinct(a) {
			all = append(all, text{k, fmt.Sprint(slices.Max(values(a, k)))})
		}
		return all
	}},
	{"countByKey", func(a, _ rdd.RDD[num], n int) rdd.RDD[text] { return texts(rdd.CountByKey(a, n)) }, func(a, _ []num) (all []text) {
		for _, k := range distinct(a) {
			all = append(all, text{k, fmt.Sprint(len(values(a, k)))})
		}
		return all
	}},
	{"groupBy", func(a, _ rdd.RDD[num], n int) rdd.RDD[text] {
		return texts(rdd.GroupBy(a, func(p num) uint8 { return p.Key }, n))
	}, func(a, _ []num) (all []text) {
		for _, k := range distinct(a) {
			var group []num
			for _, p := range a {
				if p.Key == k {
					group = append(group, p)
				}
			}
			all = append(all, text{k, fmt.Sprint(group)})
		}
		return all
	}},
}

// drawParts draws a dataset: few keys, some of them frequent, and partitions that may be empty or none.
func drawParts(rt *rapid.T, name string) [][]num {
	key := rapid.OneOf(rapid.Just(uint8(0)), rapid.Uint8Range(0, 5), rapid.Uint8())
	record := rapid.Custom(func(rt *rapid.T) num { return num{key.Draw(rt, "key"), rapid.IntRange(0, 99).Draw(rt, "value")} })
	return rapid.SliceOfN(rapid.SliceOfN(record, 0, 12), 0, 4).Draw(rt, name)
}

// Rule 6: the records that an oracle without partitions gives, in its order, each in the partition of its key; the same
// where buckets are bytes, where a side is spread by key already, and when it is all read again.
func TestOperatorsByKeyGiveWhatOraclesGive(t *testing.T) {
	key, err := codec.ForKey[uint8]()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range byKey {
		t.Run(c.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				a, b := drawParts(rt, "a"), drawParts(rt, "b")
				n := rapid.IntRange(1, 5).Draw(rt, "partitions")
				e := &lineagetest.Engine{Encode: rapid.Bool().Draw(rt, "as bytes")}
				r, s := batch()
				x, y := cut(r, a), cut(r, b)
				if rapid.Bool().Draw(rt, "a is spread") {
					x = rdd.PartitionBy(x, n)
					a = read(rt, e, x)
				}
				if rapid.Bool().Draw(rt, "b is spread") {
					y = rdd.PartitionBy(y, n)
					b = read(rt, e, y)
				}
				want := make([][]text, n)
				for _, p := range c.oracle(slices.Concat(a...), slices.Concat(b...)) {
					part := codec.Reducer(key.Hash(&p.Key), n)
					want[part] = append(want[part], p)
				}
				op := c.op(x, y, n)
				for range 2 {
					if got := read(rt, e, op); !reflect.DeepEqual(got, want) {
						rt.Fatalf("got %v, want %v", got, want)
					}
				}
				if s.Err() != nil {
					rt.Fatal(s.Err())
				}
			})
		})
	}
}

func TestSpreadSidesOfAJoinDoNotMove(t *testing.T) {
	r, _ := batch()
	a, b := cut(r, [][]num{{{1, 1}}, {{2, 2}}}), cut(r, [][]num{{{1, 1}}, {{3, 2}}})
	sums := rdd.ReduceByKey(a, func(x, _ int) int { return x }, 3)
	for _, d := range []dataset.Dataset{rdd.Join(sums, b, 3).Node(), rdd.CoGroup(sums, b, 3).Node()} {
		if d.Deps()[0].Shuffle != nil || d.Deps()[1].Shuffle == nil {
			t.Error("the left side moved, or the right one did not")
		}
	}
	again := rdd.Join(rdd.MapValues(rdd.Join(sums, b, 3), func(rdd.Joined[int, int]) int { return 0 }), sums, 3).Node()
	if again.Deps()[0].Shuffle != nil || again.Deps()[1].Shuffle != nil {
		t.Error("what was joined moved again")
	}
	if rdd.PartitionBy(sums, 3).Node() != sums.Node() {
		t.Error("what is spread was spread again")
	}
}

// Rule 6: what is given away twice are two copies, and what is read again is what it was.
func TestValuesOfJoinsAreCopies(t *testing.T) {
	type pair = rdd.KV[string, []int]
	for _, parts := range []int{1, 3} {
		for _, encode := range []bool{false, true} {
			e := &lineagetest.Engine{Encode: encode}
			r, _ := batch()
			one := []pair{{"a", []int{1}}, {"a", []int{2}}}
			spoilt := rdd.FromSeq(r, func(int, int) iter.Seq[pair] {
				return func(yield func(pair) bool) { // a producer that uses its memory again
					buf := make([]int, 1)
					for i := range 2 {
						buf[0] = i + 1
						if !yield(pair{"a", buf}) {
							return
						}
					}
				}
			})
			shared := rdd.FromSlice(r, one)
			got := map[string][]string{}
			for range 2 {
				for _, a := range []rdd.RDD[pair]{spoilt, shared} {
					for _, p := range slices.Concat(read(t, e, rdd.Join(a, a, parts))...) {
						got["join"] = append(got["join"], fmt.Sprint(p.Value))
						p.Value.Left[0], p.Value.Right[0] = -1, -1
					}
					for _, p := range slices.Concat(read(t, e, rdd.CoGroup(a, a, parts))...) {
						got["cogroup"] = append(got["cogroup"], fmt.Sprint(p.Value))
						p.Value.Left[0][0], p.Value.Right[0] = -1, nil
						_ = append(p.Value.Left, nil)
					}
				}
			}
			joins := slices.Repeat([]string{"([1],[1])", "([1],[2])", "([2],[1])", "([2],[2])"}, 4)
			if !slices.Equal(got["join"], joins) {
				t.Errorf("%d partitions: join %v", parts, got["join"])
			}
			if want := slices.Repeat([]string{"{[[1] [2]] [[1] [2]]}"}, 4); !slices.Equal(got["cogroup"], want) {
				t.Errorf("%d partitions: cogroup %v", parts, got["cogroup"])
			}
		}
	}
}

func TestWhoHasEnoughOfAJoinStopsIt(t *testing.T) {
	for _, encode := range []bool{false, true} {
		e := &lineagetest.Engine{Encode: encode}
		r, _ := batch()
		made := 0
		left := rdd.FromSeq(r, func(part, _ int) iter.Seq[num] {
			return func(yield func(num) bool) {
				for made = 0; made < 1_000_000 && yield(num{0, made}); made++ {
				}
			}
		})
		right := cut(r, [][]num{{{0, 1}, {0, 2}, {0, 3}}})
		for name, n := range map[string]*lineage.Node[string]{
			"join":      rdd.Map(rdd.Join(left, right, 1), func(p rdd.KV[uint8, rdd.Joined[int, int]]) string { return p.String() }).Node(),
			"cartesian": rdd.Map(rdd.Cartesian(left, right), func(p rdd.Joined[num, num]) string { return p.String() }).Node(),
		} {
			taken := 0
			if err := e.Try(n, func(task dataset.Task) {
				n.Each(task, 0, func(string) bool { taken++; return taken < 4 })
			}); err != nil || taken != 4 || made > 1000 {
				t.Errorf("%s: %d taken of %d records (%v)", name, taken, made, err)
			}
		}
		outer := rdd.FullOuterJoin(cut(r, [][]num{{{7, 7}}}), right, 2).Node()
		for part := range 2 {
			taken := 0
			if err := e.Try(outer, func(task dataset.Task) {
				for range outer.Seq(task, part) {
					taken++
					break
				}
			}); err != nil || taken > 1 {
				t.Errorf("%d taken (%v)", taken, err)
			}
		}
	}
}

func TestDatasetsOfDifferentCallsDoNotComeTogether(t *testing.T) {
	for name, f := range map[string]func(a, b rdd.RDD[num]){
		"union":         func(a, b rdd.RDD[num]) { a.Union(b) },
		"join":          func(a, b rdd.RDD[num]) { rdd.Join(a, b) },
		"cogroup":       func(a, b rdd.RDD[num]) { rdd.CoGroup(a, b) },
		"cartesian":     func(a, b rdd.RDD[num]) { rdd.Cartesian(a, b) },
		"subtractByKey": func(a, b rdd.RDD[num]) { rdd.SubtractByKey(a, b) },
		"subtract":      func(a, b rdd.RDD[num]) { rdd.Subtract(rdd.Keys(a), rdd.Keys(b)) },
		"intersection":  func(a, b rdd.RDD[num]) { rdd.Intersection(rdd.Keys(a), rdd.Keys(b)) },
	} {
		one, s := batch()
		other, _ := batch()
		f(cut(one, [][]num{{}}), cut(other, [][]num{{}}))
		if s.Err() == nil || !strings.Contains(s.Err().Error(), name+": the two datasets are not of the same call") {
			t.Errorf("%s: %v", name, s.Err())
		}
	}
}
