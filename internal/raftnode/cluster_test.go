package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster runs nodes over memory; in a bubble of synctest its waits take no time.
type cluster struct {
	t   *testing.T
	net *MemoryNetwork

	mu    sync.Mutex
	nodes map[string]*member
	hide  bool // gossip shows nothing
}

// member is a node in its process. Fatal ends that: the node is cut off, and the goroutine that found the failure goes
// no further until the test ends.
type member struct {
	*Node
	over  chan struct{}
	disk  *MemoryDisk
	fatal chan error
	done  context.CancelFunc
	work  sync.WaitGroup
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, net: NewMemoryNetwork(), nodes: map[string]*member{}}
	t.Cleanup(func() {
		for name := range c.nodes {
			c.stop(name)
		}
		time.Sleep(time.Minute) // in the bubble's time: back-offs of raft's end
	})
	return c
}

func (c *cluster) candidates() []Candidate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hide {
		return nil
	}
	var seen []Candidate
	for _, m := range c.nodes {
		seen = append(seen, m.self())
	}
	return seen
}

// start opens a node over a disk and lets it bootstrap or join, and maintain the membership.
func (c *cluster) start(name string, disk *MemoryDisk, change ...func(*Config)) *member {
	c.t.Helper()
	m := &member{disk: disk, fatal: make(chan error, 1), over: make(chan struct{})}
	config := Config{
		ID: name, Name: name, Addr: name + ":1", Expect: 3, Stream: c.net.Stream(name + ":1"), Disk: disk,
		Candidates: c.candidates,
		Fatal: func(err error) {
			c.net.Isolate(name + ":1")
			m.fatal <- err
			<-m.over
		},
	}
	for _, f := range change {
		f(&config)
	}
	node, err := Open(config)
	if err != nil {
		c.t.Fatal(err)
	}
	m.Node = node
	ctx, cancel := context.WithCancel(context.Background())
	m.done = cancel
	c.mu.Lock()
	c.nodes[name] = m
	c.mu.Unlock()
	m.work.Go(func() {
		if err := node.Bootstrap(ctx); err != nil {
			return
		}
		if err := node.Membership(ctx); err != nil {
			c.t.Error(err)
		}
	})
	return m
}

func (c *cluster) stop(name string) {
	c.mu.Lock()
	m := c.nodes[name]
	delete(c.nodes, name)
	c.mu.Unlock()
	close(m.over)
	m.done()
	m.work.Wait()
	if err := m.Close(); err != nil && m.Node.disk.failed.Load() == nil {
		c.t.Error(err)
	}
}

func (c *cluster) three() *cluster {
	for _, name := range []string{"n1", "n2", "n3"} {
		c.start(name, NewMemoryDisk())
	}
	return c
}

// until polls a condition: in the bubble, sleeping is free and lets everyone else run.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s did not happen within a minute", what)
}

// leader waits for one that leads among the nodes that are not given.
func (c *cluster) leader(but ...string) (*member, uint64) {
	c.t.Helper()
	var found *member
	var term uint64
	until(c.t, "a leader", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for name, m := range c.nodes {
			if t, ok := m.leading(); ok && (len(but) == 0 || but[0] != name) {
				found, term = m, t
				return true
			}
		}
		return false
	})
	return found, term
}

// lead waits for a leader and opens its epoch.
func (c *cluster) lead(but ...string) (*member, uint64) {
	c.t.Helper()
	m, term := c.leader(but...)
	if err := m.Barrier(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.must(m, term, &fsm.Epoch{Term: term, Leader: m.config.ID, Name: m.config.Name, Addr: m.config.Addr})
	return m, term
}

func (c *cluster) must(m *member, term uint64, command fsm.Command) fsm.Result {
	c.t.Helper()
	r, err := m.Propose(c.t.Context(), term, command)
	if err != nil {
		c.t.Fatal(err)
	}
	if r.Outcome != fsm.Done {
		c.t.Fatalf("%T is answered %+v", command, r)
	}
	return r
}

// agree waits until all nodes have applied the same, and compares the hashes of their states.
func (c *cluster) agree() {
	c.t.Helper()
	until(c.t, "equal applied index", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		seen := map[uint64]bool{}
		for _, m := range c.nodes {
			seen[m.View().Index()] = true
		}
		return len(seen) == 1
	})
	hashes := map[[32]byte]bool{}
	for _, m := range c.nodes {
		hashes[m.View().Hash()] = true
	}
	if len(hashes) != 1 {
		c.t.Errorf("%d different states at the same index, expected one (rule 11)", len(hashes))
	}
}

func session(n int) *fsm.SessionOpened {
	name := fmt.Sprintf("s%d", n)
	return &fsm.SessionOpened{Store: id.Store(name), Generation: 1, Name: name, Addr: name + ":1", Slots: 1, Build: "b"}
}

// propose does not wait for the answer.
func propose(m *member, term uint64, command fsm.Command) <-chan error {
	answer := make(chan error, 1)
	go func() {
		_, err := m.Propose(context.Background(), term, command)
		answer <- err
	}()
	return answer
}

