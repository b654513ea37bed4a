package rdd_test

import (
	"context"
	"errors"
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

// jobs answers from parts, and notes what was asked.
type jobs struct {
	parts [][]int
	asked [][]int // partitions of each job
}

func (j *jobs) Run(_ context.Context, q dataset.Query, parts []int) ([]dataset.Answer, error) {
	c, err := codec.For[int]()
	if err != nil {
		return nil, err
	}
	j.asked = append(j.asked, parts)
	var answers []dataset.Answer
	for _, p := range parts {
		a := dataset.Answer{}
		for _, v := range j.parts[p] {
			if q.Limit >= 0 && a.Records == int64(q.Limit) {
				break
			}
			if a.Records++; !q.Count {
				a.Rows = c.AppendRow(a.Rows, &v)
			}
		}
		answers = append(answers, a)
	}
	return answers, nil
}

func acting(parts [][]int, j dataset.Jobs) rdd.RDD[int] {
	c, _ := codec.For[int]()
	s := &lineage.Scope{Time: 1, Partitions: 2}
	return rdd.Acting(s, lineage.Source(s, len(parts), c), j)
}

// Take reads no partition twice, in order, and few more than it needs (Spark: take).
func TestTakeReadsAsFewPartitionsAsItMust(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		parts := rapid.SliceOfN(rapid.SliceOfN(rapid.Int(), 0, 5), 0, 40).Draw(rt, "parts")
		n := rapid.IntRange(0, 50).Draw(rt, "n")
		j := &jobs{parts: parts}
		got, err := acting(parts, j).Take(rt.Context(), n)
		all := slices.Concat(parts...)
		if err != nil || !slices.Equal(got, all[:min(n, len(all))]) {
			rt.Fatalf("got %v, %v, want %d of %v", got, err, n, all)
		}
		needed, have := 0, 0
		for needed < len(parts) && have < n {
			have += len(parts[needed])
			needed++
		}
		read := slices.Concat(j.asked...)
		if !slices.IsSorted(read) || len(read) != len(slices.Compact(slices.Clone(read))) || len(read) > max(5*needed, 1) && n > 0 || n == 0 && len(read) > 0 {
			rt.Errorf("partitions %v were read, %d are needed", j.asked, needed)
		}
	})
}

func TestFirstOfNothing(t *testing.T) {
	for _, parts := range [][][]int{nil, {{}, {}}} {
		if v, ok, err := acting(parts, &jobs{parts: parts}).First(t.Context()); v != 0 || ok || err != nil {
			t.Errorf("the first of %v: %v, %v, %v", parts, v, ok, err)
		}
	}
}

// failing is Jobs that fail.
type failing struct{}

var errAway = errors.New("everybody is away")

func (failing) Run(context.Context, dataset.Query, []int) ([]dataset.Answer, error) {
	return nil, errAway
}

func TestActionsSayWhichOfThemFailed(t *testing.T) {
	r := acting([][]int{{1}}, failing{})
	for name, act := range map[string]func() error{
		"Collect": func() error { _, err := r.Collect(t.Context()); return err },
		"Take":    func() error { _, err := r.Take(t.Context(), 2); return err },
		"Count":   func() error { _, err := r.Count(t.Context()); return err },
	} {
		if err := act(); !errors.Is(err, errAway) || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A Transform that asks for records fails its batch, also if it does not look at the error.
func TestActionsWhereADatasetIsDescribedFailIt(t *testing.T) {
	for name, act := range map[string]func(rdd.RDD[int]) error{
		"Collect": func(r rdd.RDD[int]) error { _, err := r.Collect(t.Context()); return err },
		"Take":    func(r rdd.RDD[int]) error { _, err := r.Take(t.Context(), 2); return err },
		"Take is": func(r rdd.RDD[int]) error { _, _, err := r.First(t.Context()); return err },
		"Count":   func(r rdd.RDD[int]) error { _, err := r.Count(t.Context()); return err },
	} {
		var e lineagetest.Engine
		r, s := of(t, &e, []int{1})
		if err := act(r.Filter(func(int) bool { return true })); err == nil || s.Err() == nil || !strings.Contains(err.Error(), "ForeachRDD alone") || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v, the scope has %v", name, err, s.Err())
		}
	}
}

// Nothing is described where it would not be computed.
func TestDatasetsOfAClosedScopeTakeNoOperators(t *testing.T) {
	c, _ := codec.For[int]()
	s := &lineage.Scope{Time: 1, Partitions: 2}
	n := lineage.Source(s, 1, c)
	s.Closed = "no operators here"
	r := rdd.Acting(s, n, failing{})
	for name, apply := range map[string]func(){
		"map":         func() { rdd.Map(r, func(n int) int { return n }) },
		"filter":      func() { r.Filter(func(int) bool { return true }) },
		"union":       func() { r.Union(r) },
		"count":       func() { rdd.Count(r) },
		"reduce":      func() { r.Reduce(func(a, b int) int { return a + b }) },
		"repartition": func() { r.Repartition(2) },
		"glom":        func() { rdd.Glom(r) },
		"by value":    func() { rdd.CountByValue(r) },
	} {
		func() {
			defer func() {
				if v := recover(); v != s.Closed {
					t.Errorf("%s: panicked with %v", name, v)
				}
			}()
			apply()
		}()
	}
}
