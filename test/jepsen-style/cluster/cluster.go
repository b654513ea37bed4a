// Package cluster owns a local cluster of real processes: it starts, breaks, asks and stops the nodes of one binary, on
// loopback or in namespaces of a network, with data directories that the caller may have put on disks of their own. It
// promises that no process is left when Close returns. It must not know workloads, nor when what goes wrong.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/client"
)

// Limits of a cluster, and times of its processes.
const (
	maxNodes  = 7
	maxVoters = 5 // further nodes compute only
	stopGrace = 30 * time.Second
	// deafFor is how long after its start a process may not hear yet that it is asked to leave, and is ended by that.
	deafFor = 5 * time.Second
)

// Network is where the nodes live.
type Network interface {
	// Addr is the IP address of a node.
	Addr(node string) string
	// Start runs start where the node's process is to be.
	Start(node string, start func() error) error
	// Dial connects to a node as a client outside of the cluster does.
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// Options say what a cluster is made of.
type Options struct {
	Binary string
	Nodes  int
	// Dir is where data directories (data/n1) and logs (logs/n1.log) are.
	Dir string
	// Data gives the data directory of a node that is elsewhere; nil: of none.
	Data    func(node string) string
	Network Network // nil: loopback
	Flags   []string
	Env     func(node string) []string // variables of a node's process; nil: none
	// Ended is told of every process that ended although nobody ended it. nil: nobody is told.
	Ended func(node string, status int)
	// Left is told of every process that was asked to leave in order, when it has ended; status is -1 where it had to be
	// killed. nil: nobody is told.
	Left func(node string, status int)
	// Grace is how long a node may take to leave in order when the cluster is closed. 0: 30 s.
	Grace time.Duration
}

// Cluster is some nodes that find each other. Its methods may be called from several goroutines.
type Cluster struct {
	o     Options
	nodes []*node
	ask   *client.Client
	each  map[string]*client.Client
	http  *http.Client

	mu       sync.Mutex // of what changes in nodes
	closed   bool
	watching sync.WaitGroup
}

// node has the same name, place and ports over all its starts.
type node struct {
	name, dir, log    string
	host              string
	rpc, gossip, http int
	votes             bool

	*life // of its last process
}

// life is one process of a node.
type life struct {
	proc   *chaos.Process // nil before the first start
	began  time.Time
	ending bool // somebody ends it
	asked  bool // to leave in order
	paused bool
}

func (n *node) addr() string { return net.JoinHostPort(n.host, fmt.Sprint(n.rpc)) }

func (n *node) running() bool {
	if n.proc == nil {
		return false
	}
	select {
	case <-n.proc.Exited():
		return false
	default:
		return true
	}
}

// Names are the names of nodes in a cluster of so many.
func Names(nodes int) []string {
	var all []string
	for i := range nodes {
		all = append(all, fmt.Sprintf("n%d", i+1))
	}
	return all
}

func (o *Options) dataDir(node string) string {
	if o.Data != nil {
		return o.Data(node)
	}
	return filepath.Join(o.Dir, "data", node)
}

// New prepares a cluster and starts nothing.
func New(o Options) (*Cluster, error) {
	if o.Nodes < 1 || o.Nodes > maxNodes {
		return nil, fmt.Errorf("nodes is %d, expected 1 to %d", o.Nodes, maxNodes)
	}
	c := &Cluster{o: o, each: make(map[string]*client.Client)}
	for _, d := range []string{"data", "logs"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
	}
	if c.o.Network == nil {
		c.o.Network = loopback{}
	}
	ports, err := c.ports()
	if err != nil {
		return nil, err
	}
	for i, name := range Names(o.Nodes) {
		c.nodes = append(c.nodes, &node{
			name: name, dir: o.dataDir(name), log: filepath.Join(o.Dir, "logs", name+".log"), host: c.o.Network.Addr(name),
			rpc: ports[3*i], gossip: ports[3*i+1], http: ports[3*i+2], votes: i < maxVoters, life: &life{},
		})
	}
	c.http = &http.Client{Timeout: askTime, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return c.o.Network.Dial(ctx, addr) },
	}}
	return c, c.dialAll()
}

// ports gives three for each node: the usual ones where every node has an address of its own.
func (c *Cluster) ports() ([]int, error) {
	if _, shared := c.o.Network.(loopback); shared {
		return chaos.FreePorts(3 * c.o.Nodes)
	}
	return slices.Repeat([]int{7077, 7946, 4040}, c.o.Nodes), nil
}

