package rdd_test

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// of makes a dataset of given partitions.
func of[T any](t *testing.T, e *lineagetest.Engine, parts ...[]T) (rdd.RDD[T], *lineage.Scope) {
	t.Helper()
	c, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	e.Blocks = map[lineagetest.Input][]byte{}
	for i, p := range parts {
		b := []byte{}
		for j := range p {
			b = c.AppendRow(b, &p[j])
		}
		e.Blocks[lineagetest.Input{Time: 1, Part: i}] = b
	}
	s := &lineage.Scope{Time: 1, Partitions: 2}
	return rdd.Of(s, lineage.Source(s, len(parts), c)), s
}

func parts[T any](t *testing.T, e *lineagetest.Engine, r rdd.RDD[T]) [][]T {
	t.Helper()
	n := r.Node()
	out := make([][]T, n.Partitions())
	for part := range out {
		if err := e.Try(n, func(task dataset.Task) { out[part] = slices.Collect(n.Seq(task, part)) }); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestOperatorsComposeOnOneBatch(t *testing.T) {
	var e lineagetest.Engine
	lines, s := of(t, &e, []string{"b a"}, []string{"a c", ""})
	words := rdd.FlatMap(lines, strings.FieldsSeq).Filter(func(w string) bool { return w != "c" })
	counts := rdd.CountByValue(words)
	sorted := rdd.MapPartitions(rdd.Glom(rdd.MapValues(counts, func(n int64) int64 { return -n })), func(seq iter.Seq[[]rdd.KV[string, int64]]) iter.Seq[string] {
		return func(yield func(string) bool) {
			for all := range seq {
				for _, p := range all {
					if !yield(p.String()) {
						return
					}
				}
			}
		}
	})
	got := slices.Concat(parts(t, &e, sorted)...)
	slices.Sort(got)
	if !slices.Equal(got, []string{"(a,-2)", "(b,-1)"}) {
		t.Errorf("got %q", got)
	}
	if got := parts(t, &e, rdd.Count(lines.Union(lines))); !reflect.DeepEqual(got, [][]int64{{6}}) {
		t.Errorf("count %v", got)
	}
	if got := parts(t, &e, words.Repartition(3)); len(got) != 3 {
		t.Errorf("%d partitions", len(got))
	}
	if got := parts(t, &e, words.Reduce(func(a, b string) string { return max(a, b) })); !reflect.DeepEqual(got, [][]string{{"b"}}) {
		t.Errorf("reduce %v", got)
	}
	if s.Err() != nil {
		t.Error(s.Err())
	}
}

func TestValuesStayWhereTheirKeysAre(t *testing.T) {
	var e lineagetest.Engine
	r, _ := of(t, &e, []rdd.KV[string, int]{rdd.Pair("a", 1), rdd.Pair("b", 2)}, []rdd.KV[string, int]{rdd.Pair("a", 3)})
	groups := rdd.GroupByKey(r)
	flat := rdd.FlatMapValues(groups, func(vs []int) iter.Seq[int] {
		if len(vs) == 1 {
			return nil
		}
		return slices.Values(vs)
	})
	again := rdd.ReduceByKey(flat, func(a, b int) int { return a + b })
	if again.Node().Deps()[0].Shuffle != nil {
		t.Error("values were shuffled again though no key has moved")
	}
	if got := slices.Concat(parts(t, &e, again)...); !slices.Equal(got, []rdd.KV[string, int]{rdd.Pair("a", 4)}) {
		t.Errorf("got %v", got)
	}
}

func TestTypesWithoutCodecFailTheScope(t *testing.T) {
	var e lineagetest.Engine
	r, s := of(t, &e, []int{1})
	fs := rdd.Map(r, func(int) func() { return nil })
	if n := fs.Repartition(2).Node().Partitions(); n != 0 || s.Err() == nil || !strings.Contains(s.Err().Error(), "repartition: type func()") {
		t.Errorf("%d partitions, %v", n, s.Err())
	}
	r, s = of(t, &e, []int{1})
	rdd.ReduceByKey(rdd.Map(r, func(v int) rdd.KV[int, int] { return rdd.Pair(v, v) }), func(a, b int) int { return a }, -1)
	if s.Err() == nil || !strings.Contains(s.Err().Error(), "reduceByKey: -1 partitions, expected 1 to") {
		t.Error(s.Err())
	}
}

func TestPairsPrintAsInSpark(t *testing.T) {
	if got := fmt.Sprint(rdd.Pair("a", rdd.Joined[int, rdd.Opt[int]]{Left: 1, Right: rdd.Some(2)}), rdd.None[int]()); got != "(a,(1,Some(2))) None" {
		t.Errorf("got %q", got)
	}
}
