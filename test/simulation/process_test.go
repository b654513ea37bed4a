package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor"
	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/pieces"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/bucket"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/batches"
	"github.com/raftstream/raftstream/internal/driver/cleaning"
	"github.com/raftstream/raftstream/internal/driver/coordinators"
	"github.com/raftstream/raftstream/internal/driver/executors"
	"github.com/raftstream/raftstream/internal/driver/rates"
	"github.com/raftstream/raftstream/internal/driver/receivers"
	"github.com/raftstream/raftstream/internal/driver/repair"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/raftnode"
	"github.com/raftstream/raftstream/internal/vfs"
)

var errDead = errors.New("the process is dead")

// node is a place: its disks outlive its processes.
type node struct {
	name string // of the place: another node has it when the disks are replaced
	id   string // of the disks: Raft's server id and the store's

	mu         sync.Mutex
	fs         *vfs.Mem
	disk       *raftnode.MemoryDisk
	generation uint64 // of the last process
	stamped    bool   // Raft's state was made here
	cluster    string
	wall       time.Duration // what the wall clock is ahead
	process    *process      // nil: none runs
}

func newNode(name, id string) *node {
	return &node{name: name, id: id, fs: vfs.NewMem(), disk: raftnode.NewMemoryDisk()}
}

func (n *node) disks() (*vfs.Mem, *raftnode.MemoryDisk) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fs, n.disk
}

func (n *node) addr() string    { return n.name + ":1" }
func (n *node) store() id.Store { return id.Store(n.id) }

func nameOf(addr string) string { return addr[:len(addr)-len(":1")] }

func (n *node) belongs() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cluster
}

func (n *node) stamp(cluster string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cluster != "" && cluster != "" && n.cluster != cluster {
		return fmt.Errorf("node %s belongs to cluster %s, not to %s", n.name, n.cluster, cluster)
	}
	if cluster != "" {
		n.cluster = cluster
	}
	return nil
}

func (n *node) running() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

func (n *node) hasRaft() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stamped
}

func (n *node) stampRaft() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stamped = true
	return nil
}

func (n *node) wallClock() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Add(n.wall)
}

// process is one life of a node, wired as package cli does it.
type process struct {
	sim      *sim
	node     *node
	start    uint64 // of the node: its generation
	stream   *stream
	raft     *raftnode.Node
	hub      *driver.Hub
	driver   *driver.Driver
	blocks   *blocks.Store
	executor *executor.Executor
	evidence *evidence

	once     sync.Once          // closes dead
	dead     chan struct{}      // closed when nothing of it is heard any more
	leave    context.CancelFunc // of the driver and what is beside it
	leaveNow context.CancelFunc // of the executor
	running  sync.WaitGroup     // the driver and what is beside it
	ended    chan error         // of the executor

	mu    sync.Mutex
	wires map[*wire]bool
}

func (p *process) alive() bool {
	select {
	case <-p.dead:
		return false
	default:
		return true
	}
}

func (p *process) keep(w *wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wires[w] = true
}

func (p *process) forget(w *wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.wires, w)
}

func (p *process) links() (all []*wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.wires {
		all = append(all, w)
	}
	return all
}

// fatal is where a process ends itself. It does not return while somebody could hear of it.
func (p *process) fatal(err error) {
	if p.alive() {
		p.sim.fatal(p, err)
		<-p.dead
	}
}

