package raftnode

import (
	"context"
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

// rest lets time pass in the bubble.
func rest(d time.Duration) { time.Sleep(d) }
