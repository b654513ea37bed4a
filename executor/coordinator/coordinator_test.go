package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/coordinator"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is a coordinator with executors that do what the test says. It lives in a bubble of synctest.
type office struct {
	*coordinator.Coordinator
	graph *executortest.WordCount
	// on answers one task; nil is success.
	on func(ctx context.Context, to job.Peer, l *job.Launch, part int) *job.TaskError
	// large makes the rows of CollectTasks; nil: the partition.
	large func(l *job.Launch) []byte
	// reply answers a report, Done if nil.
	reply func(r *job.BatchReport) (job.Reply, error)

	job.Executors
	mu       sync.Mutex
	table    *job.Peers
	changed  chan struct{}
	launches []*job.Launch
	on2      []string // executor of each launch
	reports  []*job.BatchReport
}

func (o *office) Launch(ctx context.Context, to job.Peer, l *job.Launch) (*job.LaunchResult, error) {
	o.mu.Lock()
	o.launches = append(o.launches, l)
	o.on2 = append(o.on2, to.Name)
	on := o.on
	o.mu.Unlock()
	res := &job.LaunchResult{}
	for _, p := range l.Parts {
		r := job.TaskResult{Part: p, Receipt: []byte("{}")}
		if l.Kind == job.CollectTasks {
			r = job.TaskResult{Part: p, Records: 1, Rows: fmt.Append(nil, p, ";")}
			if o.large != nil {
				r.Rows = o.large(l)
			}
		}
		if on != nil {
			r.Err = on(ctx, to, l, p)
		}
		if r.Err != nil && r.Err.Fault == 0 { // the executor does not answer
			return nil, r.Err
		}
		res.Tasks = append(res.Tasks, r)
	}
	return res, nil
}

func (o *office) peers() (*job.Peers, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.table, o.changed
}

// tell opens the sessions given, of executors e<session> with store s<session>.
func (o *office) tell(sessions ...id.Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.table = &job.Peers{Index: o.table.Index + 100}
	for _, s := range sessions {
		o.table.Peers = append(o.table.Peers, job.Peer{Session: s, Store: id.Store(fmt.Sprint("s", s)), Name: fmt.Sprint("e", s), Slots: 2, Build: "b"})
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *office) report(_ context.Context, r *job.BatchReport) (job.Reply, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reports = append(o.reports, r)
	if o.reply != nil {
		return o.reply(r)
	}
	return job.Reply{Outcome: job.Done, Index: 10}, nil
}

// said lists the reports as time/attempt, with ! for a failure.
func (o *office) said() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.reports {
		s := fmt.Sprintf("%d/%d", r.Time, r.Authority.Attempt)
		if r.Error != "" {
			s += "!"
		}
		all = append(all, s)
	}
	return all
}

// sent lists the launches as kind:executor:parts.
func (o *office) sent() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, l := range o.launches {
		kind := map[job.Kind]string{job.MapTasks: "map", job.OutputTasks: "out", job.StateTasks: "state", job.CheckpointTasks: "checkpoint", job.CollectTasks: "collect"}[l.Kind]
		if l.Root.Time != l.Time {
			kind += fmt.Sprint("@", l.Root.Time)
		}
		all = append(all, fmt.Sprint(kind, ":", o.on2[i], ":", strings.Trim(fmt.Sprint(l.Parts), "[]")))
	}
	return all
}

func run(t *testing.T, graph *executortest.WordCount, test func(t *testing.T, o *office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &office{graph: graph, table: &job.Peers{}, changed: make(chan struct{})}
		o.Coordinator = coordinator.New(coordinator.Config{
			Build: "b", Graph: func(job.App) (dataset.App, error) { return graph.App(), nil },
			Guard: func(_ context.Context, _ dataset.App, f func() error) *job.TaskError {
				if err := f(); err != nil {
					return &job.TaskError{Fault: job.UserFault, Text: err.Error()}
				}
				return nil
			},
			Executors: o, Self: func() id.Session { return 1 }, Peers: o.peers, Report: o.report, Logger: slog.New(slog.DiscardHandler),
		})
		o.Open()
		o.tell(1, 2, 3)
		test(t, o)
		if err := o.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// rest lets time pass in the bubble, and everything come to rest.
func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// order makes an order whose blocks are on the stores given, one block each.
func order(at id.Time, in id.Office, attempt id.Attempt, stores ...string) *job.Batch {
	b := &job.Batch{Authority: id.Authority{Epoch: 1, Office: in, Attempt: attempt}, App: job.App{ID: 7, Name: "words"}, Time: at}
	input := job.Input{Stream: 0, Time: at}
	for i, s := range stores {
		x := job.Block{ID: id.Block{App: 7, Number: uint64(i + 1)}, Records: 10, Bytes: 100}
		for name := range strings.FieldsSeq(s) {
			x.Stores = append(x.Stores, id.Store(name))
		}
		input.Blocks = append(input.Blocks, x)
	}
	b.Inputs = []job.Input{input}
	return b
}

func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, expected %v", what, got, want)
	}
}

