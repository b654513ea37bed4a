package executor_test

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// gate lets the first task that comes to it wait, with or without an end of its context.
type gate struct {
	once    sync.Once
	reached chan struct{}
	open    chan struct{}
}

func newGate() *gate { return &gate{reached: make(chan struct{}), open: make(chan struct{})} }

// pass holds up the first caller until the gate opens; canceled says that its context ended instead.
func (g *gate) pass(t dataset.Task) (canceled bool) {
	g.once.Do(func() {
		close(g.reached)
		select {
		case <-g.open:
		case <-t.Context().Done():
			canceled = true
		}
	})
	return canceled
}

// lose takes a node away as a dead process: unreachable, and without a session.
func (c *cluster) lose(i int) {
	n := c.nodes[i]
	c.net.Remove(n.name)
	c.nodes = slices.Delete(slices.Clone(c.nodes), i, i+1)
	c.tell()
}

func TestExecutorThatDiesInAMapStageIsReplaced(t *testing.T) {
	g := newGate()
	graph := &executortest.WordCount{Reducers: 2, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, part int) {
		if part == 0 {
			g.pass(t)
		}
	}}
	c := newCluster(t, 3, graph)
	in := []job.Block{c.put("a b", 1, 2), c.put("b c", 2, 1)}
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in...))
	<-g.reached
	c.lose(1)
	if r := c.report(1000); r.Error != "" || r.Tries != 1 {
		t.Errorf("report is %+v, expected no error and no user tries (rule 8)", r)
	}
	wantWords(t, c, graph.Results.Words(0, 1000), executortest.Count("a b", "b c"))
}

func TestSilentExecutorIsGivenUpWithItsSession(t *testing.T) {
	g := newGate()
	var canceled atomic.Bool
	graph := &executortest.WordCount{Reducers: 2, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, part int) {
		if part == 0 && g.pass(t) {
			canceled.Store(true)
		}
	}}
	c := newCluster(t, 3, graph)
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, c.put("a b", 1, 2)))
	<-g.reached // n2 works and does not answer; its port is open
	c.nodes = slices.Delete(slices.Clone(c.nodes), 1, 2)
	c.tell()
	if r := c.report(1000); r.Error != "" {
		t.Error(r.Error)
	}
	wantWords(t, c, graph.Results.Words(0, 1000), executortest.Count("a b"))
}

func TestBucketsLostWithTheirExecutorAreMadeAgain(t *testing.T) {
	g := newGate()
	var maps atomic.Int64
	graph := &executortest.WordCount{
		Reducers: 3, Depth: 1,
		OnMap:    func(dataset.Task, dataset.ShuffleID, int) { maps.Add(1) },
		OnOutput: func(t dataset.Task, _, _ int) { g.pass(t) },
	}
	c := newCluster(t, 3, graph)
	in := []job.Block{c.put("a b c d e f", 1, 2), c.put("b c", 0), c.put("z", 1, 2)}
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in...))
	<-g.reached
	c.lose(1)
	close(g.open)
	if r := c.report(1000); r.Error != "" || r.Tries != 1 {
		t.Errorf("report is %+v, expected no error and no user tries (rule 8)", r)
	}
	wantWords(t, c, graph.Results.Words(0, 1000), executortest.Count("a b c d e f", "b c", "z"))
	if n := maps.Load(); n < 4 || n > 5 {
		t.Errorf("%d map tasks ran, expected 3 and those again that the lost executor had run", n)
	}
}

func TestMissingBlockMakesTheBatchWaitAndIsNoTry(t *testing.T) { // rule 8
	graph := &executortest.WordCount{Reducers: 2, Depth: 1}
	c := newCluster(t, 2, graph)
	in := c.put("a b", 1)
	away, all := c.nodes[1], c.nodes
	c.lose(1)
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in))
	eventually(t, func() bool {
		st := c.nodes[0].Status().Batches
		return len(st) == 1 && strings.Contains(st[0].Waiting, in.ID.String())
	})
	c.net.Add(away.name, away.Server())
	c.nodes = all
	c.tell()
	if r := c.report(1000); r.Error != "" || r.Tries != 1 {
		t.Errorf("report is %+v, expected no error and no user tries", r)
	}
	wantWords(t, c, graph.Results.Words(0, 1000), executortest.Count("a b"))
}

