package executor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
)

// asking makes a graph whose function collects all words of a batch.
func asking(got *executortest.Results) *executortest.WordCount {
	graph := &executortest.WordCount{Reducers: 3, Depth: 1}
	graph.OnCall = func(ctx context.Context, b dataset.Batch, jobs dataset.Jobs) error {
		answers, err := jobs.Run(ctx, dataset.Query{Limit: -1}, []int{0, 1, 2})
		if err != nil {
			return err
		}
		counts, err := jobs.Run(ctx, dataset.Query{Count: true}, []int{0, 1, 2})
		if err != nil {
			return err
		}
		all := map[string]int{}
		for i, a := range answers {
			words, err := executortest.Decode(a.Rows)
			if err != nil || counts[i].Records != int64(len(words)) || counts[i].Rows != nil {
				return fmt.Errorf("%d words, counted %+v: %w", len(words), counts[i], err)
			}
			for w, n := range words {
				all[w] = n
			}
		}
		got.Put(executortest.Result{Time: b.Time}, all)
		return nil
	}
	return graph
}

func TestFunctionOnTheCoordinatorCollectsFromExecutors(t *testing.T) {
	var got executortest.Results
	c := newCluster(t, 3, asking(&got))
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, c.put("a b c", 1), c.put("b c", 2)))
	if r := c.report(1000); r.Error != "" || r.Tries != 1 {
		t.Errorf("report is %+v", r)
	}
	wantWords(t, c, got.Words(0, 1000), executortest.Count("a b c", "b c"))
}

func TestExecutorThatDiesInACollectIsReplaced(t *testing.T) { // rule 8
	for name, silent := range map[string]bool{"dead": false, "paused": true} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			var got executortest.Results
			graph := asking(&got)
			graph.OnOutput = func(t dataset.Task, _, part int) {
				if part == 1 {
					g.pass(t)
				}
			}
			c := newCluster(t, 3, graph)
			in := []job.Block{c.put("a b c d e f", 1, 2), c.put("b c", 1, 0)}
			c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in...))
			<-g.reached // the second of three executors, which has buckets too
			if silent {
				c.nodes = append(c.nodes[:1:1], c.nodes[2:]...)
				c.tell()
			} else {
				c.lose(1)
			}
			if r := c.report(1000); r.Error != "" || r.Tries != 1 {
				t.Errorf("report is %+v, expected no error and no user tries", r)
			}
			close(g.open)
			wantWords(t, c, got.Words(0, 1000), executortest.Count("a b c d e f", "b c"))
		})
	}
}

// A coordinator that lost its office must not report, whatever its function goes on to do.
func TestFunctionThatRunsOnAfterItsOfficeIsLostIsNotReported(t *testing.T) { // rule 1
	g := newGate()
	var got executortest.Results
	var told atomic.Pointer[error]
	graph := asking(&got)
	collect := graph.OnCall
	graph.OnCall = func(ctx context.Context, b dataset.Batch, jobs dataset.Jobs) error {
		if b.Attempt != 60 {
			return collect(ctx, b, jobs)
		}
		close(g.reached)
		<-g.open
		<-ctx.Done()
		_, err := jobs.Run(context.WithoutCancel(ctx), dataset.Query{Limit: -1}, []int{0})
		told.Store(&err)
		return nil
	}
	c := newCluster(t, 3, graph)
	in := []job.Block{c.put("a b", 1, 2)}
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in...))
	<-g.reached
	c.driver.Send(c.nodes[1].store, c.batch(1000, 70, 71, in...)) // its session was over, says the ledger
	if r := c.report(1000); r.Error != "" || r.Authority.Attempt != 71 {
		t.Errorf("report is %+v, expected that of the newer office", r)
	}
	c.driver.Send(c.nodes[0].store, &job.Progress{Epoch: c.driver.Epoch(), App: appID, Completed: 1000})
	close(g.open)
	eventually(t, func() bool { return told.Load() != nil && len(c.nodes[0].Status().Batches) == 0 })
	if n := len(c.reports(1000)); n != 1 || *told.Load() == nil {
		t.Errorf("%d reports, the function was told %v", n, *told.Load())
	}
	wantWords(t, c, got.Words(0, 1000), executortest.Count("a b"))
}

func TestPanicOfAFunctionOnTheCoordinatorNamesItsPlace(t *testing.T) {
	var calls atomic.Int64
	graph := &executortest.WordCount{Reducers: 2, Depth: 1, OnCall: func(context.Context, dataset.Batch, dataset.Jobs) error {
		if calls.Add(1) == 1 {
			return errors.New("not yet")
		}
		executortest.Panic("boom")
		return nil
	}}
	c := newCluster(t, 2, graph)
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, c.put("a", 0)))
	r := c.report(1000)
	for _, want := range []string{`function of output "collect-0" failed 4 times`, "boom", "wordcount.go:"} {
		if !strings.Contains(r.Error, want) {
			t.Errorf("error is %q, expected %q in it", r.Error, want)
		}
	}
	if calls.Load() != 4 {
		t.Errorf("%d calls, expected 4", calls.Load())
	}
}
