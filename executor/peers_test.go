package executor

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func TestPeerThatWasNotHeardOfIsWaitedForAndOneThatIsOverIsNot(t *testing.T) { // rule 3
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(func() id.Session { return 1 })
		p.set(&job.Peers{Index: 50, Peers: []job.Peer{{Session: 40}}})
		if _, err := p.Peer(t.Context(), 30); err == nil {
			t.Error("a session that is over was found")
		}
		got := make(chan error, 1)
		go func() {
			_, err := p.Peer(t.Context(), 60)
			got <- err
		}()
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatalf("a session newer than the table was not waited for: %v", err)
		default:
		}
		p.set(&job.Peers{Index: 55, Peers: []job.Peer{{Session: 40}}})
		p.set(&job.Peers{Index: 70, Peers: []job.Peer{{Session: 60, Store: "s"}}})
		if err := <-got; err != nil {
			t.Error(err)
		}
		p.set(&job.Peers{Index: 65, Peers: nil}) // older: came late
		if _, ok := p.ofStore("s"); !ok {
			t.Error("an older table replaced the newer")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Peer(ctx, 99); err == nil {
			t.Error("the wait did not end with its context")
		}
	})
}

// builds counts builds.
type builds struct {
	executortest.Builder
	n    atomic.Int64
	hold chan struct{}
}

func (b *builds) Build(s dataset.Spec) (dataset.App, error) {
	b.n.Add(1)
	if b.hold != nil {
		<-b.hold
	}
	return b.Builder.Build(s)
}

func TestGraphIsBuiltOnceAndCachesAreBounded(t *testing.T) {
	graph := &executortest.WordCount{Reducers: 1, Depth: 1}
	b := &builds{Builder: executortest.Builder{Graph: graph}, hold: make(chan struct{})}
	g := newGraphs(b, "build")
	app := func(n int) job.App {
		return job.App{ID: id.App(n), Name: fmt.Sprint(n), Spec: dataset.Spec{Name: executortest.Program}, Fingerprint: graph.Plan().Fingerprint()}
	}
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			if _, err := g.get(app(1)); err != nil {
				t.Error(err)
			}
		})
	}
	close(b.hold)
	users.Wait()
	if n := b.n.Load(); n != 1 {
		t.Errorf("the graph was built %d times at once", n)
	}
	for n := range maxGraphs + 10 {
		for _, use := range []int{n + 2, 1} {
			if _, err := g.get(app(use)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(g.apps) != maxGraphs || b.n.Load() != maxGraphs+11 {
		t.Errorf("%d graphs are kept after %d builds, expected %d and the used one among them", len(g.apps), b.n.Load(), maxGraphs)
	}
	wrong := app(1000)
	wrong.Fingerprint = "another"
	for range 2 {
		if _, err := g.get(wrong); err == nil {
			t.Error("another plan was taken")
		}
	}
	if g.apps[wrong.ID] != nil {
		t.Error("a graph that was refused is kept")
	}
}
