package state_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/state"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const app id.App = 7

var zero = job.Version{}

func v(t id.Time, a id.Attempt) job.Version { return job.Version{Time: t, Attempt: a} }

func held(part int, at job.Version) job.Held { return job.Held{Stream: 1, Part: part, Version: at} }

func newStore() *state.Store { return state.New(slog.New(slog.DiscardHandler)) }

func empty(context.Context) (dataset.State, error) { return executortest.NewTable(), nil }

// plus adds one for every word of the text.
func plus(text string) func(dataset.State) dataset.Delta {
	return func(s dataset.State) dataset.Delta {
		changes := executortest.Changes{}
		sums := executortest.Count(text)
		for _, w := range slices.Sorted(maps.Keys(sums)) {
			changes = append(changes, executortest.Change{Word: w, N: s.(*executortest.Table).Get(w) + sums[w]})
		}
		return changes
	}
}

// twice is for deltas that must have been made before.
func twice(t *testing.T) func(dataset.State) dataset.Delta {
	return func(dataset.State) dataset.Delta {
		t.Error("the delta was made a second time")
		return executortest.Changes{}
	}
}

// run makes a delta as a task would and gives the words as of the version that it makes.
func run(
	t *testing.T, s *state.Store, part int, base, makes job.Version, load func(context.Context) (dataset.State, error),
	advance func(dataset.State) dataset.Delta,
) executortest.Words {
	t.Helper()
	words, release := begin(t, s, part, base, makes, load, advance)
	release()
	return words
}

func begin(
	t *testing.T, s *state.Store, part int, base, makes job.Version, load func(context.Context) (dataset.State, error),
	advance func(dataset.State) dataset.Delta,
) (executortest.Words, func()) {
	t.Helper()
	table, delta, release, err := s.Advance(t.Context(), app, held(part, base), makes, load, advance)
	if err != nil {
		t.Fatal(err)
	}
	return view(table, delta), release
}

func view(s dataset.State, d dataset.Delta) executortest.Words {
	words := s.(*executortest.Table).Words()
	for _, c := range d.(executortest.Changes) {
		if words[c.Word] = c.N; c.Remove {
			delete(words, c.Word)
		}
	}
	return words
}

func want(t *testing.T, got executortest.Words, texts ...string) {
	t.Helper()
	if !maps.Equal(got, executortest.Count(texts...)) {
		t.Errorf("state is %v, expected %v", got, executortest.Count(texts...))
	}
}

func wantFault(t *testing.T, err error, fault job.Fault) {
	t.Helper()
	te, ok := errors.AsType[*job.TaskError](err)
	if !ok || te.Fault != fault {
		t.Errorf("error is %v, expected a fault of class %d", err, fault)
	}
}

func TestStateGoesOnFromBatchToBatch(t *testing.T) {
	s := newStore()
	want(t, run(t, s, 0, zero, v(1000, 10), empty, plus("a b")), "a b")
	want(t, run(t, s, 0, v(1000, 10), v(2000, 11), nil, plus("b c")), "a b", "b c")
	want(t, run(t, s, 0, v(2000, 11), v(3000, 12), nil, plus("")), "a b", "b c")
	if st := s.Stats(); st.Partitions != 1 || st.Tables != 1 || st.Rows != 3 || st.Deltas != 1 {
		t.Errorf("store holds %+v, expected one table of 3 rows and one delta", st)
	}
}

func TestOutputsOfOneAttemptShareTheDelta(t *testing.T) {
	s := newStore()
	first, release := begin(t, s, 0, zero, v(1000, 10), empty, plus("a b"))
	want(t, first, "a b")
	want(t, run(t, s, 0, zero, v(1000, 10), empty, twice(t)), "a b")
	release()
	want(t, run(t, s, 0, zero, v(1000, 10), empty, twice(t)), "a b")
}