// sorted sorts the launches of each stage: they are sent side by side.
func sorted(launches []string) []string {
	slices.SortStableFunc(launches, func(a, b string) int {
		if a[:3] != b[:3] {
			return 0
		}
		return strings.Compare(a, b)
	})
	return launches
}

func TestMapTasksGoToTheirBlocksAndReduceTasksAreSpread(t *testing.T) {
	run(t, &executortest.WordCount{Reducers: 7, Depth: 1}, func(t *testing.T, o *office) {
		o.Order(order(1000, 5, 6, "s1 s2", "s1 s2", "s3", "s2 s9", "s1 s2"))
		rest(0)
		expect(t, "launches", sorted(o.sent()), []string{"map:e1:0 4", "map:e2:1 3", "map:e3:2", "out:e1:0 3 6", "out:e2:1 4", "out:e3:2 5"})
		expect(t, "reports", o.said(), []string{"1000/6"})
		l := o.launches[len(o.launches)-1]
		if len(l.MapOutputs) != 1 || !slices.Equal(l.MapOutputs[0].Holders, []id.Session{1, 2, 3, 2, 1}) {
			t.Errorf("map outputs are %+v", l.MapOutputs)
		}
	})
}

func TestShuffleThatTwoOutputsReadIsMadeOnce(t *testing.T) {
	run(t, &executortest.WordCount{Reducers: 1, Depth: 2, Outputs: 2}, func(t *testing.T, o *office) {
		o.tell(1)
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		expect(t, "launches", o.sent(), []string{"map:e1:0", "map:e1:0", "out:e1:0", "out:e1:0"})
		if log := o.graph.Results.Log(); len(log) != 2 || log[0].Output != 0 || log[1].Output != 1 {
			t.Errorf("commits are %v, expected the outputs in order", log)
		}
	})
}

func TestEmptyBatchCompletes(t *testing.T) {
	run(t, &executortest.WordCount{Reducers: 2, Depth: 1}, func(t *testing.T, o *office) {
		o.Order(order(1000, 5, 6))
		rest(0)
		expect(t, "launches", sorted(o.sent()), []string{"out:e1:0", "out:e2:1"})
		expect(t, "reports", o.said(), []string{"1000/6"})
	})
}

func TestUserErrorIsTriedFourTimes(t *testing.T) {
	run(t, &executortest.WordCount{Reducers: 2, Depth: 1}, func(t *testing.T, o *office) {
		var tries []int
		o.on = func(_ context.Context, _ job.Peer, l *job.Launch, part int) *job.TaskError {
			if l.Kind == job.MapTasks && part == 1 {
				tries = append(tries, l.Try)
				return &job.TaskError{Fault: job.UserFault, Text: "boom", Operator: "flatMap", At: "app.go:12"}
			}
			return nil
		}
		o.Order(order(1000, 5, 6, "s1", "s2"))
		o.Order(order(2000, 5, 7, "s1"))
		rest(10 * time.Second)
		if !slices.Equal(tries, []int{1, 2, 3, 4}) {
			t.Errorf("tries are %v", tries)
		}
		expect(t, "reports", o.said(), []string{"1000/6!"}) // and nothing after the failure
		r := o.reports[0]
		if r.Tries != 4 || !strings.Contains(r.Error, "flatMap: boom (at app.go:12)") || !strings.Contains(r.Error, "partition 1") {
			t.Errorf("report is %+v", r)
		}
		o.on = nil
		o.Order(order(1000, 5, 20, "s1", "s2")) // resumed
		o.Order(order(2000, 5, 20, "s1"))
		rest(0)
		expect(t, "reports", o.said(), []string{"1000/6!", "1000/20", "2000/20"})
	})
}

func TestTriesAreCountedPerTaskAndSucceed(t *testing.T) {
	run(t, &executortest.WordCount{Reducers: 1, Depth: 1}, func(t *testing.T, o *office) {
		failures := map[int]int{0: 3, 1: 2, 2: 3}
		o.on = func(_ context.Context, _ job.Peer, l *job.Launch, part int) *job.TaskError {
			o.mu.Lock()
			defer o.mu.Unlock()
			if l.Kind == job.MapTasks && failures[part] > 0 {
				failures[part]--
				return &job.TaskError{Fault: job.UserFault, Text: "boom"}
			}
			return nil
		}
		o.Order(order(1000, 5, 6, "s1", "s2", "s3"))
		rest(10 * time.Second)
		expect(t, "reports", o.said(), []string{"1000/6"})
		if o.reports[0].Tries != 4 {
			t.Errorf("%d tries reported, expected 4", o.reports[0].Tries)
		}
	})
}

