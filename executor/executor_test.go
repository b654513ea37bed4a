package executor_test

import (
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func wantWords(t *testing.T, c *cluster, got, want map[string]int) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("counted %v, expected %v", got, want)
	}
}

func TestWordCountThroughAShuffleOnTwoExecutors(t *testing.T) {
	var local, remote atomic.Int64
	graph := &executortest.WordCount{Reducers: 4, Depth: 1, Outputs: 2, OnRead: func(_ dataset.Task, _ int, c dataset.Chunk) {
		if c.Rows != nil {
			local.Add(1)
		} else {
			remote.Add(1)
		}
	}}
	c := newCluster(t, 2, graph)
	texts := []string{"a b c", "b c d", "e e e", "a z"}
	var in []job.Block
	for i, text := range texts {
		in = append(in, c.put(text, i%2))
	}
	c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, in...))
	r := c.report(1000)
	if r.Error != "" || r.Records != 11 || r.Tries != 1 || r.Lost != 0 {
		t.Errorf("report is %+v", r)
	}
	for o := range 2 {
		wantWords(t, c, graph.Results.Words(o, 1000), executortest.Count(texts...))
	}
	if local.Load() == 0 || remote.Load() == 0 {
		t.Errorf("%d chunks came from the own store and %d encoded, expected both", local.Load(), remote.Load())
	}
	if log := graph.Results.Log(); len(log) != 2 || log[0].Output != 0 {
		t.Errorf("commits are %v, expected those of both outputs in order", log)
	}
}

func TestShufflesInARow(t *testing.T) {
	graph := &executortest.WordCount{Reducers: 3, Depth: 3}
	c := newCluster(t, 3, graph)
	texts := []string{strings.Repeat("x y ", 10), "y z", "w"}
	var in []job.Block
	for i, text := range texts {
		in = append(in, c.put(text, i))
	}
	c.driver.Send(c.nodes[1].store, c.batch(1000, 50, 60, in...))
	if r := c.report(1000); r.Error != "" {
		t.Fatal(r.Error)
	}
	wantWords(t, c, graph.Results.Words(0, 1000), executortest.Count(texts...))
}

func TestBatchesRunInTimeOrderAndFreeTheirBuckets(t *testing.T) {
	ordered := make(chan struct{})
	graph := &executortest.WordCount{Reducers: 2, Depth: 1, OnMap: func(dataset.Task, dataset.ShuffleID, int) { <-ordered }}
	c := newCluster(t, 2, graph)
	for k := 3; k >= 1; k-- { // the first to come runs, the others wait in order of time
		at := idTime(k)
		c.driver.Send(c.nodes[0].store, c.batch(at, 50, 60, c.put(fmt.Sprint("w", k), 0)))
	}
	c.heard(c.nodes[0])
	close(ordered)
	for k := 1; k <= 3; k++ {
		c.report(idTime(k))
	}
	log := graph.Results.Log()
	if len(log) != 3 || log[1].Time > log[2].Time {
		t.Errorf("batches committed in the order %v", log)
	}
	c.broadcast(&job.Progress{Epoch: 1, App: appID, Completed: 3000})
	c.driver.Send(c.nodes[0].store, c.batch(4000, 50, 60, c.put("w4", 0)))
	c.report(4000)
	for _, n := range c.nodes {
		if st := n.Status().Buckets; st.Batches > 1 {
			t.Errorf("%s keeps buckets of %d batches, expected those of the last alone", n.name, st.Batches)
		}
	}
}

func idTime(k int) id.Time { return id.Time(k * 1000) }