func (c *Cluster) dialAll() (err error) {
	if c.ask, err = c.Client(); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if c.each[n.name], err = c.At(n.name); err != nil {
			return errors.Join(err, c.hangUp())
		}
	}
	return nil
}

func (c *Cluster) hangUp() error {
	errs := []error{c.ask.Close()}
	for _, x := range c.each {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

// Client gives a new client that knows every node; the caller closes it.
func (c *Cluster) Client() (*client.Client, error) {
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.addr())
	}
	return client.Dial(addrs, client.WithDialer(c.o.Network.Dial))
}

// At gives a new client that knows the named node alone; the caller closes it.
func (c *Cluster) At(name string) (*client.Client, error) {
	n, err := c.node(name)
	if err != nil {
		return nil, err
	}
	return client.Dial([]string{n.addr()}, client.WithDialer(c.o.Network.Dial))
}

// Names are the names of the nodes.
func (c *Cluster) Names() []string { return Names(len(c.nodes)) }

// Dir is the data directory of a node.
func (c *Cluster) Dir(name string) string { return c.o.dataDir(name) }

// Logs are the paths of the nodes' logs.
func (c *Cluster) Logs() map[string]string {
	logs := make(map[string]string)
	for _, n := range c.nodes {
		logs[n.name] = n.log
	}
	return logs
}

func (c *Cluster) node(name string) (*node, error) {
	for _, n := range c.nodes {
		if n.name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node is named %q, expected one of %v", name, c.Names())
}

// StartAll starts every node that does not run.
func (c *Cluster) StartAll() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, c.Start(n.name))
	}
	return errors.Join(errs...)
}

// Start starts a node's process, and does nothing where it runs.
func (c *Cluster) Start(name string) error {
	n, err := c.node(name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || n.running() {
		return nil
	}
	var env []string
	if c.o.Env != nil {
		env = c.o.Env(name)
	}
	now := &life{began: time.Now()}
	err = c.o.Network.Start(name, func() (err error) {
		now.proc, err = chaos.Start(chaos.Program{
			Path: c.o.Binary, Args: c.args(n), Env: env, Log: n.log, Own: true, Hide: "RAFTSTREAM_",
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	n.life = now
	c.watching.Go(func() { c.watch(n, now) })
	return nil
}

// watch tells how a process ended that ended by itself, or was asked to leave.
func (c *Cluster) watch(n *node, l *life) {
	<-l.proc.Exited()
	deaf := l.proc.Signal() == syscall.SIGTERM && time.Since(l.began) < deafFor
	c.mu.Lock()
	asked, surprise := l.asked && !deaf, !l.ending && n.life == l
	c.mu.Unlock()
	switch {
	case asked && c.o.Left != nil:
		c.o.Left(n.name, l.proc.ExitCode())
	case surprise && c.o.Ended != nil:
		c.o.Ended(n.name, l.proc.ExitCode())
	}
}

func (c *Cluster) args(n *node) []string {
	args := []string{
		"start", "--data", n.dir, "--name", n.name, "--bind", n.host,
		"--rpc-port", fmt.Sprint(n.rpc), "--gossip-port", fmt.Sprint(n.gossip), "--http-port", fmt.Sprint(n.http),
	}
	if n.votes {
		args = append(args, "--bootstrap-expect", fmt.Sprint(min(len(c.nodes), maxVoters)))
	} else {
		args = append(args, "--roles", "executor")
	}
	for _, o := range c.nodes {
		if o != n {
			args = append(args, "--join", net.JoinHostPort(o.host, fmt.Sprint(o.gossip)))
		}
	}
	return append(args, c.o.Flags...)
}

// Close ends every process, in order where it can, and returns when all are gone. It may be called again.
func (c *Cluster) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	var procs []*chaos.Process
	for _, n := range c.nodes {
		if n.running() {
			n.ending, n.asked = true, true
			procs = append(procs, n.proc)
		}
	}
	c.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range procs {
		all.Go(func() { p.Stop(cmp.Or(c.o.Grace, stopGrace)) })
	}
	all.Wait()
	c.watching.Wait() // what they tell belongs to the run
	c.http.CloseIdleConnections()
	return c.hangUp()
}

// loopback is the network of this machine alone.
type loopback struct{}

// Addr is the same for every node: they differ by port.
func (loopback) Addr(string) string { return "127.0.0.1" }

// Start runs start here.
func (loopback) Start(_ string, start func() error) error { return start() }

// Dial dials.
func (loopback) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
}

// RPC is the rpc address of a node; for flags and messages.
func (c *Cluster) RPC(name string) string {
	n, err := c.node(name)
	if err != nil {
		return ""
	}
	return n.addr()
}