// start begins a life of a node.
func (s *sim) start(n *node) {
	n.mu.Lock()
	n.generation++
	generation := n.generation
	n.mu.Unlock()
	p := &process{
		sim: s, node: n, start: generation, dead: make(chan struct{}), ended: make(chan error, 1), wires: map[*wire]bool{},
		evidence: newEvidence(), stream: s.streams.open(n.name, n.addr()),
	}
	log := s.logger(n.name)
	if err := p.open(log); err != nil {
		s.Fatalf("start node %s for the %d. time: %v", n.name, generation, err)
	}
	work, leave := context.WithCancel(context.Background())
	p.leave = leave
	p.running.Go(func() {
		if err := p.raft.Bootstrap(work); err != nil {
			if work.Err() == nil && p.alive() {
				s.Errorf("bootstrap of %s: %v", n.name, err)
			}
			return
		}
		if err := p.raft.Membership(work); err != nil {
			s.Errorf("membership of %s: %v", n.name, err)
		}
	})
	p.running.Go(func() {
		if err := p.driver.Run(work); !errors.Is(err, context.Canceled) {
			s.Errorf("driver of %s ended with %v", n.name, err)
		}
	})
	s.local.Add(n.addr(), p.executor.Server())
	ctx, stop := context.WithCancel(context.Background())
	p.leaveNow = stop
	go func() { p.ended <- p.executor.Run(ctx) }()
	n.mu.Lock()
	n.process = p
	n.mu.Unlock()
}

// open makes what a process consists of.
func (p *process) open(log *slog.Logger) (err error) {
	s, n := p.sim, p.node
	fs, disk := n.disks()
	p.raft, err = raftnode.Open(raftnode.Config{
		ID: n.id, Name: n.name, Addr: n.addr(), Expect: s.drawn.nodes, Cluster: n.belongs(), Stream: p.stream, Disk: disk,
		HasState: n.hasRaft(), StampState: n.stampRaft,
		HeartbeatTimeout: s.drawn.heartbeat, ElectionTimeout: s.drawn.heartbeat, LeaseTimeout: s.drawn.heartbeat,
		SnapshotThreshold: 20, SnapshotInterval: 2 * time.Second, TrailingLogs: 5,
		Candidates: s.candidates, Fatal: p.fatal, Logger: log,
		Applied: func(v fsm.View, data []byte, results []fsm.Result) { s.ledger.applied(p, v, data, results) },
	})
	if err != nil {
		return err
	}
	p.blocks, err = blocks.Open(blocks.Config{
		FS: fs, Dir: "wal", Store: n.store(), Logger: log, SegmentBytes: s.drawn.segment, ReserveBytes: 256,
		Fatal: p.fatal,
	})
	if err != nil {
		return err
	}
	p.openDriver(log)
	p.executor, err = executor.New(executor.Config{
		Store: n.store(), Generation: p.start, Name: n.name, Addr: n.addr(), Slots: 2, Build: "build",
		Dialer: p, Executors: peers{p}, Builder: builder{p}, Blocks: p.blocks, Logger: log,
		Cluster: n.belongs, Stamp: n.stamp, Bucket: p.openBucket,
	})
	return err
}

func (p *process) openDriver(log *slog.Logger) {
	s, n := p.sim, p.node
	clock := batches.NewClock(n.id, p.raft.Stats().LastIndex).WithWall(n.wallClock)
	p.hub = driver.NewHub(p.raft, log)
	limits := driver.NewLimits()
	sessions := executors.New(p.hub, p.refuses, log)
	if s.drawn.watch {
		sessions = sessions.With(p.evidence)
	}
	p.driver = driver.New(driver.Config{
		Raft: p.raft, Hub: p.hub, Node: n.id, Name: n.name, Addr: n.addr(), Logger: log,
		Observe: func(v fsm.View) {
			clock.Missed(p.raft.Missed())
			clock.Observe(v)
			if err := n.stamp(v.Cluster()); err != nil {
				s.Error(err)
			}
		},
		Duties: []driver.Duty{
			sessions, receivers.New(p.hub, log).With(limits), coordinators.New(p.hub, log),
			batches.New(p.hub, clock, log).With(limits), cleaning.New(p.hub, log), repair.New(p.hub, log),
			rates.New(p.hub, limits, log),
		},
	})
}

func (p *process) openBucket(ctx context.Context, url string) (pieces.Bucket, error) {
	b, err := bucket.Open(ctx, url, p.sim.bucket)
	if err != nil {
		return nil, err
	}
	return &shared{b, p}, nil
}

