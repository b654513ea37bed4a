package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func count(s stream[string]) stream[stringInts] {
	return dstream.ReduceByKey(dstream.Map(s, pairOne), dstream.Sum)
}

func TestOptionsSetTheCluster(t *testing.T) {
	sizes := func(s stream[int]) stream[int] {
		return dstream.Map(dstream.Glom(s), func(p []int) int { return len(p) })
	}
	if got := streamtest.Run(t, [][]int{numbers(1, 7)}, sizes, streamtest.Partitions(3), streamtest.Batches(2)); !reflect.DeepEqual(got, [][]int{{2, 2, 3}, {0, 0, 0}}) {
		t.Errorf("partitions %v", got)
	}
	shuffled := func(s stream[int]) stream[int] {
		return dstream.Map(dstream.Glom(dstream.CountByValue(s)), func(p []kv[int, int64]) int { return 1 })
	}
	if got := streamtest.Run(t, [][]int{{1}}, shuffled, streamtest.Partitions(5)); len(got[0]) != 5 {
		t.Errorf("%d shuffle partitions, want 5", len(got[0]))
	}
	got := streamtest.Run(t, [][]int{{1}, {2}}, func(s stream[int]) stream[int] { return s }, streamtest.BatchInterval(250*time.Millisecond), streamtest.Batches(1))
	if !reflect.DeepEqual(got, [][]int{{1}}) {
		t.Errorf("got %v", got)
	}
	if got := streamtest.Run(t, nil, func(s stream[int]) stream[int] { return s }); len(got) != 0 {
		t.Errorf("no batches gave %v", got)
	}
}

// Rule 6: results keep the order of partitions and records, whoever runs them.
func TestResultsAreTheSameEveryTime(t *testing.T) {
	var input [][]string
	for i := range 4 {
		var batch []string
		for j := range 200 {
			batch = append(batch, fmt.Sprintf("word %d", (i*7+j*j)%61))
		}
		input = append(input, batch)
	}
	first := streamtest.Run(t, input, count, streamtest.Partitions(4))
	for _, opt := range []streamtest.Option{streamtest.RestartAfter(0), streamtest.RestartAfter(2)} {
		if again := streamtest.Run(t, input, count, streamtest.Partitions(4), opt); !reflect.DeepEqual(first, again) {
			t.Errorf("got %v, then %v", first, again)
		}
	}
}

func TestAFailedBatchFailsTheTestWithItsReason(t *testing.T) {
	tb := &recorder{TB: t}
	got := streamtest.Run(tb, [][]int{{1}, {0}, {2}}, func(s stream[int]) stream[int] {
		return dstream.Map(s, func(v int) int { return 10 / v })
	})
	if !reflect.DeepEqual(got, [][]int{{10}}) {
		t.Errorf("got %v", got)
	}
	if len(tb.errors) != 1 || !strings.Contains(tb.errors[0], "integer divide by zero") || !strings.Contains(tb.errors[0], "map") ||
		!strings.Contains(tb.errors[0], "streamtest/streamtest_test.go:") {
		t.Errorf("errors %q", tb.errors)
	}
}

// Rule 8: a fault that passes costs a try and nothing else.
func TestATaskThatFailsOnceIsTriedAgain(t *testing.T) {
	var failed atomic.Bool
	got := streamtest.Run(t, [][]string{{"a", "b", "a"}}, func(s stream[string]) stream[stringInts] {
		return dstream.MapValues(count(s), func(v int) int {
			if failed.CompareAndSwap(false, true) {
				panic(errors.New("once"))
			}
			return v
		})
	})
	slices.SortFunc(got[0], func(a, b stringInts) int { return strings.Compare(a.Key, b.Key) })
	if !reflect.DeepEqual(got, [][]stringInts{{pair("a", 2), pair("b", 1)}}) {
		t.Errorf("got %v", got)
	}
}

// Reduce tasks that are tried again read the same buckets: nothing may have changed them.
func TestGroupsAreWholeAfterARetry(t *testing.T) {
	var failures atomic.Int64
	got := streamtest.Run(t, [][]int{numbers(1, 40)}, func(s stream[int]) stream[kv[int, []int]] {
		groups := dstream.GroupByKey(dstream.Map(s, func(v int) kv[int, int] { return pair(v%2, v) }))
		return dstream.MapValues(groups, func(v []int) []int {
			v = append(v, -1) // spoils what follows in memory, if it is shared
			v[0] = -v[0]
			if failures.Add(1) <= 2 {
				panic("not yet")
			}
			return v
		})
	}, streamtest.Partitions(4))
	for _, g := range got[0] {
		if len(g.Value) != 21 || g.Value[0] >= 0 || g.Value[20] != -1 || g.Value[1] != -g.Value[0]+2 {
			t.Errorf("group %v", g)
		}
	}
	if len(got[0]) != 2 {
		t.Errorf("%d groups", len(got[0]))
	}
}

