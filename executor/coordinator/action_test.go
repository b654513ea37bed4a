package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// acting is a graph of state whose only output is a function.
func acting(f call) *states {
	return &states{parts: 3, outputs: []id.Stream{first}, acts: map[id.Stream]call{first: f}}
}

var (
	everything = dataset.Query{Limit: -1}
	all        = []int{0, 1, 2}
)

// rows gives the rows of answers.
func rows(answers []dataset.Answer) (s string) {
	for _, a := range answers {
		s += string(a.Rows)
	}
	return s
}

func TestActionsAreJobsOverThePartitionsAskedFor(t *testing.T) {
	var got []string
	ask := func(ctx context.Context, jobs dataset.Jobs, q dataset.Query, parts ...int) error {
		answers, err := jobs.Run(ctx, q, parts)
		got = append(got, rows(answers))
		return err
	}
	runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
		return errors.Join(ask(ctx, jobs, dataset.Query{Limit: 5}, 2, 0), ask(ctx, jobs, everything, all...))
	}), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		// The shuffle is made once, the second job reads state where the first made it, and no stage is needed for the rest.
		expect(t, "launches of the first", sorted(k.sent()[:3]), []string{"map:e1:0", "collect:e1:0", "collect:e3:2"})
		expect(t, "launches of the second", k.since(3), []string{"collect:e1:0", "collect:e2:1", "collect:e3:2"})
		expect(t, "rows", got, []string{"2;0;", "0;1;2;"})
		if c := k.launches[1].Collect; c == nil || *c != (job.CollectOrder{Limit: 5, Bytes: dataset.MaxCollected / 2}) {
			t.Errorf("the order is %+v", c) // the two executors share the room
		}
		k.batch(2000, 5, 6)
	})
}

func TestFunctionThatAsksForNothingComputesNothingButState(t *testing.T) {
	calls := 0
	runKeyed(t, acting(func(context.Context, dataset.Jobs) error {
		calls++
		return nil
	}), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		expect(t, "launches", sorted(k.sent()), []string{"map:e1:0", "state:e1:0", "state:e2:1", "state:e3:2"})
		if calls != 1 {
			t.Errorf("%d calls", calls)
		}
	})
}

func TestPartOfTheStateThatAnActionDidNotReadIsAdvanced(t *testing.T) { // rule 7
	runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
		_, err := jobs.Run(ctx, everything, []int{1})
		return err
	}), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		expect(t, "launches", sorted(k.sent()), []string{"map:e1:0", "collect:e2:1", "state:e1:0", "state:e3:2"})
		k.die(2)
		k.batch(2000, 5, 6)
	})
}

func TestActionWaitsForWhatIsMissingAndSaysSo(t *testing.T) { // rule 8
	runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
		answers, err := jobs.Run(ctx, everything, all)
		if got := rows(answers); got != "0;1;2;" {
			return fmt.Errorf("got %q", got)
		}
		return err
	}), func(t *testing.T, k *keyed) {
		var back atomic.Bool
		k.on = func(_ context.Context, to job.Peer, l *job.Launch, part int) *job.TaskError {
			switch {
			case l.Kind != job.CollectTasks || back.Load():
				return nil
			case part == 1:
				return &job.TaskError{Fault: job.MissingFault, Text: "block 7-0-3-4 is away"}
			case part == 2 && len(k.sent()) < 6:
				return &job.TaskError{Fault: job.FetchFault, Text: "buckets are gone", Shuffle: l.MapOutputs[0].Shuffle, MapParts: []int{0}, Holder: 1}
			}
			return nil
		}
		k.Order(k.order(1000, 5, 6))
		rest(time.Hour)
		if st := k.Status(); len(st) != 1 || !strings.Contains(st[0].Waiting, "7-0-3-4") || !strings.Contains(st[0].Stage, "out-1") {
			t.Errorf("status is %+v, expected it to say what is missing", st)
		}
		back.Store(true)
		rest(2 * time.Second)
		expect(t, "reports", k.said(), []string{"1000/6"})
		if k.reports[0].Tries != 1 {
			t.Errorf("%d tries reported, expected 1", k.reports[0].Tries)
		}
		k.verify(1000)
	})
}

func TestExecutorThatDiesInAnActionIsReplaced(t *testing.T) { // rules 3, 7 and 8
	runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
		answers, err := jobs.Run(ctx, everything, all)
		if got := rows(answers); got != "0;1;2;" {
			return fmt.Errorf("got %q: %w", got, err)
		}
		return err
	}), func(t *testing.T, k *keyed) {
		k.batch(1000, 5, 6)
		k.on = func(ctx context.Context, to job.Peer, l *job.Launch, _ int) *job.TaskError {
			if to.Session == 2 && l.Kind == job.CollectTasks { // paused: it never answers
				<-ctx.Done()
				return &job.TaskError{Text: context.Cause(ctx).Error()}
			}
			return nil
		}
		k.Order(k.order(2000, 5, 6))
		rest(time.Minute)
		expect(t, "reports", k.said(), []string{"1000/6"})
		k.die(2)
		rest(time.Second)
		expect(t, "reports", k.said(), []string{"1000/6", "2000/6"})
		k.verify(2000)
	})
}