func TestMissingInputWaitsForEverWithoutTries(t *testing.T) { // rule 8
	for _, f := range []job.Fault{job.MissingFault, job.LostFault, 0} {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			run(t, &executortest.WordCount{Reducers: 1, Depth: 1}, func(t *testing.T, o *office) {
				var back atomic.Bool
				o.on = func(context.Context, job.Peer, *job.Launch, int) *job.TaskError {
					if back.Load() {
						return nil
					}
					return &job.TaskError{Fault: f, Text: "block 7-0-3-4 is away"}
				}
				o.Order(order(1000, 5, 6, "s1"))
				rest(time.Hour)
				if st := o.Status(); len(st) != 1 || !strings.Contains(st[0].Waiting, "7-0-3-4") || st[0].Stage == "" {
					t.Errorf("status is %+v, expected it to say what is missing", st)
				}
				if n := len(o.sent()); n < 3000 || n > 6000 {
					t.Errorf("%d launches in an hour, expected between one and two a second", n)
				}
				back.Store(true)
				rest(2 * time.Second)
				expect(t, "reports", o.said(), []string{"1000/6"})
				if o.reports[0].Tries != 1 {
					t.Errorf("%d tries reported, expected 1", o.reports[0].Tries)
				}
			})
		})
	}
}

func TestLostExecutorsTasksGoElsewhere(t *testing.T) { // rule 8
	run(t, &executortest.WordCount{Reducers: 3, Depth: 1}, func(t *testing.T, o *office) {
		o.on = func(_ context.Context, to job.Peer, _ *job.Launch, _ int) *job.TaskError {
			if to.Session == 2 {
				return &job.TaskError{Text: "connection refused"}
			}
			return nil
		}
		o.Order(order(1000, 5, 6, "s2 s3"))
		rest(0) // at once
		expect(t, "reports", o.said(), []string{"1000/6"})
		if o.reports[0].Tries != 1 {
			t.Errorf("%d tries reported", o.reports[0].Tries)
		}
		o.Order(order(2000, 5, 6, "s2 s3")) // and nobody else has to find out
		rest(0)
		expect(t, "launches", sorted(o.sent()), []string{
			"map:e2:0", "map:e3:0", "out:e1:0 2", "out:e3:1", "map:e3:0", "out:e1:0 2", "out:e3:1",
		})
		rest(suspicionOver)
		o.Order(order(3000, 5, 6, "s2 s3"))
		rest(0)
		if sent := o.sent(); sent[7] != "map:e2:0" {
			t.Errorf("launches are %v, expected the executor to be tried again", sent[7:])
		}
	})
}

// suspicionOver is longer than an executor that did not answer gets no tasks.
const suspicionOver = 2 * time.Second

func TestLaunchEndsWithItsExecutorsSession(t *testing.T) { // rule 3
	run(t, &executortest.WordCount{Reducers: 1, Depth: 1}, func(t *testing.T, o *office) {
		o.on = func(ctx context.Context, to job.Peer, _ *job.Launch, _ int) *job.TaskError {
			if to.Session == 2 { // stopped: it never answers
				<-ctx.Done()
				return &job.TaskError{Text: context.Cause(ctx).Error()}
			}
			return nil
		}
		o.Order(order(1000, 5, 6, "s2 s3"))
		rest(time.Minute)
		if len(o.said()) != 0 {
			t.Fatal("the batch ended without the silent executor")
		}
		o.tell(1, 3)
		rest(time.Second)
		expect(t, "reports", o.said(), []string{"1000/6"})
	})
}

