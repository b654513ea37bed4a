package rdd_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// Records that compare equal keep their order: the oracle is a stable sort of everything.
func TestSortedRecordsAreThoseOfAStableSort(t *testing.T) {
	byOnes := func(a, b num) int { return cmp.Compare(a.Key%10, b.Key%10) }
	rapid.Check(t, func(rt *rapid.T) {
		in := drawParts(rt, "in")
		n := rapid.IntRange(0, 20).Draw(rt, "n")
		e := &lineagetest.Engine{Encode: rapid.Bool().Draw(rt, "as bytes")}
		r, s := batch()
		a := cut(r, in)
		all := slices.Concat(in...)
		ordered := func(compare func(a, b num) int) []num { return slices.SortedStableFunc(slices.Values(all), compare) }
		byKey := func(a, b num) int { return cmp.Compare(a.Key, b.Key) }
		for name, c := range map[string]struct {
			got  rdd.RDD[num]
			want []num
		}{
			"sortFunc":  {rdd.SortFunc(a, byOnes), ordered(byOnes)},
			"sortBy":    {rdd.SortBy(a, func(p num) int { return -p.Value }), ordered(func(a, b num) int { return cmp.Compare(b.Value, a.Value) })},
			"sortByKey": {rdd.SortByKey(a), ordered(byKey)},
			"top":       {rdd.Top(a, n, byOnes), ordered(func(a, b num) int { return byOnes(b, a) })[:min(n, len(all))]},
			"bottom":    {rdd.Bottom(a, n, byOnes), ordered(byOnes)[:min(n, len(all))]},
		} {
			for range 2 {
				if got := read(rt, e, c.got); len(got) != 1 || !slices.Equal(got[0], c.want) {
					rt.Fatalf("%s: %v, want %v", name, got, c.want)
				}
			}
		}
		for part, got := range read(rt, e, rdd.SortPartitions(a, byOnes)) {
			if want := slices.SortedStableFunc(slices.Values(in[part]), byOnes); !slices.Equal(got, want) {
				rt.Fatalf("partition %d: %v, want %v", part, got, want)
			}
		}
		if s.Err() != nil {
			rt.Fatal(s.Err())
		}
	})
}

// What is held in between is bounded, and the answer is that of sorting everything.
func TestTopOfManyIsThatOfSorting(t *testing.T) {
	for _, n := range []int{0, 1, 7, 5000} {
		r, _ := batch()
		var all []int
		for i := range 20_000 {
			all = append(all, i*7919%10_007)
		}
		got := read(t, &lineagetest.Engine{}, rdd.Top(rdd.FromSlice(r, all, 3), n, cmp.Compare[int]))
		slices.Sort(all)
		slices.Reverse(all)
		if !slices.Equal(got[0], all[:n]) {
			t.Errorf("the %d greatest are not the last of all in order", n)
		}
	}
}

func TestSortingStopsWhenTheConsumerHasEnough(t *testing.T) {
	for _, parts := range []int{1, 3} {
		r, _ := batch()
		sorted := rdd.SortBy(rdd.FromSlice(r, make([]int, 100), parts), func(v int) int { return v }).Node()
		taken := 0
		if err := (&lineagetest.Engine{}).Try(sorted, func(task dataset.Task) {
			sorted.Each(task, 0, func(int) bool { taken++; return taken < 5 })
		}); err != nil || taken != 5 {
			t.Errorf("%d taken (%v)", taken, err)
		}
	}
}

func TestCartesianPairsPartitionWithPartition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawParts(rt, "a"), drawParts(rt, "b")
		r, s := batch()
		var want [][]rdd.Joined[num, num]
		for _, x := range a {
			for _, y := range b {
				var pairs []rdd.Joined[num, num]
				for _, p := range x {
					for _, q := range y {
						pairs = append(pairs, rdd.Joined[num, num]{Left: p, Right: q})
					}
				}
				want = append(want, pairs)
			}
		}
		got := read(rt, &lineagetest.Engine{}, rdd.Cartesian(cut(r, a), cut(r, b)))
		if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) || s.Err() != nil {
			rt.Fatalf("got %v, want %v (%v)", got, want, s.Err())
		}
	})
}

func TestCoalesceKeepsTheOrderOfPartitions(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in, n := drawParts(rt, "in"), rapid.IntRange(1, 6).Draw(rt, "n")
		r, _ := batch()
		got := read(rt, &lineagetest.Engine{}, cut(r, in).Coalesce(n))
		if len(got) != min(n, len(in)) || !slices.Equal(slices.Concat(got...), slices.Concat(in...)) {
			rt.Fatalf("%d partitions: %v of %v", n, got, in)
		}
	})
	r, _ := batch()
	few := cut(r, [][]num{{{1, 1}}, {{2, 2}}, {{3, 3}}, {{4, 4}}, {{5, 5}}}).Coalesce(2)
	if got := read(t, &lineagetest.Engine{}, few); len(got[0]) != 2 || len(got[1]) != 3 {
		t.Errorf("got %v", got)
	}
	node, taken := few.Node(), 0
	if err := (&lineagetest.Engine{}).Try(node, func(task dataset.Task) { node.Each(task, 1, func(num) bool { taken++; return taken < 2 }) }); err != nil || taken != 2 {
		t.Errorf("%d taken (%v)", taken, err)
	}
}

