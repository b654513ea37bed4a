package executor_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor"
	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/local"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; nothing waits that long unless it fails.
const patience = 20 * time.Second

const appID id.App = 7

// cluster is executors of one process with a driver that says what the test wants.
type cluster struct {
	t      testing.TB
	driver *executortest.Driver
	net    *local.Network
	graph  *executortest.WordCount
	nodes  []*node
	blocks uint64
	links  links
}

type node struct {
	*executor.Executor
	name   string
	store  id.Store
	blocks *blocks.Store
	stop   func() error
}

// newCluster starts n executors with two slots each and tells everybody of everybody.
func newCluster(t testing.TB, n int, graph *executortest.WordCount) *cluster {
	c := &cluster{t: t, driver: executortest.NewDriver(), net: local.NewNetwork(), graph: graph}
	t.Cleanup(c.net.Close)
	for i := range n {
		c.nodes = append(c.nodes, c.start(fmt.Sprintf("n%d", i+1), 1))
	}
	c.tell()
	return c
}

func (c *cluster) start(name string, generation uint64) *node {
	c.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
	}
	fs := vfs.NewMem()
	store, err := blocks.Open(blocks.Config{FS: fs, Dir: "wal", Store: storeOf(name), Fatal: func(err error) { c.t.Error(err) }, Logger: log})
	if err != nil {
		c.t.Fatal(err)
	}
	n := &node{name: name, store: storeOf(name), blocks: store}
	n.Executor, err = executor.New(executor.Config{
		Store: n.store, Generation: generation, Name: name, Addr: name, Slots: 2, Build: "build",
		Dialer: c.driver, Executors: &wire{c.net, &c.links, name}, Builder: &executortest.Builder{Graph: c.graph}, Blocks: store, Logger: log,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.net.Add(name, n.Server())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stopped := false
	n.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	c.t.Cleanup(func() {
		if err := n.stop(); err != nil {
			c.t.Error(err)
		}
		if err := store.Close(); err != nil {
			c.t.Error(err)
		}
	})
	c.wait(func() bool { return c.driver.Connected(n.store) != 0 })
	eventually(c.t, func() bool { return n.Status().Control.Session != 0 }) // before that it refuses tasks, and gets none for a while
	return n
}

// wait waits until the driver sees what.
func (c *cluster) wait(what func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.driver.Wait(ctx, what); err != nil {
		c.t.Fatal(err)
	}
}

// tell sends the table of peers: every executor that is connected.
func (c *cluster) tell() {
	table := &job.Peers{Index: c.driver.Index()}
	for _, n := range c.nodes {
		if s := c.driver.Connected(n.store); s != 0 {
			table.Peers = append(table.Peers, c.peer(n))
		}
	}
	c.broadcast(table)
}

// lead makes another driver win, to whom everybody comes and who tells everybody of everybody.
func (c *cluster) lead() {
	c.t.Helper()
	c.driver.Lead()
	for _, n := range c.nodes {
		c.wait(func() bool { return c.driver.Connected(n.store) != 0 })
	}
	c.tell()
}

func (c *cluster) broadcast(m job.ToExecutor) {
	for _, n := range c.nodes {
		c.driver.Send(n.store, m)
	}
}

// heard waits until a node has taken all orders that were sent to it: it answers the last one, which asks it to stop
// what never ran.
func (c *cluster) heard(n *node) {
	c.t.Helper()
	stop := &job.StopReceiver{Epoch: c.driver.Epoch(), App: appID, Stream: 99, Instance: id.Instance(c.driver.Index())}
	c.driver.Send(n.store, stop)
	c.wait(func() bool {
		return slices.ContainsFunc(executortest.Of[*job.ReceiverStopped](c.driver), func(r *job.ReceiverStopped) bool {
			return r.Instance == stop.Instance
		})
	})
}

func (c *cluster) peer(n *node) job.Peer {
	return job.Peer{Session: c.driver.Connected(n.store), Store: n.store, Name: n.name, Addr: n.name, Slots: 2, Build: "build"}
}

// put stores a text as a block on the nodes named by their numbers from 0.
func (c *cluster) put(text string, on ...int) job.Block {
	c.t.Helper()
	c.blocks++
	d := job.BlockData{
		ID: id.Block{App: appID, Stream: 0, Instance: 3, Number: c.blocks}, Data: []byte(text),
		Records: int64(len(strings.Fields(text))), CRC: crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)),
	}
	b := job.Block{ID: d.ID, Records: d.Records, Bytes: int64(len(text)), CRC: d.CRC}
	for _, i := range on {
		if err := c.nodes[i].blocks.Put(context.Background(), d); err != nil {
			c.t.Fatal(err)
		}
		b.Stores = append(b.Stores, c.nodes[i].store)
	}
	return b
}

func (c *cluster) app() job.App {
	return job.App{
		ID: appID, Name: "words", Spec: dataset.Spec{Name: executortest.Program, Params: []byte("{}"), BatchMS: 1000, Partitions: c.graph.Reducers},
		Fingerprint: c.graph.Plan().Fingerprint(), BlockMS: 20, Factor: 2,
	}
}

// batch makes the order to run a batch under an office and attempt.
func (c *cluster) batch(at id.Time, office id.Office, attempt id.Attempt, in ...job.Block) *job.Batch {
	return &job.Batch{
		Authority: id.Authority{Epoch: c.driver.Epoch(), Office: office, Attempt: attempt}, App: c.app(), Time: at,
		Inputs: []job.Input{{Stream: 0, Time: at, Blocks: in}},
	}
}

// reports lists the reports that took effect for a batch.
func (c *cluster) reports(at id.Time) (all []*job.BatchReport) {
	for _, r := range executortest.Of[*job.BatchReport](c.driver) {
		if r.Time == at {
			all = append(all, r)
		}
	}
	return all
}

// report waits for the first report of a batch.
func (c *cluster) report(at id.Time) *job.BatchReport {
	c.t.Helper()
	c.wait(func() bool { return len(c.reports(at)) > 0 })
	return c.reports(at)[0]
}

// storeOf gives a store id of 16 characters.
func storeOf(name string) id.Store { return id.Store(fmt.Sprintf("%016s", name)) }

// eventually polls what no event tells.
func eventually(t testing.TB, what func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !what() {
		if time.Now().After(end) {
			t.Fatal("it did not come about")
		}
		<-tick.C
	}
}
