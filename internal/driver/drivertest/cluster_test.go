package drivertest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is three drivers over real raft in memory, and two workers.
type cluster struct {
	*testing.T
	net     *raftnode.MemoryNetwork
	disks   map[string]*raftnode.MemoryDisk
	workers []*worker

	mu    sync.Mutex
	nodes map[string]*member
}

// member is one node's process.
type member struct {
	name    string
	raft    *raftnode.Node
	hub     *driver.Hub
	driver  *driver.Driver
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func names() []string { return []string{"n1", "n2", "n3"} }

// inBubble runs a test over a fresh cluster in fake time.
func inBubble(t *testing.T, test func(c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{T: t, net: raftnode.NewMemoryNetwork(), nodes: map[string]*member{}, disks: map[string]*raftnode.MemoryDisk{}}
		for _, n := range names() {
			c.disks[n] = raftnode.NewMemoryDisk()
			c.start(n)
		}
		ctx, cancel := context.WithCancel(context.Background())
		for _, n := range []string{"a", "b"} {
			w := &worker{
				dial: c.dial, receivers: map[id.App]*instance{}, acked: map[id.App]int64{},
				hello: job.Hello{Store: id.Store(n), Generation: 1, Name: n, Addr: n + ":1", Slots: 1, Build: "build"},
			}
			c.workers = append(c.workers, w)
			w.done.Go(func() { w.run(ctx) })
		}
		test(c)
		cancel()
		for _, w := range c.workers {
			w.done.Wait()
		}
		for _, n := range names() {
			c.stop(n)
		}
		time.Sleep(time.Minute) // back-offs of raft's end
	})
}

func (c *cluster) candidates() []raftnode.Candidate {
	c.mu.Lock()
	defer c.mu.Unlock()
	var seen []raftnode.Candidate
	for _, m := range c.nodes {
		seen = append(seen, raftnode.Candidate{ID: m.name, Name: m.name, Addr: m.name + ":1", Expect: 3, HasState: m.raft.HasState()})
	}
	return seen
}

