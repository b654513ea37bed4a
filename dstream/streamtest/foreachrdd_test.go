package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// acts calls f for every batch of what an operator makes.
func acts[T, U any](op op[T, U], f func(ctx context.Context, r rdd.RDD[U], t time.Time) error) op[T, T] {
	return func(s stream[T]) stream[T] {
		dstream.ForeachRDD(op(s), f)
		return s
	}
}

// log notes what functions saw, in order.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func TestActionsGiveWhatTheStreamHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		input := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 99), 0, 30), 1, 3).Draw(rt, "input")
		parts, take := rapid.IntRange(1, 9).Draw(rt, "parts"), rapid.IntRange(0, 40).Draw(rt, "take")
		if rapid.Bool().Draw(rt, "without a first dataset") {
			input[0] = nil
		}
		odd := func(n int) bool { return n%2 == 1 }
		got := map[int64][]int{}
		streamtest.Run(t, input, acts(func(s stream[int]) stream[int] { return s.Filter(odd) }, func(ctx context.Context, r rdd.RDD[int], at time.Time) error {
			all, err1 := r.Collect(ctx)
			some, err2 := r.Take(ctx, take)
			first, ok, err3 := r.First(ctx)
			n, err4 := r.Count(ctx)
			if err := errors.Join(err1, err2, err3, err4); err != nil {
				return err
			}
			if n != int64(len(all)) || ok != (n > 0) || ok && first != all[0] || !slices.Equal(some, all[:min(take, len(all))]) {
				rt.Errorf("all of %d: %v; %d of them: %v; the first: %v, %v", n, all, take, some, first, ok)
			}
			got[at.UnixMilli()] = all
			return nil
		}), streamtest.Partitions(parts))
		want := map[int64][]int{}
		for i, batch := range input {
			if batch != nil {
				want[int64(i+1)*1000] = append([]int{}, slices.DeleteFunc(slices.Clone(batch), func(n int) bool { return !odd(n) })...)
			}
		}
		if !reflect.DeepEqual(got, want) {
			rt.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestActionsOverAShuffle(t *testing.T) {
	var seen log
	streamtest.Run(t, [][]string{{"a", "b", "a"}, {}, {"c"}}, acts(countWords, func(ctx context.Context, r rdd.RDD[kv[string, int64]], at time.Time) error {
		all, err := r.Collect(ctx)
		slices.SortFunc(all, func(x, y kv[string, int64]) int { return strings.Compare(x.Key, y.Key) })
		seen.add("%d: %v", at.UnixMilli(), all)
		return err
	}), streamtest.RestartAfter(1))
	if want := []string{"1000: [(a,2) (b,1)]", "2000: []", "3000: [(c,1)]"}; !slices.Equal(seen.lines, want) {
		t.Errorf("got %v, want %v", seen.lines, want)
	}
}

func countWords(s stream[string]) stream[kv[string, int64]] { return dstream.CountByValue(s) }

// Rules 6 and 7: state goes on at every batch, whatever of it an action asks for: all, one record, or nothing at all.
func TestStateGoesOnWhateverActionsRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		input := rapid.SliceOfN(rapid.SliceOfN(rapid.StringMatching("[a-f]"), 0, 6), 1, 6).Draw(rt, "input")
		reads := rapid.SliceOfN(rapid.IntRange(0, 3), len(input), len(input)).Draw(rt, "reads")
		var opts []streamtest.Option
		for i := range input {
			switch rapid.IntRange(0, 5).Draw(rt, "lost") {
			case 0:
				opts = append(opts, streamtest.RestartAfter(i+1))
			case 1:
				opts = append(opts, streamtest.LoseExecutorAfter(i+1))
			}
		}
		totals := func(s stream[string]) stream[stringInts] {
			return dstream.UpdateStateByKey(dstream.Map(s, pairOne), runningSum, dstream.Partitions(3)).Checkpoint(2 * time.Second)
		}
		streamtest.Run(t, input, acts(totals, func(ctx context.Context, r rdd.RDD[stringInts], at time.Time) error {
			n := int(at.UnixMilli() / 1000)
			want := map[string]int{}
			for _, batch := range input[:n] {
				for _, w := range batch {
					want[w]++
				}
			}
			switch reads[n-1] {
			case 0:
				return nil
			case 1:
				_, _, err := r.First(ctx)
				return err
			case 2:
				got, err := r.Count(ctx)
				if err == nil && got != int64(len(want)) {
					rt.Errorf("batch %d has %d keys, want %d", n, got, len(want))
				}
				return err
			}
			all, err := r.Collect(ctx)
			got := map[string]int{}
			for _, p := range all {
				got[p.Key] = p.Value
			}
			if err == nil && !maps.Equal(got, want) {
				rt.Errorf("batch %d: got %v, want %v", n, got, want)
			}
			return err
		}), opts...)
	})
}

