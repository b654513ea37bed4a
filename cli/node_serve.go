package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/executor"
	"github.com/raftstream/raftstream/executor/persist"
	"github.com/raftstream/raftstream/executor/pieces"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/bucket"
	"github.com/raftstream/raftstream/internal/gossip"
	"github.com/raftstream/raftstream/internal/httpd"
	"github.com/raftstream/raftstream/internal/raftnode"
	"github.com/raftstream/raftstream/internal/rpc"
	"github.com/raftstream/raftstream/internal/vfs"
)

// openExecutor makes what computes. It finds the leading driver by itself, in this process or elsewhere.
func (n *node) openExecutor() (err error) {
	n.peers = rpc.NewExecutors(rpc.ExecutorsConfig{Self: n.rpcAddr(), Security: n.security})
	n.onLeave("connections to executors", func(context.Context) error { return n.peers.Close() })
	dialer := rpc.DialerConfig{Self: n.rpcAddr(), Drivers: n.driverAddrs, Security: n.security}
	if n.hub != nil {
		dialer.Local = n.hub
	}
	n.executor, err = executor.New(executor.Config{
		Store: n.dir.Store(), Generation: n.dir.Generation(), Name: n.cfg.name, Addr: n.rpcAddr(), Slots: n.cfg.slots, Build: n.build,
		Dialer: rpc.NewDialer(dialer), Executors: n.peers, Builder: dstream.Builder(), Blocks: n.blocks,
		Cluster: n.dir.Cluster, Stamp: n.joinCluster, Logger: n.log, Bucket: openBucket,
		Persist: persist.Config{
			FS: vfs.OS{}, Dir: n.dir.Kept(), MemoryBytes: n.cfg.persistMemory * mebibyte, DiskBytes: n.cfg.persistDisk * mebibyte,
			ReserveBytes: uint64(n.cfg.diskReserve) * mebibyte,
		},
	})
	if err != nil {
		return err
	}
	n.peers.Attach(n.executor.Server())
	return nil
}

// openBucket opens a bucket for checkpoints with what the environment of this process has for it.
func openBucket(ctx context.Context, url string) (pieces.Bucket, error) {
	b, err := bucket.Open(ctx, url, vfs.OS{})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// runExecutor computes under the sessions that leading drivers open.
func (n *node) runExecutor() error {
	n.run("executor", n.executor.Run)
	return nil
}

// ledger is what the API needs of the replicated state machine: reads from raft, proposals under the driver's leadership.
type ledger struct{ n *node }

func (l ledger) View() fsm.View { return l.n.raft.View() }

func (l ledger) Changed(after uint64) <-chan struct{} { return l.n.raft.Changed(after) }

func (l ledger) Linearizable(ctx context.Context) (fsm.View, error) {
	return l.n.raft.Linearizable(ctx)
}

func (l ledger) Propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	return l.n.driver.Propose(ctx, c)
}

// openServer serves everything that is said on the rpc port, Raft apart.
func (n *node) openServer() error {
	api := &rpc.API{
		Name: n.cfg.name, Addr: n.rpcAddr(), Version: version, Commit: commitID(), Build: n.build,
		Leader: n.leaderAddr, Members: n.membership, Programs: dstream.Builder(), Cluster: n.dir.Cluster, Logger: n.log,
		CheckBucket: bucket.Check,
	}
	config := rpc.ServerConfig{
		Security: n.security, Store: n.dir.Store(), API: api, Logger: n.log,
		Ready: func() bool { return n.Ready(context.Background()) == nil },
	}
	if n.raft != nil {
		api.Ledger, api.Servers, config.Drivers = ledger{n}, servers{n.raft}, n.hub
		api.Rate = n.limits.Rate
	}
	if n.executor != nil {
		api.Pushes, config.Executor = n.executor, n.executor.Server()
	}
	s := rpc.NewServer(config)
	n.run("rpc server", func(context.Context) error { return s.Serve(n.port.GRPC()) })
	n.onLeave("calls", func(ctx context.Context) error {
		s.Stop(ctx)
		return nil
	})
	return nil
}

// leaderAddr is the rpc address of the leading driver as it is known here. A node that is no driver names one that
// will know.
func (n *node) leaderAddr() string {
	if n.raft != nil {
		_, addr := n.raft.Leader()
		return addr
	}
	if drivers := n.driverAddrs(); len(drivers) > 0 {
		return drivers[0]
	}
	return ""
}

// driverAddrs are the rpc addresses of drivers, the leader's first.
func (n *node) driverAddrs() []string {
	var out []string
	if n.raft != nil {
		if _, leader := n.raft.Leader(); leader != "" {
			out = append(out, leader)
		}
	}
	for _, m := range n.members() {
		if m.Roles&gossip.Driver != 0 && m.Status != gossip.Dead {
			out = append(out, m.RPCAddr)
		}
	}
	return out
}

// membership puts together what gossip sees and what Raft knows. A voter that gossip does not see is shown as dead.
func (n *node) membership() rpc.Membership {
	out := rpc.Membership{}
	configured := make(map[string]raftnode.Server)
	leader := ""
	if n.raft != nil {
		out.Term, leader = n.raft.Standing()
		for _, s := range n.raft.Configuration() {
			configured[s.ID] = s
		}
	}
	member := func(m rpc.Member) {
		s, ok := configured[m.ID]
		m.Raft, m.Learner = rpc.RaftNone, ok && !s.Voter
		switch {
		case ok && m.ID == leader:
			m.Raft, out.Leader = rpc.RaftLeader, m.Name
		case ok && s.Voter:
			m.Raft = rpc.RaftFollower
		}
		delete(configured, m.ID)
		out.Members = append(out.Members, m)
	}
	for _, m := range n.members() {
		member(rpc.Member{
			Name: m.Name, ID: m.ID, Roles: m.Roles.Strings(), Status: statuses[m.Status],
			RPCAddr: m.RPCAddr, HTTPAddr: m.HTTPAddr(), Version: m.Version,
		})
	}
	for _, s := range slices.Sorted(maps.Keys(configured)) {
		name := s // nobody has told it, but for the leader's, which is in the ledger
		if l := n.raft.View().Leadership(); l.Leader == s {
			name = l.Name
		}
		member(rpc.Member{Name: name, ID: s, Roles: []string{roleDriver}, Status: rpc.Dead, RPCAddr: configured[s].Addr})
	}
	return out
}

// statuses are gossip's words in those of the API.
var statuses = map[gossip.Status]rpc.MemberStatus{
	gossip.Alive: rpc.Alive, gossip.Suspect: rpc.Suspect, gossip.Dead: rpc.Dead,
}

// openHTTP serves health.
func (n *node) openHTTP() error {
	s, err := httpd.Listen(addrOf(n.cfg.bind, n.cfg.httpPort), n, n.log)
	if err != nil {
		return err
	}
	n.onLeave("http port", s.Close)
	return nil
}

// Reasons of a node that is not ready.
var (
	errNoLeader  = errors.New("no leader is known")
	errNoSession = errors.New("no leading driver is connected")
)

// Ready says whether the node can do its work: a driver knows who leads, an executor works under a session.
func (n *node) Ready(context.Context) error {
	if n.raft != nil {
		if leader, _ := n.raft.Leader(); leader == "" {
			return fmt.Errorf("node %s: %w", n.cfg.name, errNoLeader)
		}
	}
	if n.executor != nil && n.executor.Status().Control.Session == 0 {
		return fmt.Errorf("node %s: %w", n.cfg.name, errNoSession)
	}
	return nil
}