// start starts a node over its disk.
func (c *cluster) start(name string) *member {
	c.Helper()
	node, err := raftnode.Open(raftnode.Config{
		ID: name, Name: name, Addr: name + ":1", Expect: 3, Stream: c.net.Stream(name + ":1"), Disk: c.disks[name],
		Candidates: c.candidates, Fatal: func(err error) { c.Errorf("node %s: %v", name, err) },
	})
	if err != nil {
		c.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	m := &member{name: name, raft: node, hub: driver.NewHub(node, quiet)}
	clock := batches.NewClock(name, node.Stats().LastIndex)
	limits := driver.NewLimits()
	m.driver = driver.New(driver.Config{
		Raft: node, Hub: m.hub, Node: name, Name: name, Addr: name + ":1", Observe: clock.Observe, Logger: quiet,
		Duties: []driver.Duty{
			executors.New(m.hub, nil, quiet), receivers.New(m.hub, quiet).With(limits), coordinators.New(m.hub, quiet),
			batches.New(m.hub, clock, quiet).With(limits), cleaning.New(m.hub, quiet), repair.New(m.hub, quiet),
			rates.New(m.hub, limits, quiet),
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.running.Go(func() {
		if err := node.Bootstrap(ctx); err != nil && ctx.Err() == nil {
			c.Error(err)
		}
	})
	m.running.Go(func() {
		if err := m.driver.Run(ctx); !errors.Is(err, context.Canceled) {
			c.Errorf("driver of %s ended with %v", name, err)
		}
	})
	c.mu.Lock()
	c.nodes[name] = m
	c.mu.Unlock()
	return m
}

// stop ends a node's process, if it runs.
func (c *cluster) stop(name string) {
	c.mu.Lock()
	m := c.nodes[name]
	delete(c.nodes, name)
	c.mu.Unlock()
	if m == nil {
		return
	}
	m.cancel()
	m.running.Wait()
	if err := m.raft.Close(); err != nil {
		c.Error(err)
	}
}

// kill ends a node's process as if it were killed: nothing that it still says is heard.
func (c *cluster) kill(name string) {
	c.net.Isolate(name + ":1")
	c.stop(name)
	c.net.Join(name + ":1")
}

// dial finds the leader's hub.
func (c *cluster) dial(ctx context.Context, h job.Hello) (job.Link, error) {
	c.mu.Lock()
	var hubs []*driver.Hub
	for _, m := range c.nodes {
		hubs = append(hubs, m.hub)
	}
	c.mu.Unlock()
	err := job.ErrNotLeader
	for _, hub := range hubs {
		link, failed := hub.Dial(ctx, h)
		if failed == nil {
			return link, nil
		}
		err = failed
	}
	return nil, err
}

// leader waits for a node that leads, other than those given.
func (c *cluster) leader(but ...string) *member {
	c.Helper()
	for range 6000 {
		c.mu.Lock()
		for _, m := range c.nodes {
			if _, leading := m.driver.Leading(); leading && (len(but) == 0 || but[0] != m.name) {
				c.mu.Unlock()
				return m
			}
		}
		c.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	c.Fatal("no leader within a minute")
	return nil
}

// propose proposes to whoever leads until the outcome is known.
func (c *cluster) propose(command fsm.Command) fsm.Result {
	c.Helper()
	for range 1000 {
		r, err := c.leader().driver.Propose(c.Context(), command)
		if err == nil {
			if r.Outcome != fsm.Done {
				c.Fatalf("%T: %s", command, r.Reason)
			}
			return r
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.Fatalf("%T: no answer", command)
	return fsm.Result{}
}

func (c *cluster) submit(batchMS int64) id.App {
	c.Helper()
	return id.App(c.propose(&fsm.ApplicationSubmitted{
		RequestID: "r", Name: "wc", Program: "wordcount", BatchMS: batchMS, BlockMS: 50, Partitions: 1, Factor: 1,
		Build: "build", Inputs: []fsm.InputStream{{Stream: 0, Receiver: true}}, NowMS: time.Now().UnixMilli(),
	}).Index)
}

// app waits for an application to be as wanted, on the leader.
func (c *cluster) app(n id.App, what string, ok func(*fsm.App) bool) *fsm.App {
	c.Helper()
	var a *fsm.App
	for range 30_000 {
		var found bool
		if a, found = c.leader().raft.View().App(n); found && ok(a) {
			return a
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.Fatalf("application is not %s: %+v", what, a)
	return nil
}

// finish stops the application gracefully and checks what must hold then: everything acknowledged is processed, once,
// in batches without gaps (invariants 3, 4, 10), and the nodes have the same state (invariant 11).
func (c *cluster) finish(n id.App) {
	c.Helper()
	c.propose(&fsm.ApplicationStopped{App: n, NowMS: time.Now().UnixMilli()})
	a := c.app(n, "stopped", func(a *fsm.App) bool { return a.State == fsm.Stopped })
	var acked int64
	for _, w := range c.workers {
		w.mu.Lock()
		acked += w.acked[n]
		w.mu.Unlock()
	}
	if a.Received < acked || a.Processed != a.Received || a.Discarded != 0 || acked == 0 {
		c.Errorf("%d records acknowledged, %d received, %d processed, %d discarded", acked, a.Received, a.Processed, a.Discarded)
	}
	if a.Completed != a.Allocated || a.Pending != 0 {
		c.Errorf("allocated up to %d, completed up to %d, %d pending", a.Allocated, a.Completed, a.Pending)
	}
	v := c.leader().raft.View()
	c.Logf("%d records in %d batches, term %d, index %d", a.Processed, (a.Completed-a.ZeroTime)/id.Time(a.BatchMS), v.Leadership().Term, v.Index())
	next := id.Time(0)
	for b := range v.Batches(n, a.ZeroTime) {
		if next != 0 && b.Time != next || b.State != fsm.Completed {
			c.Errorf("batch %d is %v, expected batch %d completed", b.Time, b.State, next)
		}
		next = a.Interval(b.Time, 1)
	}
	for _, name := range names() {
		if c.nodes[name] == nil {
			c.start(name)
		}
	}
	c.agree()
}

// agree waits until all nodes have applied the same and compares their states.
func (c *cluster) agree() {
	c.Helper()
	for range 6000 {
		indexes, hashes := map[uint64]bool{}, map[[32]byte]bool{}
		for _, m := range c.nodes {
			v := m.raft.View()
			indexes[v.Index()], hashes[v.Hash()] = true, true
		}
		if len(indexes) == 1 {
			if len(hashes) != 1 {
				c.Errorf("%d different states at the same index", len(hashes))
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.Error("the nodes do not come to the same index")
}

func TestLeadersAreKilledAndNothingIsLost(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	inBubble(t, func(c *cluster) {
		r := rand.New(rand.NewPCG(seed, 0))
		n := c.submit(200)
		for range 5 {
			time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
			victim := c.leader().name
			c.kill(victim)
			c.leader(victim)
			time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
			c.start(victim)
		}
		c.finish(n)
	})
}

// Rules 1 and 6: a leader that is cut off has no effect any more, and gives up.
func TestLeaderThatIsCutOffIsDeposed(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.submit(200)
		time.Sleep(2 * time.Second)
		old := c.leader()
		epoch, _ := old.driver.Leading()
		c.net.Isolate(old.name + ":1")
		late := make(chan error, 1)
		go func() {
			_, err := old.driver.Propose(c.Context(), &fsm.ApplicationStopped{App: n, Now: true})
			late <- err
		}()
		next := c.leader(old.name)
		if now, _ := next.driver.Leading(); now <= epoch {
			t.Errorf("epoch %d after epoch %d", now, epoch)
		}
		if err := <-late; err == nil {
			t.Error("a leader that is cut off has made a proposal take effect")
		}
		for range 1000 {
			if _, leading := old.driver.Leading(); !leading {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if _, leading := old.driver.Leading(); leading {
			t.Error("the leader that is cut off has not given up")
		}
		c.net.Join(old.name + ":1")
		if a := c.app(n, "there", func(*fsm.App) bool { return true }); a.State != fsm.Running {
			t.Errorf("application is %v: the old leader's proposal took effect", a.State)
		}
		c.finish(n)
	})
}

func TestLeadershipThatMovesInMillisecondsLosesNothing(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.submit(200)
		for moves := 0; moves < 20; {
			moved := c.leader()
			err := moved.raft.Transfer(c.Context())
			if errors.Is(err, id.ErrNotLeader) { // its driver has not noticed yet that it was deposed
				time.Sleep(time.Millisecond)
				continue
			}
			if err != nil {
				t.Fatalf("transfer: %v", err)
			}
			moves++
		}
		time.Sleep(time.Second)
		c.finish(n)
	})
}

func TestShutdownWhileLeadershipIsOpened(t *testing.T) {
	for _, after := range []time.Duration{0, time.Microsecond, 100 * time.Microsecond, time.Millisecond} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			inBubble(t, func(c *cluster) {
				n := c.submit(200)
				time.Sleep(time.Second)
				for range 5 {
					victim := c.leader().name
					c.kill(victim)
					for elected := false; !elected; {
						c.mu.Lock()
						for _, m := range c.nodes {
							if m.raft.IsLeader(m.raft.Term()) {
								elected, victim = true, m.name
							}
						}
						c.mu.Unlock()
						if !elected {
							time.Sleep(100 * time.Microsecond)
						}
					}
					time.Sleep(after)
					for _, name := range names() { // the third one first: two nodes alone would have no majority
						if c.nodes[name] == nil {
							c.start(name)
						}
					}
					c.kill(victim)
					c.start(victim)
				}
				c.finish(n)
			})
		})
	}
}

// Rule 9: after all drivers were down, the wall clock says which batch times have passed; they are all allocated.
func TestAllDriversDownAndUpAgain(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.submit(1000)
		time.Sleep(3500 * time.Millisecond)
		before := c.app(n, "there", func(*fsm.App) bool { return true })
		for _, name := range names() {
			c.kill(name)
		}
		time.Sleep(10 * time.Minute)
		for _, name := range names() {
			c.start(name)
		}
		now := id.At(time.Now())
		a := c.app(n, "back in time", func(a *fsm.App) bool { return a.Allocated >= now })
		if a.Allocated-before.Allocated < 600_000 {
			t.Errorf("allocated from %d to %d", before.Allocated, a.Allocated)
		}
		c.finish(n)
	})
}

// Rules 3 and 4: a dead executor's receiver goes on elsewhere, its office too.
func TestDeadExecutorsWorkGoesOnElsewhere(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.submit(200)
		time.Sleep(2 * time.Second)
		a := c.app(n, "coordinated", func(a *fsm.App) bool { return a.Coordinator != 0 })
		v := c.leader().raft.View()
		r, _ := v.Receiver(n, 0)
		for _, s := range []id.Session{a.Coordinator, r.Session} {
			c.propose(&fsm.SessionClosed{Session: s, NowMS: time.Now().UnixMilli()})
		}
		c.app(n, "coordinated again", func(b *fsm.App) bool { return b.Coordinator != 0 && b.Office > a.Office })
		time.Sleep(time.Second)
		if now, _ := c.leader().raft.View().Receiver(n, 0); now.Instance <= r.Instance {
			t.Errorf("instance %d after instance %d", now.Instance, r.Instance)
		}
		c.finish(n)
	})
}

// Rule 9: a run of empty batches is one entry, for one application or many: the allocations of a moment share entries.
// The times of applications differ by milliseconds, so those of 100 come in a dozen entries a second. The batches wait
// here: their completions are another matter, since an executor reports them one after the other.
func TestAllocationsOfManyApplicationsShareEntries(t *testing.T) {
	const apps, seconds = 100, 20
	inBubble(t, func(c *cluster) {
		for _, w := range c.workers {
			w.suffer(trouble{misses: true})
		}
		for n := range apps {
			c.propose(&fsm.ApplicationSubmitted{
				RequestID: fmt.Sprint(n), Name: fmt.Sprint(n), Program: "p", BatchMS: 1000, BlockMS: 50, Partitions: 1, Factor: 1,
				Build: "build", NowMS: time.Now().UnixMilli(),
			})
		}
		time.Sleep(5 * time.Second)
		leader := c.leader()
		before := leader.raft.Stats()
		time.Sleep(seconds * time.Second)
		after := leader.raft.Stats()
		entries, commands := after.Entries-before.Entries, after.Commands-before.Commands
		t.Logf("%d applications without input: %d entries of %d commands in %d s", apps, entries, commands, seconds)
		if commands < apps*(seconds-1) {
			t.Errorf("%d commands, expected one for each batch", commands)
		}
		if entries > commands/5 {
			t.Errorf("%d entries for %d commands, expected at least five to an entry", entries, commands)
		}
	})
}