func bubble(t *testing.T, f func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newCluster(t)) })
}

func TestCommandsThatComeTogetherShareAnEntry(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		held := &fsm.InventoryReported{Session: id.Session(c.must(m, term, session(1)).Index), First: true, Last: true}
		before := m.Stats()
		const commands = 1000
		var all sync.WaitGroup
		var mu sync.Mutex
		seen := map[uint64]int{}
		for range commands {
			all.Go(func() {
				r := c.must(m, term, held)
				if got := m.View().Index(); got < r.Index {
					t.Errorf("the view is of index %d when the answer says %d", got, r.Index)
				}
				mu.Lock()
				defer mu.Unlock()
				seen[r.Index]++
			})
		}
		all.Wait()
		after := m.Stats()
		entries := after.Entries - before.Entries
		if after.Commands-before.Commands != commands || entries > commands/10 || int(entries) != len(seen) {
			t.Errorf("%d commands made %d entries at %d indexes, expected fewer than %d",
				after.Commands-before.Commands, entries, len(seen), commands/10)
		}
		for _, n := range seen {
			if n > MaxBatch {
				t.Errorf("an entry has %d commands, at most %d are allowed", n, MaxBatch)
			}
		}
		c.agree()
	})
}

// Rule 1: whoever is deposed cannot act, and what it tried has an unknown outcome.
func TestADeposedLeaderLearnsThatItsProposalsAreUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, oldTerm := c.three().lead()
		name := old.config.ID
		c.net.Isolate(name + ":1")
		answer := propose(old, oldTerm, session(1))
		next, term := c.lead(name)
		if term <= oldTerm {
			t.Errorf("the next term is %d, expected more than %d", term, oldTerm)
		}
		if err := <-answer; !errors.Is(err, ErrUnknown) || errors.Is(err, ErrNotLeader) {
			t.Errorf("the deposed leader's proposal ended with %v, expected an unknown outcome", err)
		}
		if _, err := old.Propose(context.Background(), oldTerm, session(2)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a proposal after that ended with %v, expected that it was not made", err)
		}
		if _, err := old.Linearizable(context.Background()); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a read at the deposed leader ended with %v", err)
		}
		c.must(next, term, session(1))
		c.net.Join(name + ":1")
		c.agree()
		until(t, "the old one knows the new one", func() bool { l, a := old.Leader(); return l == next.config.ID && a == next.config.Addr })
		var hint *NotLeaderError
		_, err := old.Propose(context.Background(), oldTerm, session(2))
		if !errors.As(err, &hint) || hint.Addr != next.config.Addr {
			t.Errorf("the error is %v, expected a hint to %s", err, next.config.Addr)
		}
	})
}

// Rule 1: envelopes of another term than the epoch's are refused by the state machine, on every node.
func TestACommandCarriesItsProposersTerm(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().leader()
		r, err := m.Propose(t.Context(), term, session(1))
		if err != nil || r.Outcome != fsm.Refused {
			t.Errorf("before its epoch a command is answered %+v, %v; expected a refusal", r, err)
		}
		if _, err := m.Propose(t.Context(), term-1, session(1)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("in a term that is over a proposal ends with %v", err)
		}
		c.lead()
		c.must(m, term, session(1))
		c.agree()
	})
}

func TestLeadershipThatIsLostAndRegainedIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		first, term := c.three().lead()
		want := id.Leadership{Leader: true, Term: term}
		if got := <-first.Leadership(); got != want {
			t.Fatalf("the first change is %+v, expected %+v", got, want)
		}
		for _, ok := first.leading(); ok; _, ok = first.leading() {
			if err := first.Transfer(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for back := false; !back; _, back = first.leading() {
			m, _ := c.leader()
			if m != first {
				_ = m.Transfer(t.Context()) // may go to the third one
			}
		}
		// Nobody took the changes in between: the newest one shows that the old leadership is over.
		var last id.Leadership
		until(t, "the news", func() bool {
			select {
			case last = <-first.Leadership():
			default:
			}
			return last.Leader
		})
		if last.Term <= term || !first.IsLeader(last.Term) {
			t.Errorf("the last change is %+v, expected a term above %d", last, term)
		}
		if _, err := first.Propose(t.Context(), term, session(1)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a proposal of the old term ends with %v", err)
		}
	})
}

func TestAFullQueueRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		for _, name := range []string{"n1", "n2", "n3"} {
			c.start(name, NewMemoryDisk(), func(c *Config) { c.QueueSize = 16; c.WriteDeadline = time.Hour })
		}
		m, term := c.lead()
		release := m.disk.Hang()
		const callers = InFlight + 2 + 16 + 100 // in raft, held by the committer, queued, and too many
		answers := make(chan error, callers)
		for i := range callers {
			go func() {
				_, err := m.Propose(context.Background(), term, session(i))
				answers <- err
			}()
			synctest.Wait() // one after the other, so that entries are not shared
		}
		var refused int
		for range callers - InFlight - 2 - 16 {
			if err := <-answers; errors.Is(err, ErrOverloaded) {
				refused++
			}
		}
		if refused < 90 {
			t.Errorf("%d proposals are refused, expected about 100", refused)
		}
		if got := m.Stats(); got.Queued > 16 || got.InFlight > InFlight {
			t.Errorf("%d are queued and %d in flight, expected at most 16 and %d", got.Queued, got.InFlight, InFlight)
		}
		release()
		for range callers - (callers - InFlight - 2 - 16) {
			<-answers // answered one way or the other: the leadership may be lost meanwhile
		}
	})
}

