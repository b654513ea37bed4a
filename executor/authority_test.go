package executor_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func TestNewLeaderThatOrdersTheSameJoinsTheRun(t *testing.T) {
	g := newGate()
	var maps atomic.Int64
	graph := &executortest.WordCount{Reducers: 2, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, _ int) {
		maps.Add(1)
		g.pass(t)
	}}
	c := newCluster(t, 2, graph)
	in := []job.Block{c.put("a", 0), c.put("b", 1)}
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in...))
	<-g.reached
	c.lead()
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in...))
	close(g.open)
	if r := c.report(1000); r.Error != "" {
		t.Error(r.Error)
	}
	if maps.Load() != 2 {
		t.Errorf("%d map tasks ran, expected 2: work in flight is not repeated", maps.Load())
	}
}

func TestFinishedBatchIsReportedAgainAndNotRunAgain(t *testing.T) {
	graph := &executortest.WordCount{Reducers: 2, Depth: 1}
	c := newCluster(t, 1, graph)
	in := c.put("a", 0)
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in))
	c.report(1000)
	c.lead() // it may not have heard
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in))
	c.wait(func() bool { return len(c.reports(1000)) == 2 })
	if n := len(graph.Results.Log()); n != 1 {
		t.Errorf("the batch was committed %d times", n)
	}
}

func TestReportWhoseAnswerIsLostIsRepeatedToTheNextLeader(t *testing.T) {
	graph := &executortest.WordCount{Reducers: 2, Depth: 1}
	c := newCluster(t, 1, graph)
	c.driver.Answer(func(_ context.Context, r executortest.Request) (job.Reply, error) {
		if _, ok := r.Message.(*job.BatchReport); ok && r.Epoch == 1 {
			go c.driver.Lead()
			return job.Reply{Outcome: job.Done}, executortest.ErrLost
		}
		return job.Reply{Outcome: job.Done}, nil
	})
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, c.put("a", 0)))
	c.wait(func() bool { return len(c.reports(1000)) >= 2 })
	if n := len(graph.Results.Log()); n != 1 {
		t.Errorf("the batch was committed %d times", n)
	}
}

// Rules 1 and 6: what an older authority started has no effect once a newer one acted.
func TestNewerAttemptReplacesTheRun(t *testing.T) {
	g := newGate()
	attempts := make(chan id.Attempt, 100)
	graph := &executortest.WordCount{Reducers: 2, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, _ int) {
		attempts <- t.Batch().Attempt
		g.pass(t)
	}}
	c := newCluster(t, 1, graph)
	in := c.put("a", 0)
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in))
	<-g.reached // and stays: only the end of its context lets it go
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 70, in))
	if r := c.report(1000); r.Authority.Attempt != 70 || r.Error != "" {
		t.Errorf("report is %+v, expected attempt 70", r)
	}
	if a, b := <-attempts, <-attempts; a != 60 || b != 70 {
		t.Errorf("attempts %d and %d ran", a, b)
	}
	if n := len(c.reports(1000)); n != 1 {
		t.Errorf("%d reports came, expected none of the replaced run", n)
	}
}

// Rules 1 and 6.
func TestOfficeThatWasReplacedCanOrderNothing(t *testing.T) {
	g := newGate()
	graph := &executortest.WordCount{Reducers: 1, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, _ int) { g.pass(t) }}
	c := newCluster(t, 3, graph)
	in := c.put("a", 2)
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in)) // the old coordinator, whose task hangs on n3
	<-g.reached
	c.driver.Send(c.nodes[1].store, c.batch(1000, 80, 80, in))
	if r := c.report(1000); r.Authority.Office != 80 || r.Error != "" {
		t.Errorf("report is %+v, expected office 80", r)
	}
	eventually(t, func() bool { return len(c.nodes[0].Status().Batches) == 0 }) // n3 told the old one
	old := c.batch(2000, 50, 90, in)
	res, err := c.nodes[2].Server().Launch(context.Background(), &job.Launch{Authority: old.Authority, App: old.App, Time: old.Time, Kind: job.MapTasks, Parts: []int{0}})
	if err != nil || res.Tasks[0].Err == nil || res.Tasks[0].Err.Fault != job.FencedFault {
		t.Errorf("launch of the old office: %+v, %v; expected it fenced", res, err)
	}
	if n := len(c.reports(1000)); n != 1 {
		t.Errorf("%d reports came, expected that of the new office alone", n)
	}
}

// Rule 3: a process without a session stops its tasks before it works under another.
func TestEndOfTheSessionStopsItsWork(t *testing.T) {
	g := newGate()
	var canceled atomic.Bool
	graph := &executortest.WordCount{Reducers: 1, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, _ int) {
		if t.Batch().Time == 1000 {
			canceled.Store(g.pass(t))
		}
	}}
	c := newCluster(t, 1, graph)
	n := c.nodes[0]
	in, old := c.put("a", 0), c.driver.Connected(n.store)
	c.wait(func() bool { return len(executortest.Of[*job.Inventory](c.driver)) == 1 }) // else the end could overtake it
	c.driver.Answer(func(_ context.Context, r executortest.Request) (job.Reply, error) {
		if inv, ok := r.Message.(*job.Inventory); ok && r.Session != old {
			if !canceled.Load() || !inv.First || !inv.Last || len(inv.Blocks) != 1 || inv.Blocks[0] != in.ID {
				t.Errorf("inventory %+v came; work of the old session was over: %v", inv, canceled.Load())
			}
		}
		return job.Reply{Outcome: job.Done}, nil
	})
	c.driver.Send(n.store, c.batch(1000, 50, 60, in))
	<-g.reached
	c.driver.End(n.store)
	c.wait(func() bool { return len(executortest.Of[*job.Inventory](c.driver)) == 2 })
	if !canceled.Load() {
		t.Error("the task of the old session still runs")
	}
	c.tell()
	c.driver.Send(n.store, c.batch(2000, 90, 90, c.put("b", 0)))
	if r := c.report(2000); r.Error != "" {
		t.Error(r.Error)
	}
	if n := len(c.reports(1000)); n != 0 {
		t.Errorf("%d reports of the old session came", n)
	}
}

func TestOrdersOfAnOlderLeadershipAreRefused(t *testing.T) { // rule 1
	graph := &executortest.WordCount{Reducers: 1, Depth: 1}
	c := newCluster(t, 1, graph)
	c.lead()
	late := c.batch(1000, 50, 60, c.put("a", 0))
	late.Authority.Epoch = 1
	c.driver.Send(c.nodes[0].store, late)
	c.driver.Send(c.nodes[0].store, c.batch(2000, 50, 61, c.put("b", 0)))
	c.report(2000)
	if n := len(c.reports(1000)); n != 0 {
		t.Error("the order of the older leadership was followed")
	}
}

func TestTasksGoOnWhileNoDriverIsReachable(t *testing.T) {
	g := newGate()
	graph := &executortest.WordCount{Reducers: 2, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, _ int) { g.pass(t) }}
	c := newCluster(t, 2, graph)
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, c.put("a", 0), c.put("b", 1)))
	<-g.reached
	c.driver.Down(true)
	close(g.open)
	eventually(t, func() bool { return len(graph.Results.Log()) == 1 })
	c.driver.Lead()
	c.driver.Down(false)
	if r := c.report(1000); r.Error != "" {
		t.Error(r.Error)
	}
}