// What ends the batch ends it whatever the function makes of the error.
func TestWhatEndsABatchIsNotForItsFunctionToHide(t *testing.T) { // rule 1
	for _, tt := range []struct {
		name   string
		fault  job.Fault
		report []string
		tries  int
	}{
		{"a newer authority", job.FencedFault, nil, 0},
		{"another program", job.MismatchFault, []string{"1000/6!"}, 1},
		{"a task that fails for good", job.UserFault, []string{"1000/6!"}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
				calls++
				for range 2 {
					if _, err := jobs.Run(ctx, everything, all); err == nil {
						t.Error("the job ended well")
					}
				}
				return nil
			}), func(t *testing.T, k *keyed) {
				k.on = func(_ context.Context, _ job.Peer, l *job.Launch, part int) *job.TaskError {
					if l.Kind == job.CollectTasks && part == 1 {
						return &job.TaskError{Fault: tt.fault, Text: "no"}
					}
					return nil
				}
				k.Order(k.order(1000, 5, 6))
				rest(time.Minute)
				expect(t, "reports", k.said(), tt.report)
				if calls != 1 || tt.report != nil && (k.reports[0].Tries != tt.tries || !strings.Contains(k.reports[0].Error, `output "out-1", partition 1`)) {
					t.Errorf("%d calls, report %+v", calls, k.reports)
				}
			})
		})
	}
}

// A function that waits, in a job or elsewhere, is told when its batch is for others to run.
func TestOfficeIsLostWhileAFunctionRuns(t *testing.T) { // rules 1 and 3
	for name, lose := range map[string]func(k *keyed){
		"a newer office":   func(k *keyed) { k.Order(k.order(1000, 9, 9)) },
		"a newer attempt":  func(k *keyed) { k.Order(k.order(1000, 5, 9)) },
		"the session ends": func(k *keyed) { _ = k.Stop(context.Background()) },
		"completed":        func(k *keyed) { k.Completed(7, 1000) },
	} {
		for _, inJob := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, in a job %v", name, inJob), func(t *testing.T) {
				var ended []error
				runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
					if len(ended) > 0 { // the newer one's
						return nil
					}
					if inJob {
						_, err := jobs.Run(context.WithoutCancel(ctx), everything, all)
						ended = append(ended, err)
						return nil
					}
					<-ctx.Done()
					ended = append(ended, context.Cause(ctx))
					return nil
				}), func(t *testing.T, k *keyed) {
					k.on = func(ctx context.Context, _ job.Peer, l *job.Launch, _ int) *job.TaskError {
						if l.Kind != job.CollectTasks {
							return nil
						}
						<-ctx.Done()
						return &job.TaskError{Text: context.Cause(ctx).Error()}
					}
					k.Order(k.order(1000, 5, 6))
					rest(time.Second)
					lose(k)
					rest(time.Second)
					if len(ended) != 1 || ended[0] == nil {
						t.Fatalf("the function was told %v", ended)
					}
					if slices.Contains(k.said(), "1000/6") {
						t.Errorf("reports %v, expected none of the run that was given up", k.said())
					}
				})
			})
		}
	}
}

// The function's own context ends a job and nothing else.
func TestJobEndsWithTheContextThatItWasGiven(t *testing.T) {
	runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := jobs.Run(short, everything, all); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the job ended with %w", err)
		}
		_, err := jobs.Run(ctx, everything, []int{0})
		return err
	}), func(t *testing.T, k *keyed) {
		k.on = func(ctx context.Context, _ job.Peer, l *job.Launch, part int) *job.TaskError {
			if l.Kind != job.CollectTasks || part == 0 {
				return nil
			}
			<-ctx.Done()
			return &job.TaskError{Text: context.Cause(ctx).Error()}
		}
		k.batch(1000, 5, 6)
		if r := k.reports[0]; r.Tries != 1 {
			t.Errorf("%d tries, expected 1", r.Tries)
		}
	})
}