func TestTheEndOfTheContextLeavesTheOutcomeUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		for name := range c.nodes {
			if name != m.config.ID {
				c.net.Isolate(name + ":1")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := m.Propose(ctx, term, session(1))
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the proposal ended with %v", err)
		}
	})
}

func TestAMinorityDoesNotAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, _ := c.three().lead()
		for name := range c.nodes {
			if name != m.config.ID {
				c.net.Isolate(name + ":1")
			}
		}
		if _, err := m.Linearizable(t.Context()); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a read without a majority ended with %v", err)
		}
		until(t, "stepping down", func() bool { _, ok := m.leading(); return !ok })
	})
}

func TestReadsSeeWhatWasAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		for i := range 100 {
			r := c.must(m, term, session(i))
			v, err := m.Linearizable(t.Context())
			if err != nil || v.Index() < r.Index {
				t.Fatalf("a read gives index %d and %v after %d was acknowledged", v.Index(), err, r.Index)
			}
		}
		// Many at a time share the confirmation.
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				if _, err := m.Linearizable(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

func TestChangedIsClosedWhenTheIndexIsAbove(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		now := m.View().Index()
		next, later := m.Changed(now), m.Changed(now+2)
		select {
		case <-m.Changed(now - 1):
		default:
			t.Error("an index that is passed already is not reported")
		}
		c.must(m, term, session(1))
		<-next
		select {
		case <-later:
			t.Error("an index that is not reached is reported")
		default:
		}
		for i := 2; m.View().Index() <= now+2; i++ {
			c.must(m, term, session(i))
		}
		<-later
	})
}

func TestADiskThatHangsStopsTheNodeAndTheOthersGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		release := m.disk.Hang()
		began := time.Now()
		answer := propose(m, term, session(1))
		t.Log("fatal:", <-m.fatal)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the write was waited for %v, expected 5 s", took)
		}
		next, term := c.lead(m.config.ID)
		c.must(next, term, session(1))
		release()
		c.stop(m.config.ID)
		if err := <-answer; !errors.Is(err, ErrUnknown) {
			t.Errorf("the proposal ended with %v", err)
		}
	})
}

func TestAFailedSyncStopsTheNode(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		broken := errors.New("input/output error")
		m.disk.Fail(broken)
		answer := propose(m, term, session(1))
		if err := <-m.fatal; !errors.Is(err, broken) {
			t.Errorf("the process is stopped with %v, expected %v", err, broken)
		}
		m.disk.Fail(nil) // a retry would now succeed, though what was written is unknown: it must not be made
		if err := m.Node.disk.StoreLogs(nil); !errors.Is(err, broken) {
			t.Errorf("the next write ended with %v, expected the first error again", err)
		}
		c.stop(m.config.ID)
		if err := <-answer; !errors.Is(err, ErrUnknown) {
			t.Errorf("the proposal ended with %v", err)
		}
	})
}

func TestCloseAnswersEverything(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		answers := make(chan error, 500)
		for i := range cap(answers) {
			go func() {
				_, err := m.Propose(context.Background(), term, session(i))
				answers <- err
			}()
		}
		c.stop(m.config.ID)
		for range cap(answers) {
			if err := <-answers; err != nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnknown) {
				t.Error(err)
			}
		}
		if _, err := m.Propose(context.Background(), term, session(1)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a proposal after Close ended with %v", err)
		}
		if err := m.Barrier(context.Background()); err == nil {
			t.Error("a barrier after Close succeeded")
		}
		last := id.Leadership{}
		for l := range m.Leadership() {
			last = l
		}
		if last.Leader {
			t.Error("after Close the node believes that it leads")
		}
	})
}

func TestAllNodesRestartedGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		m, term := c.three().lead()
		for i := range 50 {
			c.must(m, term, session(i))
		}
		want := m.View()
		disks := map[string]*MemoryDisk{}
		for name, m := range c.nodes {
			disks[name] = m.disk
		}
		for name := range disks {
			c.stop(name)
		}
		for name, d := range disks {
			if n := c.start(name, d); !n.HasState() {
				t.Errorf("%s says that it has no state", name)
			}
		}
		m, _ = c.leader()
		if err := m.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.View(); got.Index() != want.Index() || got.Hash() != want.Hash() {
			t.Errorf("after the restart the state is of index %d, expected %d with the same hash", got.Index(), want.Index())
		}
	})
}
