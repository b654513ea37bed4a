// Package coordinator runs batches: it cuts lineage into stages, stages into tasks, sends them to executors, and
// commits outputs. It knows who holds which keyed state, has it checkpointed, and has it made again where it got lost;
// and it plans what batches read of direct streams. It is engine internals, without compatibility promise.
//
// It promises that batches of an application run in time order, one at a time, that work in flight is not repeated when
// it is ordered again, that only user errors count as tries (rule 8), that a batch which is superseded ends without a
// report (rule 1), and that every task goes on from state that the ledger knows as committed (rule 7). It must not know
// the ledger, what state or plans hold, nor how launches and reports travel.
package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// MaxOrders bounds the batches of one application that wait. The driver sends a few ahead; more is a broken invariant.
const MaxOrders = 64

// Config is what a Coordinator needs. All fields are required. Funcs with a ctx may block until it ends.
type Config struct {
	Build string // build id of this binary: a batch runs on executors of this one only
	Graph func(job.App) (dataset.App, error)
	// Guard runs user code, so that neither panic nor Goexit of it leaves.
	Guard     func(ctx context.Context, app dataset.App, f func() error) *job.TaskError
	Executors job.Executors
	// Self gives the session of this executor.
	Self func() id.Session
	// Peers gives the table of open sessions, and a channel that is closed when there is another one.
	Peers func() (*job.Peers, <-chan struct{})
	// Report sends a report and repeats it until a driver answers Done or Refused.
	Report func(ctx context.Context, r *job.BatchReport) (job.Reply, error)
	// History gives what keyed state is computed from again for the batch at before (job.HistoryRequest). Called for
	// applications with keyed state alone, at most once per batch and again while the batch waits.
	History func(ctx context.Context, app id.App, before id.Time) (*job.History, error)
	// Checkpoint sends a report of checkpointed state and repeats it until a driver answers Done or Refused.
	Checkpoint func(ctx context.Context, r *job.CheckpointReport) (job.Reply, error)
	// Positions gives the positions of a direct stream (job.PositionsRequest).
	Positions func(ctx context.Context, app id.App, stream id.Stream) ([]connector.Range, error)
	// Planned sends what was planned for direct streams and repeats it until a driver answers.
	Planned func(ctx context.Context, p *job.SourcesPlanned) error
	Logger  *slog.Logger
}

// Coordinator holds the offices of this executor. Its methods may be called concurrently and do not block, Stop apart.
type Coordinator struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	open     bool
	apps     map[id.App]*app
	suspects map[id.Session]suspect
	workers  int
	idle     chan struct{} // closed when workers comes to 0; nil while it is 0
}

// New makes a coordinator that takes no orders until Open.
func New(c Config) *Coordinator {
	return &Coordinator{cfg: c, log: c.Logger, apps: map[id.App]*app{}, suspects: map[id.Session]suspect{}}
}

// Status says what the coordinator does for one application.
type Status struct {
	App     id.App
	Time    id.Time
	Attempt id.Attempt
	Stage   string // what runs
	Waiting string // why nothing runs, "" while something does
}

// Open takes orders from now on.
func (c *Coordinator) Open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = true
}

// Stop gives up every office: nothing is reported any more. It waits until nothing runs or ctx ends.
func (c *Coordinator) Stop(ctx context.Context) error {
	c.mu.Lock()
	c.open = false
	for _, a := range c.apps {
		a.drop(errOver)
	}
	c.apps = map[id.App]*app{}
	idle, n := c.idle, c.workers
	c.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d runs of batches and plans did not stop: %w", n, context.Cause(ctx))
	}
}

// Order takes the order to run a batch. The same order again joins the run, which takes the stores that it names, or
// sends the finished report again; a newer attempt or office replaces it; an older one is refused (rule 1).
func (c *Coordinator) Order(b *job.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return
	}
	a := c.in(b.App.ID, b.Authority.Office)
	if why := a.take(b); why != "" {
		c.log.Warn("order of a batch not taken", "app", b.App.Name, "batch", int64(b.Time),
			"attempt", uint64(b.Authority.Attempt), "reason", why)
	}
	c.start(a)
}

// in gives the application; its orders are dropped if the office is a newer one. The lock is held.
func (c *Coordinator) in(of id.App, office id.Office) *app {
	a := c.apps[of]
	if a == nil {
		a = newApp()
		c.apps[of] = a
	}
	if office > a.office {
		a.drop(errSuperseded)
		a.office = office
	}
	return a
}

// begin counts a goroutine that Stop waits for, end takes it off. The lock is held.
func (c *Coordinator) begin() {
	if c.workers++; c.workers == 1 {
		c.idle = make(chan struct{})
	}
}

func (c *Coordinator) end() {
	if c.workers--; c.workers == 0 {
		close(c.idle)
		c.idle = nil
	}
}

// Completed says that the ledger has every batch of the application up to the time.
func (c *Coordinator) Completed(of id.App, upTo id.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.apps[of]
	if a == nil || upTo <= a.done {
		return
	}
	a.done = upTo
	a.queue = slices.DeleteFunc(a.queue, func(b *job.Batch) bool { return b.Time <= upTo })
	maps.DeleteFunc(a.finished, func(t id.Time, _ *finished) bool { return t <= upTo })
	if cur := a.current; cur != nil && cur.batch.Time <= upTo && !cur.reporting && !cur.aside {
		cur.stop(errCompleted) // the answer to a report says whose run it was that completed the batch
	}
}

// Ended says that the application is over.
func (c *Coordinator) Ended(of id.App) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.apps[of]; a != nil {
		a.drop(errEnded)
		delete(c.apps, of)
	}
}

// Status lists what runs, in order of application.
func (c *Coordinator) Status() []Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Status
	for _, a := range c.apps {
		if a.current != nil {
			all = append(all, a.current.status)
		}
	}
	slices.SortFunc(all, func(x, y Status) int { return cmp.Compare(x.App, y.App) })
	return all
}
