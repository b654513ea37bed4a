// Package executor composes what computes on one node: the control stream to the leading driver, receivers and their
// blocks, tasks and their buckets, and the coordinator of the applications whose office it holds. It is engine
// internals, without compatibility promise. It promises that everything runs under a session, stops when the session
// is over (rule 3), goes on while no driver can be reached, and is joined when Run returns. It must not know the
// ledger, Raft or how messages travel.
package executor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/control"
	"github.com/raftstream/raftstream/executor/coordinator"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/persist"
	"github.com/raftstream/raftstream/executor/pieces"
	"github.com/raftstream/raftstream/executor/shuffle"
	"github.com/raftstream/raftstream/executor/state"
	"github.com/raftstream/raftstream/executor/task"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// stopPatience bounds the wait for user code that does not look at its context when a session ends or the process
	// leaves.
	stopPatience = 3 * time.Second
	// drainPatience bounds the wait for receivers that store and report what they hold when the process leaves.
	drainPatience = 3 * time.Second
	// maxProgress bounds the notices of progress that wait for the disk; more make the control stream wait.
	maxProgress = 256
)

// Config is what an Executor needs. All fields without a remark are required.
type Config struct {
	Store      id.Store // identity of the node's data directory
	Generation uint64   // of this start: higher than at every earlier start of the store
	Name       string   // of the node
	Addr       string   // host:port at which peers reach Server
	Slots      int      // tasks that run at a time
	Build      string   // build id of this binary

	Dialer    job.Dialer
	Executors job.Executors
	Builder   dataset.Builder
	Blocks    *blocks.Store // opened and closed by the caller

	Cluster func() string              // cluster id of the store, "" for none yet; optional, but for buckets
	Stamp   func(cluster string) error // stamps it; optional

	// Bucket opens the bucket of a URL, for checkpoints of applications that ask for one; optional, such an application's
	// checkpoints fail without.
	Bucket func(ctx context.Context, url string) (pieces.Bucket, error)

	BucketBytes int64           // limit of shuffle buckets in memory, 0 for shuffle.DefaultLimit
	Persist     persist.Config  // where partitions of persisted datasets are kept; without its Logger
	Receivers   ReceiverOptions // optional
	Logger      *slog.Logger
}

// Executor is one node's executor.
type Executor struct {
	cfg       Config
	log       *slog.Logger
	session   atomic.Uint64 // id.Session, set before anything works under it
	peers     *peers
	graphs    *graphs
	buckets   *shuffle.Store
	states    *state.Store   // survives sessions: what it holds is named by its version
	kept      *persist.Store // survives sessions, as states does
	pieces    *pieces.Store
	store     *blocks.Replicator
	reader    *task.Blocks
	tasks     *task.Runner
	batches   *coordinator.Coordinator
	control   *control.Control
	receivers *receivers
	copies    *copies
	progress  chan *job.Progress
	stopping  chan struct{} // closed when Run is about to return
}

// New composes an executor. It does nothing before Run.
func New(c Config) (*Executor, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Persist.Logger = c.Logger
	kept, err := persist.New(c.Persist)
	if err != nil {
		return nil, fmt.Errorf("executor: %w", err)
	}
	e := &Executor{
		cfg: c, log: c.Logger,
		graphs:   newGraphs(c.Builder, c.Build),
		buckets:  shuffle.NewStore(c.BucketBytes),
		states:   state.New(c.Logger),
		kept:     kept,
		pieces:   pieces.New(pieces.Config{Open: c.Bucket, Cluster: c.Cluster, Logger: c.Logger}),
		progress: make(chan *job.Progress, maxProgress),
		stopping: make(chan struct{}),
	}
	e.peers = newPeers(func() id.Session { return id.Session(e.session.Load()) })
	e.store = &blocks.Replicator{Self: c.Store, Local: c.Blocks.Put, Peers: e.peers.list, Remote: c.Executors, Logger: c.Logger}
	e.reader = &task.Blocks{Store: c.Store, Local: c.Blocks.Get, Peer: e.peers.ofStore, Executors: c.Executors}
	e.tasks = task.New(task.Config{
		Slots: c.Slots, Graph: e.graphs.get, Logger: c.Logger, Blocks: e.reader, States: keyed{e.states}, Kept: e.kept, Store: e.storePiece, Pieces: e.pieces,
		Shuffles: exchange{e.buckets, &shuffle.Reader{Store: e.buckets, Peers: e.peers, Executors: c.Executors}},
	})
	e.control = control.New(control.Config{
		Dialer: c.Dialer, Cluster: c.Cluster, Stamp: c.Stamp, Handler: (*handler)(e), Logger: c.Logger,
		Hello: job.Hello{Store: c.Store, Generation: c.Generation, Name: c.Name, Addr: c.Addr, Slots: c.Slots, Build: c.Build},
	})
	e.batches = coordinator.New(e.coordination())
	e.copies = newCopies(e)
	e.receivers = newReceivers(e)
	return e, nil
}