func TestOneOfManyTasksMakesTheDelta(t *testing.T) {
	s := newStore()
	var made atomic.Int64
	var tasks sync.WaitGroup
	for range 8 {
		tasks.Go(func() {
			table, delta, release, err := s.Advance(t.Context(), app, held(0, zero), v(1000, 10), empty, func(s dataset.State) dataset.Delta {
				made.Add(1)
				runtime.Gosched()
				return plus("a")(s)
			})
			if err != nil {
				t.Error(err)
				return
			}
			want(t, view(table, delta), "a")
			release()
		})
	}
	tasks.Wait()
	if made.Load() != 1 {
		t.Errorf("the delta was made %d times", made.Load())
	}
}

// Rules 6 and 7: what an attempt made that did not win is never seen, on this executor or by what comes after.
func TestDeltaOfALosingAttemptIsNeverVisible(t *testing.T) {
	s := newStore()
	run(t, s, 0, zero, v(1000, 10), empty, plus("a"))
	want(t, run(t, s, 0, v(1000, 10), v(2000, 11), nil, plus("lost")), "a", "lost")
	want(t, run(t, s, 0, v(1000, 10), v(2000, 12), nil, plus("b")), "a", "b")
	want(t, run(t, s, 0, v(2000, 12), v(3000, 13), nil, plus("c")), "a", "b", "c")
	_, _, _, err := s.Advance(t.Context(), app, held(0, v(2000, 11)), v(3000, 14), nil, twice(t))
	wantFault(t, err, job.StateFault)
	wantHeld(t, s, held(0, v(2000, 12)), held(0, v(3000, 13)))
}

// Rule 7: the winner is who the ledger says, also where a later attempt ran here too.
func TestEarlierAttemptMayWin(t *testing.T) {
	s := newStore()
	run(t, s, 0, zero, v(1000, 10), empty, plus("a"))
	run(t, s, 0, zero, v(1000, 11), empty, plus("b"))
	want(t, run(t, s, 0, v(1000, 10), v(2000, 12), nil, plus("c")), "a", "c")
}

// Rule 7: an attempt that runs again goes on from the same base, and what a task left half done leaves no trace.
func TestAttemptRunsAgainOverTheSameBase(t *testing.T) {
	s := newStore()
	run(t, s, 0, zero, v(1000, 10), empty, plus("a"))
	func() {
		defer func() { _ = recover() }()
		_, _, _, _ = s.Advance(t.Context(), app, held(0, v(1000, 10)), v(2000, 11), nil, func(dataset.State) dataset.Delta { panic("user error") })
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, _, _ = s.Advance(t.Context(), app, held(0, v(1000, 10)), v(2000, 11), nil, func(dataset.State) dataset.Delta {
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	want(t, run(t, s, 0, v(1000, 10), v(2000, 11), nil, plus("b")), "a", "b")
	want(t, run(t, s, 0, v(2000, 11), v(3000, 12), nil, plus("c")), "a", "b", "c") // no reader was left behind
}

func TestTaskWaitsForTheOneThatMakesTheDeltaAndMakesItWhereThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		fail := make(chan struct{})
		var tasks sync.WaitGroup
		tasks.Go(func() {
			defer func() { _ = recover() }()
			_, _, _, _ = s.Advance(t.Context(), app, held(0, zero), v(1000, 10), empty, func(dataset.State) dataset.Delta {
				<-fail
				panic("user error")
			})
		})
		synctest.Wait()
		tasks.Go(func() { want(t, run(t, s, 0, zero, v(1000, 10), empty, plus("a")), "a") })
		synctest.Wait()
		close(fail)
		tasks.Wait()
	})
}

func TestTaskThatIsOverIsNotWaitedForAndKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		ctx, cancel := context.WithCancel(t.Context())
		late := make(chan struct{})
		var tasks sync.WaitGroup
		tasks.Go(func() {
			_, _, release, err := s.Advance(ctx, app, held(0, zero), v(1000, 10), empty, func(s dataset.State) dataset.Delta {
				<-late
				return plus("late")(s)
			})
			if err != nil {
				t.Error(err)
				return
			}
			release()
		})
		synctest.Wait()
		tasks.Go(func() { want(t, run(t, s, 0, zero, v(1000, 10), empty, plus("a")), "a") })
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(late)
		tasks.Wait()
		want(t, run(t, s, 0, zero, v(1000, 10), empty, twice(t)), "a")
	})
}