// A harness that expects failures hands in a TB of its own: little of it is called, never by other goroutines, and its
// Fatalf may return.
func TestRunAsksLittleOfItsTB(t *testing.T) {
	tb := &bare{}
	got := streamtest.Run(tb, [][]int{{1}, {0}}, func(s stream[int]) stream[int] {
		return dstream.Map(s, func(v int) int { return 10 / v })
	}, streamtest.RestartAfter(1))
	if !reflect.DeepEqual(got, [][]int{{10}}) || len(tb.errors) != 1 || tb.fatal != "" {
		t.Errorf("got %v, errors %q, fatal %q", got, tb.errors, tb.fatal)
	}
	for want, run := range map[string]func(tb testing.TB) any{
		"filter: the function is nil": func(tb testing.TB) any {
			return streamtest.Run(tb, [][]int{{1}}, func(s stream[int]) stream[int] { return s.Filter(nil) })
		},
		"[]*int[]: a ptr has no encoding": func(tb testing.TB) any {
			return streamtest.Run(tb, [][]*int{{nil}}, func(s stream[*int]) stream[int] { return dstream.Map(s, func(*int) int { return 0 }) })
		},
		"a chan has no encoding": func(tb testing.TB) any {
			return streamtest.Run2(tb, [][]int{{1}}, [][]chan int{{nil}}, func(s stream[int], _ stream[chan int]) stream[int] { return s })
		},
		"batch interval 1.5ms, expected whole milliseconds": func(tb testing.TB) any {
			return streamtest.Run(tb, [][]int{{1}}, same, streamtest.BatchInterval(1500*time.Microsecond))
		},
		"batch interval of 0 ms": func(tb testing.TB) any {
			return streamtest.Run(tb, [][]int{{1}}, same, streamtest.BatchInterval(0))
		},
		"-1 batches":   func(tb testing.TB) any { return streamtest.Run(tb, [][]int{{1}}, same, streamtest.Batches(-1)) },
		"0 partitions": func(tb testing.TB) any { return streamtest.Run(tb, [][]int{{1}}, same, streamtest.Partitions(0)) },
	} {
		tb := &bare{}
		if run(tb); !strings.Contains(tb.fatal, want) || len(tb.errors) > 0 {
			t.Errorf("%q does not say %q; errors %q", tb.fatal, want, tb.errors)
		}
	}
}

func same(s stream[int]) stream[int] { return s }

// bare has nothing but what Run promises to call.
type bare struct {
	testing.TB
	errors []string
	fatal  string
}

func (b *bare) Helper() {}
func (b *bare) Errorf(format string, args ...any) {
	b.errors = append(b.errors, fmt.Sprintf(format, args...))
}
func (b *bare) Fatalf(format string, args ...any) { b.fatal = fmt.Sprintf(format, args...) }

func TestResultsAreThoseOfTheStreamThatOpReturns(t *testing.T) {
	got := streamtest.Run(t, [][]int{numbers(1, 6)}, func(s stream[int]) stream[int] {
		dstream.ForeachPartition(s.Repartition(1), func(context.Context, dstream.Partition, iter.Seq[int]) error { return nil })
		return s.Repartition(3)
	})
	if n := len(got[0]); n != 6 {
		t.Errorf("%d elements, expected 6", n)
	}
}

func TestEveryBatchMayBeFollowedByARestart(t *testing.T) {
	got := streamtest.Run(t, [][]string{{"a", "a"}, {"b"}, {}}, func(s stream[string]) stream[int64] { return s.Count() },
		streamtest.RestartAfter(1), streamtest.RestartAfter(2), streamtest.RestartAfter(3))
	if !reflect.DeepEqual(got, [][]int64{{2}, {1}, {0}}) {
		t.Errorf("got %v", got)
	}
}

func TestGraphsThatCannotBeBuiltFailTheTest(t *testing.T) {
	for want, run := range map[string]func(tb testing.TB){
		"op gave no stream": func(tb testing.TB) { streamtest.Run(tb, [][]int{{1}}, func(s stream[int]) stream[int] { return nil }) },
		"repartition: 0 partitions": func(tb testing.TB) {
			streamtest.Run(tb, [][]int{{1}}, func(s stream[int]) stream[int] { return s.Repartition(0) })
		},
		"a map has no encoding": func(tb testing.TB) {
			streamtest.Run(tb, [][]map[int]int{{nil}}, func(s stream[map[int]int]) stream[map[int]int] { return s })
		},
		"batch interval in milliseconds is 1": func(tb testing.TB) {
			streamtest.Run(tb, [][]int{{1}}, func(s stream[int]) stream[int] { return s }, streamtest.BatchInterval(time.Millisecond))
		},
	} {
		tb := &fatal{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() {
				if v := recover(); v != nil && v != any(tb) {
					panic(v)
				}
			}()
			run(tb)
		}()
		<-done
		if !strings.Contains(tb.message, want) {
			t.Errorf("%q does not say %q", tb.message, want)
		}
	}
}

// fatal ends the run where a test would end.
type fatal struct {
	testing.TB
	message string
}

func (f *fatal) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	panic(f)
}