func TestAnswersAreBoundedTogether(t *testing.T) {
	for name, from := range map[string]func(l *job.Launch) *job.TaskError{
		"an executor says so": func(*job.Launch) *job.TaskError {
			return &job.TaskError{Fault: job.SizeFault, Text: "67108900 bytes of records and more"}
		},
		"together they are": func(*job.Launch) *job.TaskError { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
				calls++
				if _, err := jobs.Run(ctx, dataset.Query{Count: true, Limit: -1}, all); err != nil {
					t.Error(err)
				}
				answers, err := jobs.Run(ctx, everything, all)
				if answers != nil || err == nil {
					t.Errorf("%d answers, %v", len(answers), err)
				}
				return err
			}), func(t *testing.T, k *keyed) {
				large := make([]byte, dataset.MaxCollected/2)
				k.large = func(l *job.Launch) []byte {
					if l.Collect.Count {
						return nil
					}
					return large
				}
				k.on = func(_ context.Context, _ job.Peer, l *job.Launch, part int) *job.TaskError {
					if l.Kind == job.CollectTasks && !l.Collect.Count && part == 2 {
						return from(l)
					}
					return nil
				}
				k.Order(k.order(1000, 5, 6))
				rest(time.Minute)
				expect(t, "reports", k.said(), []string{"1000/6!"})
				for _, want := range []string{`function of output "out-1"`, "too large to be collected: ", " bytes", "at most 67108864", "Take", "ForeachPartition"} {
					if e := k.reports[0].Error; !strings.Contains(e, want) {
						t.Errorf("%q does not say %q", e, want)
					}
				}
				if calls != 1 { // it would come to the same
					t.Errorf("%d calls", calls)
				}
			})
		})
	}
}

func TestPartitionsThatAreNotThereAreRefused(t *testing.T) {
	runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
		for _, p := range []int{-1, 3} {
			if _, err := jobs.Run(ctx, everything, []int{p}); err == nil {
				t.Errorf("partition %d was read", p)
			}
		}
		answers, err := jobs.Run(ctx, everything, nil)
		if len(answers) != 0 {
			t.Errorf("%d answers of no partitions", len(answers))
		}
		return err
	}), func(_ *testing.T, k *keyed) { k.batch(1000, 5, 6) })
}

// The memory here is bounded, however many executors answer: they share the room. Who needs more than its share gets what
// is left in its turn, and what fits is collected however it is spread.
func TestExecutorsShareTheRoomForAnswers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sizes []int64 // of the answers of three partitions, of an executor each, in tenths of what can be collected
		fits  bool
	}{
		{"evenly", []int64{3, 3, 3}, true},
		{"all on one", []int64{0, 10, 0}, true},
		{"two large ones", []int64{5, 0, 5}, true},
		{"one is too large", []int64{0, 11, 0}, false},
		{"together too large", []int64{5, 1, 5}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			size := func(part int) int64 { return tt.sizes[part] * dataset.MaxCollected / 10 }
			runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
				answers, err := jobs.Run(ctx, everything, all)
				if fits := err == nil; fits != tt.fits {
					t.Errorf("collected: %v, expected %v: %v", fits, tt.fits, err)
				}
				for p, a := range answers {
					if int64(len(a.Rows)) != size(p) {
						t.Errorf("partition %d gave %d bytes, expected %d", p, len(a.Rows), size(p))
					}
				}
				return nil
			}), func(t *testing.T, k *keyed) {
				var mu sync.Mutex
				var flying int64 // bytes that may come at the same time
				k.large = func(l *job.Launch) []byte { return make([]byte, size(l.Parts[0])) }
				k.on = func(_ context.Context, _ job.Peer, l *job.Launch, part int) *job.TaskError {
					if l.Kind != job.CollectTasks {
						return nil
					}
					mu.Lock()
					flying += l.Collect.Bytes
					if flying > dataset.MaxCollected {
						t.Errorf("answers of %d bytes are asked for at the same time", flying)
					}
					mu.Unlock()
					<-time.After(time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					flying -= l.Collect.Bytes
					if n := size(part); n > l.Collect.Bytes {
						return &job.TaskError{Fault: job.SizeFault, Text: fmt.Sprintf("%d bytes", n)}
					}
					return nil
				}
				k.batch(1000, 5, 6)
			})
		})
	}
}

// What was too large and handled is not why the function failed later.
func TestHandledOversizeDoesNotMakeAnotherErrorFinal(t *testing.T) {
	calls := 0
	runKeyed(t, acting(func(ctx context.Context, jobs dataset.Jobs) error {
		calls++
		if _, err := jobs.Run(ctx, everything, []int{0}); err == nil {
			t.Error("the job ended well")
		}
		if calls < 3 {
			return errors.New("the database is away")
		}
		return nil
	}), func(t *testing.T, k *keyed) {
		k.on = func(_ context.Context, _ job.Peer, l *job.Launch, _ int) *job.TaskError {
			if l.Kind == job.CollectTasks {
				return &job.TaskError{Fault: job.SizeFault, Text: "too much"}
			}
			return nil
		}
		k.batch(1000, 5, 6)
		if calls != 3 {
			t.Errorf("%d calls, expected 3", calls)
		}
	})
}