// The third time that one executor cannot fetch from another they are made elsewhere: the two may be cut off from each
// other. No number of losses is a try (rule 8).
func TestLostBucketsAreMadeAgain(t *testing.T) {
	run(t, &executortest.WordCount{Reducers: 2, Depth: 2}, func(t *testing.T, o *office) {
		o.tell(1, 2)
		faults, lost := 6, dataset.ShuffleID{}
		o.on = func(_ context.Context, to job.Peer, l *job.Launch, part int) *job.TaskError {
			o.mu.Lock()
			defer o.mu.Unlock()
			if l.Kind == job.OutputTasks && part == 0 && faults > 0 {
				faults--
				lost = l.MapOutputs[0].Shuffle
				return &job.TaskError{Fault: job.FetchFault, Text: "gone", Shuffle: lost, MapParts: []int{1}, Holder: l.MapOutputs[0].Holders[1]}
			}
			return nil
		}
		o.Order(order(1000, 5, 6, "s1", "s2"))
		rest(time.Minute)
		expect(t, "reports", o.said(), []string{"1000/6"})
		made := map[string]int{}
		for i, l := range o.launches {
			if l.Kind == job.MapTasks && l.Shuffle == lost && slices.Contains(l.Parts, 1) {
				made[o.on2[i]]++
			}
		}
		if made["e2"] != 3 || made["e1"] != 4 || o.reports[0].Tries != 1 {
			t.Errorf("buckets were made %v times, %d tries; expected 3 times by e2, then 4 times by e1: %v", made, o.reports[0].Tries, o.sent())
		}
	})
}

func TestBucketsGoWithTheSessionThatMadeThem(t *testing.T) { // rule 3
	run(t, &executortest.WordCount{Reducers: 2, Depth: 1}, func(t *testing.T, o *office) {
		o.on = func(_ context.Context, to job.Peer, l *job.Launch, part int) *job.TaskError {
			if l.Kind == job.MapTasks && part == 0 && to.Session == 1 {
				o.tell(2, 3) // e1 goes as soon as it has answered
			}
			return nil
		}
		o.Order(order(1000, 5, 6, "s1 s2", "s3"))
		rest(time.Minute)
		expect(t, "reports", o.said(), []string{"1000/6"})
		for _, l := range o.launches {
			if l.Kind == job.OutputTasks && slices.Contains(l.MapOutputs[0].Holders, 1) {
				t.Error("an output task was sent to read from a session that is over")
			}
		}
	})
}

func TestFencedRunEndsWithoutReport(t *testing.T) { // rule 1
	run(t, &executortest.WordCount{Reducers: 1, Depth: 1}, func(t *testing.T, o *office) {
		o.on = func(context.Context, job.Peer, *job.Launch, int) *job.TaskError {
			return &job.TaskError{Fault: job.FencedFault, Text: "office 9"}
		}
		o.Order(order(1000, 5, 6, "s1"))
		rest(time.Minute)
		expect(t, "reports", o.said(), nil)
		if n := len(o.sent()); n != 1 || len(o.Status()) != 0 {
			t.Errorf("%d launches and %v, expected one and rest", n, o.Status())
		}
	})
}

func TestMismatchFailsTheBatchAtOnce(t *testing.T) { // rule 6
	run(t, &executortest.WordCount{Reducers: 1, Depth: 1}, func(t *testing.T, o *office) {
		o.on = func(context.Context, job.Peer, *job.Launch, int) *job.TaskError {
			return &job.TaskError{Fault: job.MismatchFault, Text: "lineage is another"}
		}
		o.Order(order(1000, 5, 6, "s1"))
		rest(time.Minute)
		if len(o.reports) != 1 || !strings.Contains(o.reports[0].Error, "lineage is another") || len(o.sent()) != 1 {
			t.Errorf("reports %v after %v", o.said(), o.sent())
		}
	})
}

func TestErrorOfTheGraphFailsTheBatch(t *testing.T) {
	graph := &executortest.WordCount{Reducers: 1, Depth: 1, OnGraph: func(id.Time) error { return errors.New("a parent of the union is missing") }}
	run(t, graph, func(t *testing.T, o *office) {
		o.Order(order(1000, 5, 6, "s1"))
		rest(0)
		if len(o.reports) != 1 || !strings.Contains(o.reports[0].Error, "a parent of the union is missing") {
			t.Errorf("reports are %+v", o.reports)
		}
	})
}

func TestCommitIsTriedFourTimes(t *testing.T) { // rule 13
	failures := 3
	graph := &executortest.WordCount{Reducers: 1, Depth: 1, OnCommit: func(_ context.Context, b dataset.Batch, _ int) error {
		if b.Attempt != 6 || b.Try != 0 {
			return fmt.Errorf("commit of %+v", b)
		}
		if failures--; failures >= 0 {
			return errors.New("rename failed")
		}
		return nil
	}}
	run(t, graph, func(t *testing.T, o *office) {
		o.Order(order(1000, 5, 6, "s1"))
		rest(time.Minute)
		expect(t, "reports", o.said(), []string{"1000/6"})
		failures = 4
		o.Order(order(2000, 5, 6, "s1"))
		rest(time.Minute)
		if r := o.reports[1]; !strings.Contains(r.Error, "rename failed") || r.Tries != 4 {
			t.Errorf("report is %+v", r)
		}
	})
}
