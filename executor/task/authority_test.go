package task_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func TestOlderAuthorityIsRefused(t *testing.T) { // rules 1 and 6
	b := newBench(t, 1, &executortest.WordCount{Reducers: 1, Depth: 1})
	try := func(office id.Office, attempt id.Attempt, at id.Time) job.Fault {
		l := b.launch(job.MapTasks, 1, 0)
		root, _, _ := b.graph.Dataset(1, at, sources(1))
		l.Authority.Office, l.Authority.Attempt, l.Time = office, attempt, at
		l.Inputs[0].Time, l.Lineage = at, job.Lineage(root)
		l.Shuffle, l.Dataset = root.Deps()[0].Shuffle.ID(), root.Deps()[0].On.ID()
		return fault(b.run(t, l)[0])
	}
	steps := []struct {
		name    string
		office  id.Office
		attempt id.Attempt
		at      id.Time
		want    job.Fault
	}{
		{"first", 5, 6, 1000, 0},
		{"same again", 5, 6, 1000, 0},
		{"newer attempt", 5, 9, 1000, 0},
		{"older attempt", 5, 6, 1000, job.FencedFault},
		{"another batch has its own attempts", 5, 7, 2000, 0},
		{"newer office", 8, 9, 1000, 0},
		{"older office, any batch", 5, 20, 3000, job.FencedFault},
	}
	for _, s := range steps {
		if got := try(s.office, s.attempt, s.at); got != s.want {
			t.Errorf("%s: fault %d, expected %d", s.name, got, s.want)
		}
	}
	b.Completed(7, 1000)
	if try(8, 30, 1000) != job.FencedFault || try(8, 30, 2000) != 0 {
		t.Error("the completed batch alone should be refused")
	}
	b.Ended(7)
	if try(9, 40, 4000) != job.FencedFault {
		t.Error("a launch of an application that has ended was taken")
	}
}

// wait makes a graph whose first map task reports its context's end.
func waiting() (graph *executortest.WordCount, began chan struct{}, cause chan error) {
	began, cause = make(chan struct{}), make(chan error, 1)
	var once sync.Once
	return &executortest.WordCount{Reducers: 1, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, _ int) {
		once.Do(func() {
			close(began)
			<-t.Context().Done()
			cause <- context.Cause(t.Context())
		})
	}}, began, cause
}

func TestWhatSupersedesARunningLaunchCancelsIt(t *testing.T) { // rules 1, 3 and 6
	tests := []struct {
		name string
		do   func(t *testing.T, b *bench)
		want job.Fault
	}{
		{"newer attempt", func(t *testing.T, b *bench) {
			l := b.launch(job.MapTasks, 1, 0)
			l.Authority.Attempt = 9
			if f := fault(b.run(t, l)[0]); f != 0 {
				t.Errorf("the newer attempt failed: %d", f)
			}
		}, job.FencedFault},
		{"newer office, other batch", func(t *testing.T, b *bench) {
			l := b.launch(job.MapTasks, 1, 0)
			l.Authority.Office, l.Time = 9, 9000
			b.run(t, l)
		}, job.FencedFault},
		{"completion", func(_ *testing.T, b *bench) { b.Completed(7, 1000) }, job.FencedFault},
		{"end of the application", func(_ *testing.T, b *bench) { b.Ended(7) }, job.FencedFault},
		{"end of the session", func(t *testing.T, b *bench) {
			if err := b.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}, job.LostFault},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			graph, began, cause := waiting()
			b := newBench(t, 2, graph)
			done := make(chan job.TaskResult, 1)
			go func() {
				res, _ := b.Launch(context.Background(), b.launch(job.MapTasks, 1, 0))
				done <- res.Tasks[0]
			}()
			<-began
			tt.do(t, b)
			if err := <-cause; err == nil {
				t.Error("the task's context gives no reason")
			}
			if r := <-done; fault(r) != tt.want { // although the task itself ended well
				t.Errorf("result is %v, expected fault %d", r.Err, tt.want)
			}
		})
	}
}

func TestCallerThatGivesUpCancelsItsLaunch(t *testing.T) {
	graph, began, cause := waiting()
	b := newBench(t, 1, graph)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan *job.LaunchResult, 1)
	go func() {
		res, _ := b.Launch(ctx, b.launch(job.MapTasks, 3, 0, 1, 2))
		done <- res
	}()
	<-began
	cancel()
	<-cause
	for _, r := range (<-done).Tasks {
		if fault(r) != job.LostFault {
			t.Errorf("partition %d: %v, expected it lost, not failed", r.Part, r.Err)
		}
	}
}

func TestWithoutSessionNothingRuns(t *testing.T) { // rule 3
	b := newBench(t, 1, &executortest.WordCount{Reducers: 1, Depth: 1})
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := b.run(t, b.launch(job.MapTasks, 1, 0))[0]; fault(r) != job.LostFault {
		t.Errorf("result is %v, expected it lost", r.Err)
	}
	b.Open(2)
	if r := b.run(t, b.launch(job.MapTasks, 1, 0))[0]; r.Err != nil {
		t.Error(r.Err)
	}
}

func TestStopGivesUpOnUserCodeThatDoesNotEnd(t *testing.T) {
	began, open := make(chan struct{}), make(chan struct{})
	b := newBench(t, 1, &executortest.WordCount{Reducers: 1, Depth: 1, OnMap: func(dataset.Task, dataset.ShuffleID, int) {
		close(began)
		<-open
	}})
	done := make(chan job.TaskResult, 1)
	go func() {
		res, _ := b.Launch(context.Background(), b.launch(job.MapTasks, 1, 0))
		done <- res.Tasks[0]
	}()
	<-began
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("out of patience"))
	if err := b.Stop(ctx); err == nil || !strings.Contains(err.Error(), "out of patience") {
		t.Errorf("Stop: %v", err)
	}
	close(open)
	if r := <-done; fault(r) != job.LostFault {
		t.Errorf("the task that was left behind had an effect: %v", r.Err)
	}
}

func TestSlotsBoundTasksOfAllLaunches(t *testing.T) {
	var running, most atomic.Int64
	b := newBench(t, 3, &executortest.WordCount{Reducers: 1, Depth: 1, Empty: 40, OnMap: func(dataset.Task, dataset.ShuffleID, int) {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		runtime.Gosched()
		running.Add(-1)
	}})
	var parts []int
	for p := range 40 {
		parts = append(parts, p)
	}
	var launches sync.WaitGroup
	for range 4 {
		launches.Go(func() {
			if _, err := b.Launch(context.Background(), b.launch(job.MapTasks, 0, parts...)); err != nil {
				t.Error(err)
			}
		})
	}
	launches.Wait()
	if m := most.Load(); m > 3 || m == 0 {
		t.Errorf("up to %d tasks ran at a time, expected 3", m)
	}
	if n := b.Running(); n != 0 {
		t.Errorf("%d slots are held", n)
	}
}