func (c *Config) check() error {
	switch {
	case c.Store == "":
		return errors.New("executor: no store id is given")
	case c.Slots < 1:
		return fmt.Errorf("executor: %d slots, at least 1 is expected", c.Slots)
	case c.Dialer == nil || c.Executors == nil || c.Builder == nil || c.Blocks == nil || c.Logger == nil:
		return errors.New("executor: Dialer, Executors, Builder, Blocks and Logger are required")
	}
	return nil
}

// guard is task.Guard for the coordinator.
func guard(ctx context.Context, app dataset.App, f func() error) *job.TaskError {
	if fault := task.Guard(ctx, app, f); fault != nil {
		return fault.Err
	}
	return nil
}

// exchange is where tasks put and read buckets.
type exchange struct {
	*shuffle.Store
	*shuffle.Reader
}

// keyed is where tasks read keyed state.
type keyed struct{ *state.Store }

// Restore implements task.States.
func (keyed) Restore(app id.App, at job.Held, into dataset.State, chunks iter.Seq2[[]byte, error]) error {
	return state.Restore(app, at, into, chunks)
}

// storePiece keeps a piece of a checkpoint as blocks are kept.
func (e *Executor) storePiece(ctx context.Context, d job.BlockData, factor int) ([]id.Store, error) {
	return e.store.Store(ctx, d, factor, nil)
}

// Run works until ctx ends, then leaves in order: receivers store and report what they hold, batches and tasks stop,
// the control stream closes. Everything has ended when it returns. The error says that the store does not belong to
// the cluster that was found (rule 2), or that something did not end in time.
func (e *Executor) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running sync.WaitGroup
	refused := make(chan error, 1)
	running.Go(func() { refused <- e.control.Run(work) })
	running.Go(func() { e.clean(work) })
	running.Go(func() { e.pieces.Run(work) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-refused:
	}
	e.receivers.drain(work) // what they hold still needs the control stream
	close(e.stopping)
	stop()
	running.Wait() // from here on no order and no session begins anything
	return errors.Join(err, e.stop(context.WithoutCancel(ctx)), e.pieces.Close())
}

// stop ends what works under the session, without a trace. Contexts of tasks end before their buckets are dropped. Keyed
// state stays: a version is what it is, whatever session made it.
func (e *Executor) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	e.session.Store(0)
	err := errors.Join(e.receivers.stop(ctx), e.copies.stop(ctx), e.batches.Stop(ctx), e.tasks.Stop(ctx))
	e.buckets.Clear()
	return err
}

// Push hands what a client sends to the receiver of the stream, if its instance runs here: job.ErrNoReceiver if not.
// The answer comes by p.Reply; an error says that it was not handed over.
func (e *Executor) Push(ctx context.Context, app id.App, stream id.Stream, p connector.Push) error {
	return e.receivers.push(ctx, app, stream, p)
}

// Receivers lists the receiver instances that run here, in order.
func (e *Executor) Receivers() []ReceiverStatus { return e.receivers.status() }

// Status is what an executor does, for display.
type Status struct {
	Control control.Status
	Tasks   int // that hold a slot
	Buckets shuffle.Stats
	Blocks  blocks.Stats
	States  state.Stats          // keyed state
	Kept    persist.Stats        // partitions of persisted datasets
	Copies  int                  // blocks and pieces of checkpoints that are being copied here, as the driver ordered
	Batches []coordinator.Status // of the applications whose coordinator it is
}

// Status gives the present state.
func (e *Executor) Status() Status {
	return Status{
		Control: e.control.Status(), Tasks: e.tasks.Running(), Buckets: e.buckets.Stats(), Blocks: e.cfg.Blocks.Stats(),
		States: e.states.Stats(), Kept: e.kept.Stats(), Copies: e.copies.waiting(), Batches: e.batches.Status(),
	}
}
