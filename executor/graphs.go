package executor

import (
	"context"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/task"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// maxGraphs bounds the graphs that are kept; the one that was not used for longest goes, and is built again if needed.
const maxGraphs = 64

// graphs builds every application's graph once and keeps it while the application lives.
type graphs struct {
	builder dataset.Builder
	build   string // build id of this binary

	mu   sync.Mutex
	apps map[id.App]*graph
	used uint64 // counts uses
}

type graph struct {
	ready chan struct{}
	app   dataset.App
	err   error
	used  uint64
}

func newGraphs(b dataset.Builder, build string) *graphs {
	return &graphs{builder: b, build: build, apps: map[id.App]*graph{}}
}

// get gives the graph of an application. The error is a *job.TaskError of class MismatchFault: this binary does not
// hold the program, or holds another one under its name.
func (g *graphs) get(a job.App) (dataset.App, error) {
	g.mu.Lock()
	g.used++
	e := g.apps[a.ID]
	if e != nil {
		e.used = g.used
		g.mu.Unlock()
		<-e.ready
		return e.app, e.err
	}
	e = &graph{ready: make(chan struct{}), used: g.used}
	g.apps[a.ID] = e
	g.evict()
	g.mu.Unlock()
	e.app, e.err = g.make(a)
	if e.err != nil {
		g.drop(a.ID, e)
	}
	close(e.ready)
	return e.app, e.err
}

func (g *graphs) make(a job.App) (app dataset.App, err error) {
	fault := task.Guard(context.Background(), nil, func() (err error) { // a build function is user code
		app, err = g.builder.Build(a.Spec)
		return err
	})
	mismatch := func(format string, args ...any) error {
		return &job.TaskError{Fault: job.MismatchFault, Text: fmt.Sprintf("application %q (id %d): ", a.Name, a.ID) + fmt.Sprintf(format, args...)}
	}
	if fault != nil {
		return nil, mismatch("program %q cannot be built by this binary (build %s): %v", a.Spec.Name, g.build, fault.Err)
	}
	if here := app.Plan().Fingerprint(); here != a.Fingerprint {
		return nil, mismatch("the plan of program %q has fingerprint %s in this binary (build %s), it was submitted with %s",
			a.Spec.Name, here, g.build, a.Fingerprint)
	}
	return app, nil
}

// evict makes room for one graph; who uses an evicted one goes on with it.
func (g *graphs) evict() {
	if len(g.apps) <= maxGraphs {
		return
	}
	var oldest id.App
	for app, e := range g.apps {
		if o := g.apps[oldest]; o == nil || e.used < o.used {
			oldest = app
		}
	}
	delete(g.apps, oldest)
}

func (g *graphs) drop(app id.App, e *graph) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.apps[app] == e {
		delete(g.apps, app)
	}
}

// cleaned lets the graph forget what it remembers of batches up to the time.
func (g *graphs) cleaned(app id.App, upTo id.Time) {
	if e := g.built(app); e != nil {
		e.app.Forget(upTo + 1)
	}
}

func (g *graphs) built(app id.App) *graph {
	g.mu.Lock()
	e := g.apps[app]
	g.mu.Unlock()
	if e == nil {
		return nil
	}
	select {
	case <-e.ready:
	default:
		return nil
	}
	if e.err != nil {
		return nil
	}
	return e
}

// ended drops the graph of an application that is over.
func (g *graphs) ended(app id.App) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.apps, app)
}
