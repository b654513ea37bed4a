package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/datadir"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/driver/batches"
	"github.com/raftstream/raftstream/internal/driver/cleaning"
	"github.com/raftstream/raftstream/internal/driver/coordinators"
	"github.com/raftstream/raftstream/internal/driver/executors"
	"github.com/raftstream/raftstream/internal/driver/rates"
	"github.com/raftstream/raftstream/internal/driver/receivers"
	"github.com/raftstream/raftstream/internal/driver/repair"
	"github.com/raftstream/raftstream/internal/gossip"
	"github.com/raftstream/raftstream/internal/raftnode"
	"github.com/raftstream/raftstream/internal/rpc"
	"github.com/raftstream/raftstream/internal/vfs"
)

const mebibyte = 1 << 20

func (n *node) openSecurity() (err error) {
	if f := n.cfg.tls; f.cert != "" {
		n.security, err = rpc.LoadSecurity(f.cert, f.key, f.authority)
	}
	return err
}

func (n *node) openDir() (err error) {
	if n.dir, err = datadir.Open(vfs.OS{}, n.cfg.data); err != nil {
		return err
	}
	n.onLeave("data directory", func(context.Context) error { return n.dir.Close() })
	return n.dir.StampName(n.cfg.name)
}

func (n *node) openPort() (err error) {
	n.port, err = rpc.Listen(rpc.PortConfig{
		Bind: addrOf(n.cfg.bind, n.cfg.rpcPort), Advertise: n.rpcAddr(), Security: n.security, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.onLeave("rpc port", func(context.Context) error { return n.port.Close() })
	if cluster := n.dir.Cluster(); cluster != "" {
		n.port.JoinCluster(cluster)
	}
	return nil
}

func (n *node) openGossip() error {
	roles := gossip.Role(0)
	if n.cfg.has(roleDriver) {
		roles |= gossip.Driver
	}
	if n.cfg.has(roleExecutor) {
		roles |= gossip.Executor
	}
	g, err := gossip.Open(gossip.Config{
		ID: n.dir.Node(), BindAddr: n.cfg.bind, BindPort: n.cfg.gossipPort, Advertise: n.cfg.advertise, Seeds: n.cfg.join,
		Secret: n.cfg.secret(),
		Meta: gossip.Meta{
			Name: n.cfg.name, Roles: roles, RPCAddr: n.rpcAddr(), HTTPPort: uint16(n.cfg.httpPort),
			Slots: uint32(n.cfg.slots), Generation: n.dir.Generation(), Version: version,
			Expect: uint8(n.cfg.expect), HasState: n.raft != nil && n.raft.HasState(), Cluster: n.dir.Cluster(),
		},
		Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.gossip.Store(g)
	n.onLeave("gossip", func(context.Context) error { return g.Leave() })
	return nil
}

// members are the nodes that gossip sees, none until it is open.
func (n *node) members() []gossip.Member {
	if g := n.gossip.Load(); g != nil {
		return g.Members()
	}
	return nil
}

// membersChanged is closed at the next change of members; nil until gossip is open.
func (n *node) membersChanged() <-chan struct{} {
	if g := n.gossip.Load(); g != nil {
		return g.Changed()
	}
	return nil
}

// seedTime bounds how long a node that belongs to a cluster already waits to hear of one of its seeds.
const seedTime = 2 * time.Second

// checkSeeds makes sure that the nodes named by --join are of the cluster that the data directory belongs to: a node
// that was pointed at another cluster is a mistake to be told, not to be worked around (rule 2). Nodes that are not
// heard of say nothing, and a node without a cluster belongs to whichever it joins.
func (n *node) checkSeeds() error {
	if n.dir.Cluster() == "" || len(n.cfg.join) == 0 {
		return nil
	}
	timeout := time.NewTimer(seedTime)
	defer timeout.Stop()
	for {
		changed := n.membersChanged()
		heard := false
		for _, m := range n.members() {
			if m.ID == n.dir.Node() || m.Cluster == "" || !slices.Contains(n.cfg.join, m.GossipAddr) {
				continue
			}
			if !strings.HasPrefix(n.dir.Cluster(), m.Cluster) {
				return fmt.Errorf("data directory %s belongs to cluster %s, but node %s at %s, which --join names, belongs to cluster %s",
					n.cfg.data, n.dir.Cluster(), m.Name, m.GossipAddr, m.Cluster)
			}
			heard = true
		}
		if heard {
			return nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return nil
		}
	}
}

// candidates are the drivers that gossip sees alive.
func (n *node) candidates() []raftnode.Candidate {
	var out []raftnode.Candidate
	for _, m := range n.members() {
		if m.Status == gossip.Alive && m.Roles&gossip.Driver != 0 {
			out = append(out, raftnode.Candidate{
				ID: m.ID, Name: m.Name, Addr: m.RPCAddr, Expect: int(m.Expect), HasState: m.HasState, Cluster: m.Cluster,
			})
		}
	}
	return out
}

// openRaft opens the ledger.
func (n *node) openRaft() (err error) {
	n.raft, err = raftnode.Open(raftnode.Config{
		Dir: n.dir.Raft(), ID: n.dir.Node(), Name: n.cfg.name, Addr: n.rpcAddr(), Expect: n.cfg.expect, Cluster: n.dir.Cluster(),
		Stream: n.port.Raft(), HasState: n.dir.HasRaft(), StampState: n.dir.StampRaft,
		SnapshotThreshold: n.cfg.snapshotEntries, TrailingLogs: n.cfg.trailingEntries, SnapshotInterval: n.cfg.snapshotInterval,
		HeartbeatTimeout: n.cfg.heartbeat, ElectionTimeout: n.cfg.election, LeaseTimeout: n.cfg.lease,
		Candidates: n.candidates, CandidatesChanged: n.membersChanged,
		Free:         func() (uint64, error) { return vfs.OS{}.Free(n.dir.Raft()) },
		ReserveBytes: uint64(n.cfg.raftReserve) * mebibyte,
		Logger:       n.log, Fatal: n.fatal,
	})
	if err != nil {
		return err
	}
	n.onLeave("raft", func(context.Context) error { return n.raft.Close() })
	return nil
}

// runMembership bootstraps and changes the membership beside everything else: a node is up before it has a leader.
func (n *node) runMembership() error {
	n.run("bootstrap", func(ctx context.Context) error {
		if err := n.raft.Bootstrap(ctx); err != nil {
			return err
		}
		return n.gossip.Load().Update(func(m *gossip.Meta) { m.HasState = true })
	})
	n.run("membership", n.raft.Membership)
	return nil
}

func (n *node) openBlocks() (err error) {
	n.blocks, err = blocks.Open(blocks.Config{
		FS: vfs.OS{}, Dir: n.dir.WAL(), Store: n.dir.Store(),
		MemoryBytes: n.cfg.blockMemory * mebibyte, ReserveBytes: uint64(n.cfg.diskReserve) * mebibyte,
		Fatal: n.fatal, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.onLeave("blocks", func(context.Context) error { return n.blocks.Close() })
	return nil
}

// openDriver makes what acts while this node leads.
func (n *node) openDriver() error {
	n.clock = batches.NewClock(n.dir.Node(), n.raft.Stats().LastIndex)
	n.hub = driver.NewHub(n.raft, n.log)
	sessions := executors.New(n.hub, rpc.Refuses, n.log)
	if n.watch != nil {
		sessions = sessions.With(n.watch)
	}
	if n.cfg.backpressure {
		n.limits = driver.NewLimits()
	}
	duties := []driver.Duty{
		sessions,
		receivers.New(n.hub, n.log).With(n.limits),
		coordinators.New(n.hub, n.log),
		batches.New(n.hub, n.clock, n.log).With(n.limits),
		cleaning.New(n.hub, n.log),
		repair.New(n.hub, n.log),
	}
	if n.limits != nil {
		duties = append(duties, rates.New(n.hub, n.limits, n.log))
	}
	n.driver = driver.New(driver.Config{
		Raft: n.raft, Hub: n.hub, Node: n.dir.Node(), Name: n.cfg.name, Addr: n.rpcAddr(), Observe: n.observe, Logger: n.log,
		Duties: duties,
	})
	return nil
}

// runDriver leads whenever Raft says so. It leaves by handing leadership over.
func (n *node) runDriver() error {
	n.onLeave("leadership", func(ctx context.Context) error {
		alone := !slices.ContainsFunc(n.raft.Configuration(), func(s raftnode.Server) bool { return s.Voter && s.ID != n.dir.Node() })
		if alone {
			return nil // nobody to hand over to
		}
		n.handOver(ctx)
		return nil
	})
	n.run("driver", n.driver.Run)
	return nil
}

// observe is told every view that this node comes to.
func (n *node) observe(v fsm.View) {
	n.clock.Missed(n.raft.Missed())
	n.clock.Observe(v)
	if err := n.joinCluster(v.Cluster()); err != nil {
		n.fail(fmt.Errorf("ledger: %w", err))
	}
}