// Rule 7: nothing is installed under a reader.
func TestInstallWaitsForReadersOfTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		run(t, s, 0, zero, v(1000, 10), empty, plus("a"))
		table, delta, release, err := s.Advance(t.Context(), app, held(0, zero), v(1000, 10), empty, twice(t))
		if err != nil {
			t.Fatal(err)
		}
		var task sync.WaitGroup
		var done atomic.Bool
		task.Go(func() {
			want(t, run(t, s, 0, v(1000, 10), v(2000, 11), nil, plus("b")), "a", "b")
			done.Store(true)
		})
		synctest.Wait()
		if done.Load() || table.Len() != 0 {
			t.Error("a table went on while it was read")
		}
		want(t, view(table, delta), "a")
		release()
		task.Wait()
	})
}

// Rule 7: a reader that does not end gets the table for itself; for everybody else it is not there any more.
func TestTableIsGivenUpToAReaderThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		run(t, s, 0, zero, v(1000, 10), empty, plus("a"))
		table, delta, release, err := s.Advance(t.Context(), app, held(0, zero), v(1000, 10), empty, twice(t))
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, err = s.Advance(t.Context(), app, held(0, v(1000, 10)), v(2000, 11), nil, twice(t))
		wantFault(t, err, job.StateFault)
		want(t, view(table, delta), "a")
		wantHeld(t, s)
		restored := func(context.Context) (dataset.State, error) {
			s := executortest.NewTable()
			s.Install(executortest.Changes{{Word: "a", N: 1}}, 1000)
			return s, nil
		}
		want(t, run(t, s, 0, v(1000, 10), v(2000, 11), restored, plus("b")), "a", "b")
		want(t, view(table, delta), "a")
		release()
		want(t, run(t, s, 0, v(2000, 11), v(3000, 12), nil, plus("c")), "a", "b", "c")
	})
}

func TestVersionsOfOnePartitionStandSideBySide(t *testing.T) {
	s := newStore()
	run(t, s, 0, zero, v(1000, 10), empty, plus("a"))
	run(t, s, 0, v(1000, 10), v(2000, 11), nil, plus("b"))
	run(t, s, 0, v(2000, 11), v(3000, 12), nil, plus("c"))
	want(t, run(t, s, 0, zero, v(1000, 10), empty, plus("a")), "a") // computed again, for another stream that needs it
	wantHeld(t, s, held(0, zero), held(0, v(1000, 10)), held(0, v(2000, 11)), held(0, v(3000, 12)))
	want(t, run(t, s, 0, v(1000, 10), v(2000, 11), nil, plus("b")), "a", "b")
	want(t, run(t, s, 0, v(2000, 11), v(3000, 12), nil, twice(t)), "a", "b", "c") // the live one stands as it was
	want(t, run(t, s, 0, v(3000, 12), v(4000, 13), nil, plus("d")), "a", "b", "c", "d")
	wantHeld(t, s, held(0, v(3000, 12)), held(0, v(4000, 13)))
}

func TestDeltasAndTablesAreBounded(t *testing.T) {
	s := newStore()
	for a := range id.Attempt(20) {
		run(t, s, 0, zero, v(1000, 10+a), empty, plus("a"))
	}
	if n := s.Stats().Deltas; n != 4 {
		t.Errorf("%d deltas are held, expected the 4 newest", n)
	}
	if !s.Has(app, held(0, v(1000, 29))) || s.Has(app, held(0, v(1000, 10))) {
		t.Error("the newest deltas are to stay")
	}
	for n := range id.Time(20) {
		run(t, s, 1, v(n*1000, 5), v((n+1)*1000, 6), empty, plus("a"))
	}
	if n := s.Stats().Tables; n != 1+3 {
		t.Errorf("%d tables are held, expected one of a partition and 3 of the other", n)
	}
}