// A batch that reads no state advances it all the same, so that none is computed again by the next.
func TestUnreadStateIsAdvancedOnceForEachBatch(t *testing.T) {
	var seen log
	streamtest.Run(t, [][]string{{"a", "b"}, {"b"}, {}, {"c"}}, acts(func(s stream[string]) stream[stringInts] {
		return dstream.UpdateStateByKey(dstream.Map(s, pairOne), func(values []int, state dstream.Opt[int]) dstream.Opt[int] {
			next := runningSum(values, state)
			seen.add("%d", next.Value)
			return next
		})
	}, func(ctx context.Context, r rdd.RDD[stringInts], at time.Time) error {
		if at.UnixMilli() < 4000 {
			return nil
		}
		if n := len(seen.lines); n != 2+2+2 {
			t.Errorf("%d updates in the batches before, expected 6: %v", n, seen.lines)
		}
		n, err := r.Count(ctx)
		if n != 3 {
			t.Errorf("%d keys, expected 3", n)
		}
		return err
	}))
	if n := len(seen.lines); n != 2+2+2+3 {
		t.Errorf("%d updates, expected 9: %v", n, seen.lines)
	}
}

// State whose only reader is a window that slides by four batches goes on with every batch (rule 7).
func TestStateUnderAWindowOfALongerSlideIsAdvancedWithEveryBatch(t *testing.T) {
	input := [][]string{{"a", "b"}, {"b"}, {}, {"c"}, {"a"}, {}, {}, {}, {}}
	for name, opts := range map[string][]streamtest.Option{
		"nothing lost":     nil,
		"restarts":         {streamtest.RestartAfter(2), streamtest.RestartAfter(6)},
		"executors lost":   {streamtest.LoseExecutorAfter(1), streamtest.LoseExecutorAfter(7)},
		"lost in a window": {streamtest.LoseExecutorAfter(5), streamtest.RestartAfter(7)},
	} {
		t.Run(name, func(t *testing.T) {
			var updates, before, windows log
			streamtest.Run(t, input, func(s stream[string]) stream[string] {
				totals := dstream.UpdateStateByKey(dstream.Map(s, pairOne), func(values []int, state dstream.Opt[int]) dstream.Opt[int] {
					updates.add("")
					return runningSum(values, state)
				}, dstream.Partitions(1))
				dstream.ForeachRDD(s, func(context.Context, rdd.RDD[string], time.Time) error {
					before.add("%d", len(updates.lines))
					return nil
				})
				return acts(func(stream[string]) stream[stringInts] { return totals.Window(4*time.Second, 4*time.Second) },
					func(ctx context.Context, r rdd.RDD[stringInts], at time.Time) error {
						all, err := r.Collect(ctx)
						windows.add("%d %v", at.UnixMilli(), all)
						return err
					})(s)
			}, opts...)
			want := []string{
				"4000 [(a,1) (b,1) (a,1) (b,2) (a,1) (b,2) (a,1) (b,2) (c,1)]",
				"8000 [(a,2) (b,2) (c,1) (a,2) (b,2) (c,1) (a,2) (b,2) (c,1) (a,2) (b,2) (c,1)]",
			}
			if !slices.Equal(windows.lines, want) {
				t.Errorf("windows are %q", windows.lines)
			}
			if want := []string{"0", "2", "4", "6", "9", "12", "15", "18", "21"}; len(opts) == 0 && !slices.Equal(before.lines, want) {
				t.Errorf("updates before each batch: %v, expected %v", before.lines, want)
			}
		})
	}
}

func TestFunctionOfABatchIsTriedFourTimes(t *testing.T) {
	var seen log
	fails := func(n int, how func() error) func(context.Context, rdd.RDD[int], time.Time) error {
		return func(ctx context.Context, r rdd.RDD[int], _ time.Time) error {
			sum, err := r.Count(ctx)
			if err != nil {
				return err
			}
			seen.add("%d", sum)
			if len(seen.lines) <= n {
				return how()
			}
			return nil
		}
	}
	streamtest.Run(t, [][]int{{1, 2}}, acts(same, fails(3, func() error { return errors.New("the table is locked") })))
	if want := []string{"2", "2", "2", "2"}; !slices.Equal(seen.lines, want) {
		t.Errorf("got %v, want %v", seen.lines, want)
	}
	for _, how := range []func() error{
		func() error { return errors.New("the table is locked") },
		func() error { panic("the table is locked") },
	} {
		seen.lines = nil
		failed := &bare{}
		streamtest.Run(failed, [][]int{{1, 2}}, acts(same, fails(9, how)))
		if len(seen.lines) != 4 || !says(failed.errors, "function of output \"foreachRDD-0\" failed 4 times", "the table is locked") {
			t.Errorf("%d calls: %v", len(seen.lines), failed.errors)
		}
	}
}

// says reports whether one of the texts has all of the parts.
func says(texts []string, parts ...string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
	})
}

