package executor_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// links says which pairs of executors do not reach each other; all do at first.
type links struct {
	mu    sync.Mutex
	cut   map[[2]string]bool
	tried int // calls that a cut stopped
}

func (l *links) sever(a, b string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = map[[2]string]bool{{a, b}: true, {b, a}: true}
}

func (l *links) stopped() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tried
}

func (l *links) check(from, to string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut[[2]string{from, to}] {
		return nil
	}
	l.tried++
	return errors.New(from + " does not reach " + to)
}

// wire is how one executor reaches the others.
type wire struct {
	job.Executors
	links *links
	from  string
}

func (w *wire) Launch(ctx context.Context, to job.Peer, l *job.Launch) (*job.LaunchResult, error) {
	if err := w.links.check(w.from, to.Name); err != nil {
		return nil, err
	}
	return w.Executors.Launch(ctx, to, l)
}

func (w *wire) Fetch(ctx context.Context, to job.Peer, f *job.Fetch, each func(int, []byte) error) error {
	if err := w.links.check(w.from, to.Name); err != nil {
		return err
	}
	return w.Executors.Fetch(ctx, to, f, each)
}

func (w *wire) Get(ctx context.Context, to job.Peer, b id.Block) (job.BlockData, error) {
	if err := w.links.check(w.from, to.Name); err != nil {
		return job.BlockData{}, err
	}
	return w.Executors.Get(ctx, to, b)
}

// Two executors that both reach the driver and not each other must not hold up a batch, and the next one must not find
// out again. Blocks are on one of them only, or on both.
func TestWorkGoesOnWhereTwoExecutorsDoNotReachEachOther(t *testing.T) {
	for name, tt := range map[string]struct {
		nodes   int
		a, b    string // cut off from each other; n1 is the coordinator
		first   []int
		second  []int
		unasked bool // the next batch asks nothing over the cut
	}{
		"neither coordinates":                       {3, "n2", "n3", []int{1, 2}, []int{2, 1}, true},
		"neither coordinates, blocks with one copy": {3, "n2", "n3", []int{1}, []int{2}, false},
		"one coordinates":                           {3, "n1", "n2", []int{0, 1}, []int{1, 0}, false},
		"there are but two":                         {2, "n1", "n2", []int{0, 1}, []int{1, 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			graph := &executortest.WordCount{Reducers: 6, Depth: 1}
			c := newCluster(t, tt.nodes, graph)
			c.links.sever(tt.a, tt.b)
			c.driver.Send(c.nodes[0].store, c.batch(1000, 50, 60, c.put("a b c d", tt.first...), c.put("b d e", tt.second...)))
			if r := c.report(1000); r.Error != "" || r.Tries != 1 {
				t.Errorf("report is %+v, expected success without user errors", r)
			}
			wantWords(t, c, graph.Results.Words(0, 1000), executortest.Count("a b c d", "b d e"))
			before := c.links.stopped()
			c.driver.Send(c.nodes[0].store, c.batch(2000, 50, 61, c.put("a b", tt.first...), c.put("b c", tt.second...)))
			if r := c.report(2000); r.Error != "" {
				t.Error(r.Error)
			}
			wantWords(t, c, graph.Results.Words(0, 2000), executortest.Count("a b", "b c"))
			if after := c.links.stopped(); before == 0 || tt.unasked && after != before {
				t.Errorf("the first batch ran into the cut %d times, the second one %d times", before, after-before)
			}
		})
	}
}