func TestASampleIsTheSameWhenItIsTakenAgain(t *testing.T) {
	r, s := batch()
	all := make([]int, 10_000)
	for i := range all {
		all[i] = i
	}
	in := rdd.FromSlice(r, all, 2)
	e := &lineagetest.Engine{}
	once := read(t, e, in.Sample(0.3, 7))
	if !reflect.DeepEqual(once, read(t, e, in.Sample(0.3, 7))) {
		t.Error("another sample by the same seed")
	}
	if reflect.DeepEqual(once, read(t, e, in.Sample(0.3, 8))) || slices.Equal(once[0], minus(once[1], 5000)) {
		t.Error("the same sample by another seed, or in another partition")
	}
	if n := len(slices.Concat(once...)); math.Abs(float64(n)-3000) > 300 { // more than six standard deviations
		t.Errorf("%d of 10000 records", n)
	}
	if none, every := read(t, e, in.Sample(0, 7)), read(t, e, in.Sample(1, 7)); len(slices.Concat(none...)) != 0 || !slices.Equal(slices.Concat(every...), all) {
		t.Error("a sample of nothing or of everything is not that")
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	if in.Sample(math.NaN(), 7); s.Err() == nil || !strings.Contains(s.Err().Error(), "sample: the fraction is NaN") {
		t.Error(s.Err())
	}
}

func minus(vs []int, d int) (all []int) {
	for _, v := range vs {
		all = append(all, v-d)
	}
	return all
}

func TestStaticRecordsAreCutIntoPartitionsAndStayAsTheyAre(t *testing.T) {
	r, _ := batch()
	in := [][]int{{1}, {2}, {3}}
	e := &lineagetest.Engine{}
	for range 2 {
		got := read(t, e, rdd.FromSlice(r, in, 2))
		if !reflect.DeepEqual(got, [][][]int{{{1}}, {{2}, {3}}}) {
			t.Errorf("got %v", got)
		}
		got[1][0][0] = -1
	}
	shared := rdd.FromSlice(r, []func() int{func() int { return 4 }}) // of a type without codec
	if got := read(t, e, rdd.Map(shared, func(f func() int) int { return f() })); !reflect.DeepEqual(got, [][]int{{4}}) {
		t.Errorf("got %v", got)
	}
	empty := rdd.FromSeq(r, func(int, int) iter.Seq[int] { return nil }, 2)
	if got := read(t, e, empty); !reflect.DeepEqual(got, [][]int{nil, nil}) {
		t.Errorf("got %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	endless := rdd.FromSeq(r, func(int, int) iter.Seq[int] {
		return func(yield func(int) bool) {
			for yield(1) {
				cancel()
			}
		}
	}).Node()
	err := (&lineagetest.Engine{Ctx: ctx}).Try(endless, func(task dataset.Task) { endless.Each(task, 0, func(int) bool { return true }) })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWhatCannotBeSaysSo(t *testing.T) {
	fs := func(r rdd.RDD[int]) rdd.RDD[func()] { return rdd.Map(r, func(int) func() { return nil }) }
	for want, f := range map[string]func(r rdd.RDD[int]){
		"top: -1 records, expected 0 to":      func(r rdd.RDD[int]) { rdd.Top(r, -1, cmp.Compare[int]) },
		"sortBy: type func()":                 func(r rdd.RDD[int]) { rdd.SortBy(fs(r), func(func()) int { return 0 }) },
		"sortPartitions: type func()":         func(r rdd.RDD[int]) { rdd.SortPartitions(fs(r), func(a, b func()) int { return 0 }) },
		"partitionBy: type func()":            func(r rdd.RDD[int]) { rdd.PartitionBy(rdd.KeyBy(fs(r), func(func()) int { return 0 })) },
		"coalesce: -3 partitions":             func(r rdd.RDD[int]) { r.Coalesce(-3) },
		"fromSlice: 70000 partitions":         func(r rdd.RDD[int]) { rdd.FromSlice(r, []int{1}, 70_000) },
		"cartesian: 300 times 300 partitions": func(r rdd.RDD[int]) { m := rdd.FromSlice(r, []int{1}, 300); rdd.Cartesian(m, m) },
		"aggregateByKey: type func()": func(r rdd.RDD[int]) {
			rdd.AggregateByKey(rdd.KeyBy(r, id), func() {}, func(c func(), _ int) func() { return c }, func(a, b func()) func() { return a })
		},
		"join: 65537 partitions, expected 1 t": func(r rdd.RDD[int]) { k := rdd.KeyBy(r, id); rdd.Join(k, k, 65537) },
	} {
		r, s := batch()
		f(r)
		if s.Err() == nil || !strings.Contains(s.Err().Error(), want) {
			t.Errorf("%v does not say %q", s.Err(), want)
		}
	}
}

func id(v int) int { return v }

func TestKeysAndValuesComeApart(t *testing.T) {
	r, _ := batch()
	p := rdd.KeyBy(rdd.FromSlice(r, []string{"a", "bb", "c"}), func(s string) int { return len(s) })
	e := &lineagetest.Engine{}
	if got := fmt.Sprint(read(t, e, p), read(t, e, rdd.Keys(p)), read(t, e, rdd.Values(p))); got != "[[(1,a) (2,bb) (1,c)]] [[1 2 1]] [[a bb c]]" {
		t.Error(got)
	}
}