// refuses tells the sessions duty whether nobody listens at an address.
func (p *process) refuses(ctx context.Context, addr string) bool {
	name := nameOf(addr)
	if name == p.node.name {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	for _, l := range []*line{p.sim.net.line(controlPlane, p.node.name, name), p.sim.net.line(controlPlane, name, p.node.name)} {
		if broken, err := l.pass(ctx); broken || err != nil {
			return false
		}
	}
	return p.sim.running(name) == nil
}

// end makes the process dead: nothing of it is heard any more.
func (p *process) end() {
	p.once.Do(func() {
		close(p.dead)
		p.node.mu.Lock()
		if p.node.process == p {
			p.node.process = nil
		}
		p.node.mu.Unlock()
		p.sim.local.Remove(p.node.addr())
		p.stream.die()
	})
}

// kill ends a process as SIGKILL, or a power cut, would. What is left of it is cleared away beside everything else.
func (s *sim) kill(p *process) {
	if !p.alive() {
		return
	}
	n := p.node
	p.end() // before its disks are taken: what it acknowledged until here is on them
	s.rngMu.Lock()
	n.mu.Lock()
	n.fs, n.disk = n.fs.Crash(s.rng), n.disk.Crash(s.rng)
	n.mu.Unlock()
	s.rngMu.Unlock()
	s.tell(p)
	s.work.Go(func() { p.clear() })
}

// clear ends the goroutines of a dead process.
func (p *process) clear() {
	p.leave()
	p.leaveNow()
	<-p.ended
	p.running.Wait()
	_ = p.raft.Close()   // what a dead process meets says nothing
	_ = p.blocks.Close() // the same
}

// terminate ends a process in order, as SIGTERM does.
func (s *sim) terminate(p *process) {
	p.leaveNow()
	select {
	case err := <-p.ended:
		p.ended <- err
	case <-p.dead:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_ = p.raft.Transfer(ctx) // the others elect a leader without
	if !p.alive() {
		return
	}
	p.leave()
	p.running.Wait()
	if !p.alive() {
		return
	}
	raftErr, blocksErr := p.raft.Close(), p.blocks.Close()
	if !p.alive() {
		return // it was killed meanwhile
	}
	if err := errors.Join(raftErr, blocksErr); err != nil && !s.faulty(p.node) {
		s.Errorf("node %s ended with %v", p.node.name, err)
	}
	p.end()
	s.tell(p)
}

// tell lets the other processes know of an end, as the election watch does, where word of it gets through.
func (s *sim) tell(p *process) {
	lost := time.Now()
	for _, n := range s.places() {
		q := s.running(n.name)
		if q == nil || !s.drawn.watch {
			continue
		}
		s.work.Go(func() {
			for range 2 { // the connection ends, and a dial is refused
				if _, err := s.net.line(controlPlane, p.node.name, q.node.name).pass(context.Background()); err != nil {
					return
				}
			}
			if !q.alive() {
				return
			}
			q.evidence.add(p.node.store(), p.start)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			q.raft.Succeed(ctx, p.node.id, lost, s.lives)
		})
	}
}

// evidence implements executors.Evidence.
type evidence struct {
	mu      sync.Mutex
	dead    map[id.Store]uint64 // highest generation that is over
	changed chan struct{}
}

func newEvidence() *evidence {
	return &evidence{dead: map[id.Store]uint64{}, changed: make(chan struct{})}
}

func (e *evidence) add(store id.Store, generation uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead[store] = max(e.dead[store], generation)
	close(e.changed)
	e.changed = make(chan struct{})
}

// Dead implements executors.Evidence.
func (e *evidence) Dead(s id.Store, generation uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return generation <= e.dead[s]
}

// Changed implements executors.Evidence.
func (e *evidence) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// lives reports whether the process of a server lives.
func (s *sim) lives(server string) bool {
	return slices.ContainsFunc(s.places(), func(n *node) bool { return n.id == server && s.running(n.name) != nil })
}

// running gives the process of a node, nil for none.
func (s *sim) running(name string) *process {
	return s.place(name).running()
}
