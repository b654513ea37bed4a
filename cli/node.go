package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/raftstream/raftstream/executor"
	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/internal/datadir"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/batches"
	"github.com/raftstream/raftstream/internal/electionwatch"
	"github.com/raftstream/raftstream/internal/gossip"
	"github.com/raftstream/raftstream/internal/raftnode"
	"github.com/raftstream/raftstream/internal/rpc"
)

const (
	// leaveTime bounds each step of leaving in order.
	leaveTime = 2 * time.Second
	// joinTime bounds the wait for a part that was told to end: beyond it the node leaves without.
	joinTime = 10 * time.Second
)

// node is one running node: what its steps have built, each for the later ones.
type node struct {
	cfg   *nodeConfig
	log   *slog.Logger
	build string
	fatal func(error) // ends the process: what the disk holds cannot be trusted any more

	security rpc.Security
	dir      *datadir.Dir
	blocks   *blocks.Store
	port     *rpc.Port
	gossip   atomic.Pointer[gossip.Gossip] // nil until it is open: raft is there before
	raft     *raftnode.Node
	watch    *electionwatch.Watch // nil: this node watches nobody
	hub      *driver.Hub
	limits   *driver.Limits // nil without rate control
	clock    *batches.Clock
	driver   *driver.Driver
	peers    *rpc.Executors
	executor *executor.Executor

	failed  chan error // why a part ended by itself; the first one counts
	stamp   sync.Mutex // one stamp of the cluster's id at a time
	closers []closer   // of what was opened, in order
}

// closer ends one part of the node within ctx.
type closer struct {
	name  string
	close func(ctx context.Context) error
}

// step opens one part of the node.
type step struct {
	name string
	open func() error
}

// start runs a node until it is told to leave or cannot go on.
func (e *env) start(ctx context.Context, cfg *nodeConfig) error {
	// The second signal ends the process at once, also while it starts.
	defer context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt, syscall.SIGTERM) })()
	held := &heldWriter{w: e.err}
	log, err := cfg.logger(held)
	if err != nil {
		return err
	}
	build, err := buildID()
	if err != nil {
		return err
	}
	n := &node{
		cfg: cfg, log: log.With("node", cfg.name), build: build, failed: make(chan error, 1),
	}
	n.fatal = func(err error) {
		_ = e.refuse(held, err) // said; what failed must not be used once more, not even to leave
		os.Exit(statusFailed)
	}
	defer n.leave()
	for _, s := range n.steps() {
		if err := s.open(); err != nil {
			return e.refuse(held, fmt.Errorf("start: %s: %w", s.name, err))
		}
		if ctx.Err() != nil {
			return nil // told to leave before it was there
		}
	}
	held.release()
	n.log.Info("node is up", "id", n.dir.Node(), "generation", n.dir.Generation(), "rpc", n.rpcAddr(), "roles", cfg.roles, "version", version)
	select {
	case <-ctx.Done():
		n.log.Info("leaving in order")
		return nil
	case err := <-n.failed:
		return err
	}
}

// refuse says why the node did not start: the reason first, then what was logged on the way.
func (e *env) refuse(held *heldWriter, err error) error {
	fmt.Fprintf(e.err, "raftstream: %s\n", oneLineFirst(err))
	held.release()
	return &saidError{err}
}

// maxHeld bounds the log of a start, in bytes; the rest of a longer one is written at once.
const maxHeld = 1 << 20

// heldWriter keeps a node's log back until it has started, so that the reason comes first where it has not.
type heldWriter struct {
	mu       sync.Mutex
	w        io.Writer
	held     []byte
	released bool
}

// Write holds or writes one record.
func (h *heldWriter) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released || len(h.held)+len(b) > maxHeld {
		return h.w.Write(b)
	}
	h.held = append(h.held, b...)
	return len(b), nil
}

// release writes what was held. A log that cannot be written is nowhere to be told.
func (h *heldWriter) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, _ = h.w.Write(h.held)
	h.held, h.released = nil, true
}

// steps are the parts of the node from the disk up; they are closed in the reverse order: receivers and tasks end while
// the driver can still be told, leadership is handed over while the others can still call, then the node goes. A role
// that the node does not have leaves out its parts.
func (n *node) steps() []step {
	all := []step{
		{"security", n.openSecurity},
		{"data directory", n.openDir},
		{"rpc port", n.openPort},
		{"election watch", n.serveWatch}, // closed right before the port: others take its end for a reason to look
	}
	driver, executor := n.cfg.has(roleDriver), n.cfg.has(roleExecutor)
	if driver { // before gossip: the first thing that others hear must say whether this node has state
		all = append(all, step{"raft", n.openRaft})
	}
	all = append(all, step{"gossip", n.openGossip}, step{"join", n.checkSeeds})
	if driver && n.cfg.electionWatch {
		all = append(all, step{"watch", n.runWatch})
	}
	if driver {
		all = append(all, step{"membership", n.runMembership}, step{"driver", n.openDriver})
	}
	if executor {
		all = append(all, step{"blocks", n.openBlocks}, step{"executor", n.openExecutor})
	}
	all = append(all, step{"rpc server", n.openServer})
	if driver {
		all = append(all, step{"lead", n.runDriver})
	}
	if executor {
		all = append(all, step{"execute", n.runExecutor})
	}
	return append(all, step{"http port", n.openHTTP})
}

// onLeave adds what ends a part that is open now.
func (n *node) onLeave(name string, close func(ctx context.Context) error) {
	n.closers = append(n.closers, closer{name, close})
}

// leave closes every part that was opened, the last one first.
func (n *node) leave() {
	for _, c := range slices.Backward(n.closers) {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
		if err := c.close(ctx); err != nil {
			n.log.Warn("leave", "part", c.name, "error", err)
		}
		cancel()
	}
}

// run runs part of the node on a goroutine of its own until the node leaves. That it ends by itself with an error ends
// the node.
func (n *node) run(name string, f func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := f(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		n.fail(fmt.Errorf("%s: %w", name, err))
	}()
	n.onLeave(name, func(context.Context) error {
		cancel()
		late := time.NewTimer(joinTime)
		defer late.Stop()
		select {
		case <-done:
			return nil
		case <-late.C:
			return fmt.Errorf("it did not end within %v", joinTime)
		}
	})
}

// fail ends the node, in order, with err.
func (n *node) fail(err error) {
	select {
	case n.failed <- err:
	default: // it is ending already
	}
}

func (n *node) rpcAddr() string { return addrOf(n.cfg.advertise, n.cfg.rpcPort) }

// joinCluster binds the node to a cluster, once it is known: data directory, port and gossip.
func (n *node) joinCluster(cluster string) error {
	n.stamp.Lock()
	defer n.stamp.Unlock()
	if cluster == "" || n.dir.Cluster() == cluster {
		return nil
	}
	if err := n.dir.StampCluster(cluster); err != nil {
		return err
	}
	n.log.Info("belongs to cluster", "cluster", cluster)
	return n.tellCluster(cluster)
}

// tellCluster tells the parts that need to know which cluster this is.
func (n *node) tellCluster(cluster string) error {
	n.port.JoinCluster(cluster)
	return n.gossip.Load().Update(func(m *gossip.Meta) { m.Cluster = cluster })
}