func TestProgressDropsWhatNothingGoesOnFrom(t *testing.T) {
	s := newStore()
	run(t, s, 0, zero, v(1000, 10), empty, plus("a"))
	run(t, s, 1, zero, v(1000, 10), empty, plus("b"))
	run(t, s, 1, v(1000, 10), v(2000, 11), nil, plus("b"))
	s.Progress(&job.Progress{App: app, Completed: 1000, Checkpointed: 1000})
	if !s.Has(app, held(0, v(1000, 10))) {
		t.Error("the version of the checkpoint is gone")
	}
	s.Progress(&job.Progress{App: app, Completed: 2000, Checkpointed: 2000})
	if s.Has(app, held(0, v(1000, 10))) || !s.Has(app, held(1, v(2000, 11))) {
		t.Error("what is older than the checkpoint is to go, and nothing else")
	}
	s.Progress(&job.Progress{App: app, Ended: true})
	if st := s.Stats(); st != (state.Stats{}) {
		t.Errorf("an application that is over left %+v", st)
	}
}

// A stream that is computed every third batch: at a checkpoint between two of its times it goes on from what is older.
func TestProgressKeepsTheVersionOfASlowStream(t *testing.T) {
	s := newStore()
	run(t, s, 0, zero, v(3000, 10), empty, plus("a"))
	s.Progress(&job.Progress{App: app, Completed: 5000, Checkpointed: 5000})
	want(t, run(t, s, 0, v(3000, 10), v(6000, 11), nil, plus("b")), "a", "b")
}

func TestLateTaskOfAnEndedApplicationKeepsNothing(t *testing.T) {
	s := newStore()
	ctx, cancel := context.WithCancel(t.Context())
	_, _, release, err := s.Advance(ctx, app, held(0, zero), v(1000, 10), empty, func(base dataset.State) dataset.Delta {
		cancel()
		s.Progress(&job.Progress{App: app, Ended: true})
		return plus("a")(base)
	})
	if err != nil {
		t.Fatal(err)
	}
	release()
	if _, _, _, err := s.Advance(ctx, app, held(1, zero), v(1000, 10), empty, twice(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, expected the end of the task", err)
	}
	if st := s.Stats(); st != (state.Stats{}) {
		t.Errorf("a late task left %+v", st)
	}
}

func TestTableThatCannotBeMadeIsNotThere(t *testing.T) {
	s := newStore()
	broken := errors.New("no piece")
	_, _, _, err := s.Advance(t.Context(), app, held(0, v(1000, 10)), v(2000, 11), func(context.Context) (dataset.State, error) {
		return nil, broken
	}, twice(t))
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	_, _, _, err = s.Advance(t.Context(), app, held(0, v(1000, 10)), v(2000, 11), nil, twice(t))
	wantFault(t, err, job.StateFault)
	if te, _ := errors.AsType[*job.TaskError](err); te.Stream != 1 || te.Part != 0 || !strings.Contains(te.Text, "1000") {
		t.Errorf("fault is %+v, expected the partition and version", te)
	}
	if st := s.Stats(); st != (state.Stats{}) {
		t.Errorf("it left %+v", st)
	}
}

func TestOneTaskRestoresForAll(t *testing.T) {
	s := newStore()
	var loads atomic.Int64
	var tasks sync.WaitGroup
	for n := range 6 {
		tasks.Go(func() {
			run(t, s, 0, v(1000, 10), v(2000, id.Attempt(11+n%2)), func(ctx context.Context) (dataset.State, error) {
				loads.Add(1)
				runtime.Gosched()
				return empty(ctx)
			}, plus("a"))
		})
	}
	tasks.Wait()
	if loads.Load() != 1 {
		t.Errorf("the state was restored %d times", loads.Load())
	}
}

func wantHeld(t *testing.T, s *state.Store, all ...job.Held) {
	t.Helper()
	if got := s.Held(app); !slices.Equal(got, all) {
		t.Errorf("held is %v, expected %v", got, all)
	}
	for _, h := range all {
		if !s.Has(app, h) {
			t.Errorf("%v is listed and not held", h)
		}
	}
}