func TestWhatIsNotForTheFunctionOfABatchIsRefusedClearly(t *testing.T) {
	type act = func(context.Context, rdd.RDD[string], time.Time) error
	tests := []struct {
		name string
		f    act
		want []string // in the text of the error
	}{
		{"an operator", func(_ context.Context, r rdd.RDD[string], _ time.Time) error {
			rdd.Map(r, strings.ToUpper)
			return nil
		}, []string{"no operators inside ForeachRDD", "Transform", "foreachrdd_test.go"}},
		{"a method that is one", func(_ context.Context, r rdd.RDD[string], _ time.Time) error {
			r.Repartition(3)
			return nil
		}, []string{"no operators inside ForeachRDD"}},
		{"a cancelled context", func(ctx context.Context, r rdd.RDD[string], _ time.Time) error {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(errors.New("lunch"))
			_, err := r.Collect(ctx)
			return err
		}, []string{"Collect: lunch"}},
		{"less than nothing", func(ctx context.Context, r rdd.RDD[string], _ time.Time) error {
			_, err := r.Take(ctx, -1)
			return err
		}, []string{"Take: -1 records"}},
		{"an RDD of nobody", func(ctx context.Context, _ rdd.RDD[string], _ time.Time) error {
			_, err := rdd.RDD[string]{}.Collect(ctx)
			return err
		}, []string{"Collect: this RDD was not given by the engine"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			failed := &bare{}
			streamtest.Run(failed, [][]string{{"a"}}, acts(func(s stream[string]) stream[string] { return s }, tt.f))
			if !says(failed.errors, tt.want...) {
				t.Errorf("got %v, want %v", failed.errors, tt.want)
			}
		})
	}
}

func TestRecordsWithoutACodecCanBeCountedAndNotCollected(t *testing.T) {
	closures := func(s stream[int]) stream[func() int] {
		return dstream.Map(s, func(n int) func() int { return func() int { return n } })
	}
	streamtest.Run(t, [][]int{{1, 2}}, acts(closures, func(ctx context.Context, r rdd.RDD[func() int], _ time.Time) error {
		n, err := r.Count(ctx)
		if _, _, no := r.First(ctx); n != 2 || no == nil || !strings.Contains(no.Error(), "func() int cannot be encoded") {
			return fmt.Errorf("%d records, first: %v", n, no)
		}
		return err
	}))
}

func TestDatasetIsGoneWhenTheFunctionHasReturned(t *testing.T) {
	var kept []rdd.RDD[int]
	late := make(chan error, 1)
	streamtest.Run(t, [][]int{{1}, {2}}, acts(same, func(ctx context.Context, r rdd.RDD[int], _ time.Time) error {
		if kept = append(kept, r); len(kept) == 1 {
			return nil
		}
		go func() {
			<-ctx.Done() // the function's context ends with it
			_, err := r.Count(context.Background())
			late <- err
		}()
		_, err := kept[0].Collect(ctx)
		if err == nil || !strings.Contains(err.Error(), "has returned") {
			return fmt.Errorf("the dataset of the batch before gives %v", err)
		}
		return nil
	}))
	if err := <-late; err == nil || !strings.Contains(err.Error(), "has returned") {
		t.Errorf("count after the return: %v", err)
	}
}

func TestActionsOfSeveralGoroutines(t *testing.T) {
	streamtest.Run(t, [][]int{{1, 2, 3, 4, 5}}, acts(same, func(ctx context.Context, r rdd.RDD[int], _ time.Time) error {
		errs := make([]error, 8)
		var asking sync.WaitGroup
		for i := range errs {
			asking.Go(func() {
				if got, err := r.Take(ctx, i); err != nil || len(got) != min(i, 5) {
					errs[i] = fmt.Errorf("%d: %v, %w", i, got, err)
				}
			})
		}
		asking.Wait()
		return errors.Join(errs...)
	}))
}

// A task that failed for good fails the batch, also where the function does not care.
func TestFailedActionFailsTheBatchWhateverTheFunctionReturns(t *testing.T) {
	failed := &bare{}
	streamtest.Run(failed, [][]int{{1}}, acts(func(s stream[int]) stream[int] {
		return dstream.Map(s, func(int) int { panic("boom") })
	}, func(ctx context.Context, r rdd.RDD[int], _ time.Time) error {
		if _, err := r.Collect(ctx); err == nil || !strings.Contains(err.Error(), "boom") {
			t.Errorf("collect: %v", err)
		}
		return nil
	}))
	if !says(failed.errors, `output "foreachRDD-0", partition 1 failed 4 times`, "map: panic: boom", "foreachrdd_test.go") {
		t.Error(failed.errors)
	}
}

func TestWhatIsTooLargeToCollectSaysSo(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	var seen log
	failed := &bare{}
	streamtest.Run(failed, [][]int{make([]int, 70)}, acts(func(s stream[int]) stream[string] {
		return dstream.Map(s, func(int) string { return large })
	}, func(ctx context.Context, r rdd.RDD[string], _ time.Time) error {
		n, err := r.Count(ctx)
		some, err2 := r.Take(ctx, 10)
		if err := errors.Join(err, err2); err != nil || n != 70 || len(some) != 10 {
			return fmt.Errorf("%d records, took %d: %w", n, len(some), err)
		}
		_, err = r.Collect(ctx)
		seen.add("%v", err)
		return err
	}))
	if len(seen.lines) != 1 { // it would come to the same
		t.Errorf("%d tries", len(seen.lines))
	}
	if !says(failed.errors, "too large to be collected", "at most 67108864", "Take", "ForeachPartition") {
		t.Error(failed.errors)
	}
}