func TestAcceptedLossLeavesOutWhatNobodyHoldsAndCountsIt(t *testing.T) { // rule 8
	graph := &executortest.WordCount{Reducers: 2, Depth: 1}
	c := newCluster(t, 2, graph)
	b := c.batch(1000, 50, 60, c.put("a b c", 1), c.put("d", 0))
	c.lose(1)
	b.AcceptLoss = true
	c.driver.Send(c.nodes[0].store, b)
	if r := c.report(1000); r.Error != "" || r.Lost != 3 || r.Records != 1 {
		t.Errorf("report is %+v, expected 3 records lost and 1 processed", r)
	}
	wantWords(t, c, graph.Results.Words(0, 1000), executortest.Count("d"))
}

func TestUserPanicFailsTheBatchAfterFourTriesWithItsPlace(t *testing.T) {
	var runs atomic.Int64
	graph := &executortest.WordCount{Reducers: 2, Depth: 1, OnMap: func(t dataset.Task, _ dataset.ShuffleID, part int) {
		if part == 1 && t.Batch().Time == 1000 {
			runs.Add(1)
			executortest.Panic("boom")
		}
	}}
	c := newCluster(t, 2, graph)
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, c.put("a", 0), c.put("b", 1)))
	r := c.report(1000)
	for _, want := range []string{"flatMap", "wordcount.go:", "boom", "partition 1", "4 times"} {
		if !strings.Contains(r.Error, want) {
			t.Errorf("error is %q, expected %q in it", r.Error, want)
		}
	}
	if runs.Load() != 4 || r.Tries != 4 {
		t.Errorf("the task ran %d times, %d reported, expected 4", runs.Load(), r.Tries)
	}
	resumed := id.Attempt(c.driver.Index())
	c.driver.Send(c.nodes[0].store, c.batch(2000, 50, resumed, c.put("a", 0)))
	if r := c.report(2000); r.Error != "" {
		t.Errorf("the node did not live on: %s", r.Error)
	}
}

func TestTaskIsTriedAgainAfterAUserError(t *testing.T) {
	var runs atomic.Int64
	graph := &executortest.WordCount{Reducers: 1, Depth: 1, OnOutput: func(t dataset.Task, _, _ int) {
		if runs.Add(1) < 3 {
			runtime.Goexit()
		}
	}}
	c := newCluster(t, 1, graph)
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, c.put("a", 0)))
	if r := c.report(1000); r.Error != "" || r.Tries != 3 {
		t.Errorf("report is %+v, expected success at the third try", r)
	}
	wantWords(t, c, graph.Results.Words(0, 1000), executortest.Count("a"))
}

func TestExecutorsOfAnotherBuildGetNoTasks(t *testing.T) {
	graph := &executortest.WordCount{Reducers: 4, Depth: 1}
	c := newCluster(t, 2, graph)
	other := c.peer(c.nodes[1])
	other.Build = "another"
	c.broadcast(&job.Peers{Index: c.driver.Index(), Peers: []job.Peer{c.peer(c.nodes[0]), other}})
	c.net.Remove(c.nodes[1].name) // whoever asks it fails
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, c.put("a b", 0)))
	if r := c.report(1000); r.Error != "" {
		t.Error(r.Error)
	}
}

func TestBinaryWithAnotherPlanRefusesAndNamesBoth(t *testing.T) {
	graph := &executortest.WordCount{Reducers: 4, Depth: 1}
	c := newCluster(t, 1, graph)
	b := c.batch(1000, 50, 60)
	here := b.App.Fingerprint
	b.App.Fingerprint = "00112233445566778899aabbccddeeff"
	c.driver.Send(c.nodes[0].store, b)
	r := c.report(1000)
	for _, want := range []string{here, b.App.Fingerprint, "words", "build"} {
		if !strings.Contains(r.Error, want) {
			t.Errorf("error is %q, expected %q in it", r.Error, want)
		}
	}
}

func TestUnknownProgramIsNamed(t *testing.T) {
	c := newCluster(t, 1, &executortest.WordCount{Reducers: 4, Depth: 1})
	b := c.batch(1000, 50, 60)
	b.App.Spec.Name = "nothing"
	c.driver.Send(c.nodes[0].store, b)
	if r := c.report(1000); !strings.Contains(r.Error, `"nothing"`) || !strings.Contains(r.Error, executortest.Program) {
		t.Errorf("error is %q, expected the program and those that are known", r.Error)
	}
}
