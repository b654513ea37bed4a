package streamtest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"slices"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/executor"
	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/local"
	"github.com/raftstream/raftstream/executor/persist"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
	"github.com/raftstream/raftstream/internal/vfs"
	"github.com/raftstream/raftstream/jobgen"
)

const (
	program   = "streamtest"
	executors = 2
	slots     = 2
	build     = "streamtest"
	// persistBytes is so little that programs under test meet persisted partitions that are in files or not kept.
	persistBytes = 16 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// cluster is a ledger and two executors. One goroutine uses it. It knows no testing.TB: that belongs to the goroutine of
// the test, and what goes wrong elsewhere ends ctx.
type cluster struct {
	ctx      context.Context // of the whole run; its cause is a fault of an executor
	fault    context.CancelCauseFunc
	c        config
	feeds    []feed
	programs *dstream.Registry
	log      *slog.Logger

	ledger *ledger
	app    id.App
	graph  dataset.App // of the test itself, to know what has a dataset
	disks  []*vfs.Mem  // what outlives a restart
	epochs uint64      // generation of executors
	lost   int         // executors that died with their disks

	// Below is volatile.
	driver    *leader
	network   *local.Network
	nodes     []*node
	volatile  context.Context
	cancel    context.CancelFunc
	instances map[id.Stream]*instance
}

// node is one executor.
type node struct {
	id    id.Store
	addr  string
	store *blocks.Store
	end   context.CancelFunc
	done  chan error // of Run
}

// instance is the receiver instance under which the cluster stores blocks of a stream.
type instance struct {
	id   id.Instance
	last uint64
}

// start makes a cluster with the application submitted.
func start(c config, feeds []feed, programs *dstream.Registry) (*cluster, error) {
	cl := &cluster{
		c: c, feeds: feeds, programs: programs, ledger: newLedger(),
		log: slog.New(slog.DiscardHandler), // what matters is in the errors of batches
	}
	cl.ctx, cl.fault = context.WithCancelCause(context.Background())
	for range executors {
		cl.disks = append(cl.disks, vfs.NewMem())
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	spec := dataset.Spec{Name: program, BatchMS: c.interval.Milliseconds(), Partitions: c.partitions}
	graph, err := programs.Build(spec)
	if err != nil {
		return nil, err
	}
	cl.graph = graph
	if n := len(cl.received()); n != len(feeds) {
		return nil, fmt.Errorf("the graph has %d streams with receivers, and there is input for %d: receivers do not run here", n, len(feeds))
	}
	if err := cl.ledger.lead(); err != nil {
		return nil, err
	}
	if _, err := cl.ledger.propose(&fsm.ClusterNamed{Cluster: "streamtest"}); err != nil {
		return nil, err
	}
	submitted, err := cl.ledger.propose(submission(spec, graph.Plan()))
	if err != nil {
		return nil, err
	}
	cl.app = id.App(submitted.Index)
	if err := cl.up(); err != nil {
		return nil, errors.Join(err, cl.stop())
	}
	return cl, nil
}

func submission(s dataset.Spec, p *plan.Plan) fsm.Command {
	c := driver.SubmissionOf(s, p)
	c.Name, c.Params, c.Build, c.Factor = program, []byte("{}"), build, executors
	c.BlockMS = max(s.BatchMS, fsm.MinIntervalMS)
	return c
}

// up starts everything volatile: executors over what their disks hold, then sessions, receivers and the coordinator.
func (cl *cluster) up() error {
	cl.volatile, cl.cancel = context.WithCancel(cl.ctx)
	cl.epochs++
	cl.driver = newLeader(cl.ledger, cl.app)
	cl.network = local.NewNetwork()
	cl.nodes = make([]*node, executors)
	cl.instances = map[id.Stream]*instance{}
	for i, disk := range cl.disks {
		if err := cl.launch(cl.volatile, i, disk); err != nil {
			return err
		}
	}
	if err := cl.driver.ready(cl.ctx, executors); err != nil {
		return fmt.Errorf("executors do not connect: %w", err)
	}
	if err := cl.schedule(); err != nil {
		return err
	}
	return cl.assign()
}

// launch opens the store of executor i and runs the executor.
func (cl *cluster) launch(ctx context.Context, i int, disk vfs.FS) error {
	of := id.Store(fmt.Sprintf("%016x", i+1))
	if i == 0 {
		of = id.Store(fmt.Sprintf("%016x", executors+cl.lost+1)) // a lost store never comes back
	}
	name := "executor-" + string(of)
	store, err := blocks.Open(blocks.Config{
		FS: disk, Dir: "/wal", Store: of, Logger: cl.log,
		Fatal: func(err error) { cl.fault(fmt.Errorf("%s: %w", name, err)) },
	})
	if err != nil {
		return err
	}
	n := &node{id: of, addr: name, store: store, done: make(chan error, 1)}
	ctx, n.end = context.WithCancel(ctx)
	e, err := executor.New(executor.Config{
		Store: of, Generation: cl.epochs, Name: name, Addr: name, Slots: slots, Build: build,
		Dialer: cl.driver, Executors: cl.network, Builder: cl.programs, Blocks: store, Logger: cl.log,
		Persist: persist.Config{FS: disk, Dir: "/kept", MemoryBytes: persistBytes},
	})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	cl.network.Add(name, e.Server())
	cl.nodes[i] = n
	go func() { n.done <- e.Run(ctx) }() // down waits for it
	return nil
}

// received lists the input streams that are not read directly: there is a feed for each, in this order.
func (cl *cluster) received() (inputs []plan.Input) {
	for _, in := range cl.graph.Plan().Inputs {
		if in.Receiver {
			inputs = append(inputs, in)
		}
	}
	return inputs
}

// schedule makes the receiver instances of all input streams. They belong to the first executor, which is not told:
// the cluster itself stores their blocks.
func (cl *cluster) schedule() error {
	s, ok := cl.ledger.view().SessionOf(cl.nodes[0].id)
	if !ok {
		return errors.New("the first executor has no session")
	}
	for _, in := range cl.received() {
		var prev id.Instance
		if r, ok := cl.ledger.view().Receiver(cl.app, in.Stream); ok {
			prev = r.Instance
		}
		granted, err := cl.ledger.propose(&fsm.ReceiverScheduled{App: cl.app, Stream: in.Stream, Session: s.ID, Prev: prev})
		if err != nil {
			return err
		}
		n := id.Instance(granted.Index)
		if _, err := cl.ledger.propose(&fsm.ReceiverRegistered{App: cl.app, Stream: in.Stream, Instance: n, Session: s.ID}); err != nil {
			return err
		}
		cl.instances[in.Stream] = &instance{id: n}
	}
	return nil
}

// assign gives the office of the coordinator to the last executor, which has no receivers.
func (cl *cluster) assign() error {
	s, ok := cl.ledger.view().SessionOf(cl.nodes[executors-1].id)
	if !ok {
		return errors.New("the last executor has no session")
	}
	a, _ := cl.ledger.view().App(cl.app)
	_, err := cl.ledger.propose(&fsm.CoordinatorAssigned{App: cl.app, Session: s.ID, Prev: a.Office})
	return err
}

// down ends everything volatile and waits for its end.
func (cl *cluster) down() error {
	cl.cancel()
	var err error
	cl.nodes = slices.DeleteFunc(cl.nodes, func(n *node) bool { return n == nil }) // those that did not start
	for _, n := range cl.nodes {
		err = errors.Join(err, <-n.done)
		n.end()
	}
	cl.network.Close()
	for _, n := range cl.nodes {
		err = errors.Join(err, n.store.Close())
	}
	cl.nodes = nil
	return err
}

// stop ends the cluster.
func (cl *cluster) stop() error {
	err := cl.down()
	cl.fault(nil)
	if err != nil {
		return fmt.Errorf("executors do not end: %w", err)
	}
	return nil
}

// restart loses everything that was not committed or synced.
func (cl *cluster) restart() error {
	if err := cl.down(); err != nil {
		return err
	}
	for i := range cl.disks {
		cl.disks[i] = cl.disks[i].Crash(rand.New(rand.NewPCG(1, uint64(i))))
	}
	next, err := cl.ledger.recovered()
	if err != nil {
		return err
	}
	cl.ledger = next
	if err := next.lead(); err != nil {
		return err
	}
	return cl.up()
}

// lose ends the first executor, which does not coordinate, with its memory and its disk, and starts another one in its
// place. Blocks and checkpoints are left with the last one, which holds a copy of everything.
func (cl *cluster) lose() error {
	n := cl.nodes[0]
	cl.network.Remove(n.addr)
	n.end()
	if err := errors.Join(<-n.done, n.store.Close()); err != nil {
		return err
	}
	s, ok := cl.ledger.view().SessionOf(n.id)
	if !ok {
		return errors.New("the executor has no session")
	}
	if _, err := cl.ledger.propose(&fsm.SessionClosed{Session: s.ID, Reason: "lost", NowMS: cl.driver.now.Load()}); err != nil {
		return err
	}
	cl.driver.forget(n.id)
	cl.lost++
	cl.disks[0] = vfs.NewMem()
	if err := cl.launch(cl.volatile, 0, cl.disks[0]); err != nil {
		return err
	}
	if err := cl.driver.ready(cl.ctx, executors); err != nil {
		return fmt.Errorf("the executor in the place of the lost one does not connect: %w", err)
	}
	return cl.schedule()
}

// batch runs batch n and gives the number of partitions of the output's dataset, -1 if there is none.
func (cl *cluster) batch(n int) (parts int, err error) {
	if err := cl.receive(n); err != nil {
		return 0, err
	}
	at := cl.c.at(n)
	cl.driver.now.Store(int64(at))
	for _, c := range jobgen.Due(cl.ledger.view(), func(*fsm.App) id.Time { return at }, int64(at)) {
		if err := cl.plan(c); err != nil {
			return 0, err
		}
		if _, err := cl.ledger.propose(c); err != nil {
			return 0, err
		}
	}
	v := cl.ledger.view()
	a, _ := v.App(cl.app)
	pending := jobgen.Pending(v, a, executors)
	if len(pending) != 1 || pending[0].Time != at {
		return 0, fmt.Errorf("%d batches are pending, expected the one at %d", len(pending), at)
	}
	if err := cl.driver.sendTo(a.Coordinator, driver.OrderOf(v, a, at, cl.ledger.epoch)); err != nil {
		return 0, err
	}
	if err := cl.completed(at); err != nil {
		return 0, err
	}
	if err := cl.clean(); err != nil {
		return 0, err
	}
	outputs := cl.graph.Outputs()
	out := outputs[len(outputs)-1] // op may have made some of its own before
	d, ok, err := cl.graph.Dataset(out.Stream(), at, allocated{v, cl.app})
	if err != nil || !ok {
		return -1, err
	}
	return d.Partitions(), nil
}

// receive stores the blocks of a batch on every executor and adds them to the ledger, partition by partition.
func (cl *cluster) receive(n int) error {
	for i, in := range cl.received() {
		instance := cl.instances[in.Stream]
		for _, b := range cl.feeds[i].blocks(n) {
			instance.last++
			data := job.BlockData{
				ID:      id.Block{App: cl.app, Stream: in.Stream, Instance: instance.id, Number: instance.last},
				Records: 1, CRC: crc32.Checksum(b, castagnoli), Data: b,
			}
			if err := cl.store(data); err != nil {
				return err
			}
		}
	}
	return nil
}

func (cl *cluster) store(b job.BlockData) error {
	v := cl.ledger.view()
	var stores []id.Store
	var session id.Session
	for s := range v.Sessions() {
		if err := cl.network.Put(cl.ctx, job.Peer{Addr: s.Addr}, b); err != nil {
			return fmt.Errorf("store block %v: %w", b.ID, err)
		}
		stores = append(stores, s.Store)
		if s.Store == cl.nodes[0].id {
			session = s.ID
		}
	}
	_, err := cl.ledger.propose(&fsm.BlocksAdded{Session: session, Blocks: []fsm.AddedBlock{{
		ID: b.ID, Records: b.Records, Bytes: int64(len(b.Data)), CRC: b.CRC, Stores: stores,
	}}})
	return err
}

// completed waits for the end of a batch.
func (cl *cluster) completed(at id.Time) error {
	var failure error
	err := cl.ledger.wait(cl.ctx, func(v fsm.View) bool {
		b, ok := v.Batch(cl.app, at)
		switch {
		case !ok:
			failure = errors.New("the ledger does not have the batch")
		case b.State == fsm.BatchFailedState:
			failure = errors.New(b.Error)
		default:
			return b.State == fsm.Completed
		}
		return true
	})
	return errors.Join(failure, err)
}

// clean releases what no later batch reads, and tells the executors how far the application is.
func (cl *cluster) clean() error {
	v := cl.ledger.view()
	a, _ := v.App(cl.app)
	if upTo := driver.CleanableUpTo(v, a); upTo > a.Cleaned {
		if _, err := cl.ledger.propose(&fsm.BatchesCleaned{App: a.ID, UpTo: upTo}); err != nil {
			return err
		}
	}
	v = cl.ledger.view()
	a, _ = v.App(cl.app)
	return cl.driver.send(driver.ProgressOf(v, a, cl.ledger.epoch))
}

// allocated is dataset.Sources over the ledger.
type allocated struct {
	v   fsm.View
	app id.App
}

// Partitions implements dataset.Sources.
func (a allocated) Partitions(s id.Stream, at id.Time) int {
	direct, _ := a.v.Direct(a.app, at, s)
	return max(len(a.v.Input(a.app, at, s)), len(direct.Parts))
}
