package streamtest_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func ms(n int64) time.Time { return time.UnixMilli(n) }

// asked runs a query of the past in every batch. The graph and what it is over are the caller's.
func asked(back time.Duration, below op[int, int], query func(past rdd.Past[int], t time.Time) rdd.RDD[int]) op[int, int] {
	return func(s stream[int]) stream[int] { return dstream.Slice(below(s), back, query) }
}

// Spark's "slice": both ends are included, and there is nothing at zero time.
func TestSliceHasBothEnds(t *testing.T) {
	for _, c := range []struct {
		from, to int64
		want     []int
	}{
		{0, 1000, []int{1}},
		{0, 2000, []int{1, 2}},
		{1000, 2000, []int{1, 2}},
		{2000, 4000, []int{2, 3, 4}},
		{999, 2999, []int{1, 2}}, // aligned downwards
		{-1, 1500, []int{1}},
		{-1000, -1000, nil},
		{3000, 2000, nil},
		{4999, 4999, []int{4}},
	} {
		for below, f := range over {
			got := streamtest.Run(t, [][]int{{1}, {2}, {3}, {4}}, asked(10*second, f, func(past rdd.Past[int], at time.Time) rdd.RDD[int] {
				if at.Equal(ms(4000)) {
					return past.Union(ms(c.from), ms(c.to))
				}
				return past.Union(at, at)
			}), streamtest.RestartAfter(2))
			slices.Sort(got[3])
			if !slices.Equal(got[3], c.want) {
				t.Errorf("%d to %d over %s: got %v, want %v", c.from, c.to, below, got[3], c.want)
			}
			if want := [][]int{{1}, {2}, {3}}; !reflect.DeepEqual(got[:3], want) {
				t.Errorf("over %s: got %v, want %v", below, got[:3], want)
			}
		}
	}
}

// Datasets of the past are those that were there, with their times.
func TestSliceLeavesOutMissingDatasets(t *testing.T) {
	var lock sync.Mutex // f runs in every process
	var times []string
	for below, f := range map[string]op[int, int]{"inputs": over["inputs"], "a shuffle": over["a shuffle"]} {
		times = nil // of the run before
		got := streamtest.Run(t, [][]int{{1}, nil, {}, {4}}, asked(3*second, f, func(past rdd.Past[int], at time.Time) rdd.RDD[int] {
			batches := past.Slice(at.Add(-2*time.Second), at)
			text := fmt.Sprint(at.UnixMilli(), ":")
			for _, b := range batches {
				text += fmt.Sprint(" ", b.Time.UnixMilli())
			}
			lock.Lock()
			defer lock.Unlock()
			if !slices.Contains(times, text) {
				times = append(times, text)
			}
			all := past.Union(at, at)
			for _, b := range batches {
				all = all.Union(rdd.Map(b.RDD, func(v int) int { return int(b.Time.UnixMilli()) + v }))
			}
			return all
		}), streamtest.Partitions(1))
		if want := [][]int{{1, 1001}, {1001}, {1001}, {4, 4004}}; !reflect.DeepEqual(got, want) {
			t.Errorf("over %s: got %v, want %v", below, got, want)
		}
		slices.Sort(times)
		if want := []string{"1000: 1000", "2000: 1000", "3000: 1000 3000", "4000: 3000 4000"}; !slices.Equal(times, want) {
			t.Errorf("over %s: datasets at %q, want %q", below, times, want)
		}
	}
}

func TestASliceThatCannotBeFailsItsBatch(t *testing.T) {
	var strange atomic.Pointer[rdd.RDD[int]]
	for want, query := range map[string]func(past rdd.Past[int], at time.Time) rdd.RDD[int]{
		"slice from 1969-12-31 23:59:59 +0000 UTC to 1970-01-01 00:00:01 +0000 UTC: expected times from 1970-01-01 00:00:00 +0000 UTC to 1970-01-01 00:00:01 +0000 UTC, those of the last 2s": func(past rdd.Past[int], at time.Time) rdd.RDD[int] {
			return past.Union(at.Add(-2*time.Second), at)
		},
		"to 1970-01-01 00:00:03 +0000 UTC: expected times from": func(past rdd.Past[int], at time.Time) rdd.RDD[int] {
			return past.Union(at, ms(3000))
		},
		"the function gave no dataset": func(rdd.Past[int], time.Time) rdd.RDD[int] { return rdd.RDD[int]{} },
		"the function gave a dataset of another batch": func(past rdd.Past[int], at time.Time) rdd.RDD[int] {
			now := past.Union(at, at)
			if strange.CompareAndSwap(nil, &now); at.Equal(ms(1000)) {
				return now
			}
			return *strange.Load()
		},
	} {
		for below, f := range over {
			tb := &recorder{TB: t}
			strange.Store(nil)
			streamtest.Run(tb, singles[:2], asked(2*second, f, query))
			if len(tb.errors) != 1 || !strings.Contains(tb.errors[0], want) {
				t.Errorf("over %s: %q does not say %q", below, tb.errors, want)
			}
		}
	}
}
