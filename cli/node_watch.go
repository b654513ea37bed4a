package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/raftstream/raftstream/internal/electionwatch"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/raftnode"
)

// serveWatch lets others watch this node. It does so whether it watches them or not.
func (n *node) serveWatch() error {
	hello, err := electionwatch.NewHello(n.dir.Node(), n.dir.Generation())
	if err != nil {
		return err
	}
	n.run("election watch", func(ctx context.Context) error { return electionwatch.Serve(ctx, n.port.Watch(), hello) })
	return nil
}

// runWatch watches every other node: the death of the leader lets this one stand for election, and that of an executor
// ends its session while this one leads (rule 3).
func (n *node) runWatch() (err error) {
	n.watch, err = electionwatch.New(electionwatch.Config{
		Self: n.dir.Node(), Dial: n.port.Watch().Dial, Peers: n.watched, PeersChanged: n.membersChanged, Died: n.died, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.run("watch", n.watch.Run)
	return nil
}

// watched are the nodes of this cluster that gossip has seen. It keeps those that died for an hour.
func (n *node) watched() []electionwatch.Peer {
	members := n.members()
	peers := make([]electionwatch.Peer, 0, len(members))
	for _, m := range members {
		if own := n.dir.Cluster(); own != "" && !strings.HasPrefix(own, m.Cluster) {
			continue
		}
		peers = append(peers, electionwatch.Peer{Node: m.ID, Addr: m.RPCAddr, Gossip: m.GossipAddr})
	}
	return peers
}

func (n *node) died(ctx context.Context, node string, lost time.Time) {
	outcome := n.raft.Succeed(ctx, node, lost, n.watch.Alive)
	n.log.Debug("election watch", "dead", node, "outcome", outcome.String())
}

// transferTime bounds the handing over of leadership by a node that leaves. Beyond it the others elect a leader without.
const transferTime = 300 * time.Millisecond

// handOver gives leadership to another voter, if this node leads and there is one.
func (n *node) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	if err := n.raft.Transfer(ctx); err != nil && !errors.Is(err, id.ErrNotLeader) {
		n.log.Info("leadership is not handed over; the others elect a leader without", "error", err)
	}
}

// servers changes raft's members on behalf of the API.
type servers struct{ *raftnode.Node }

// Transfer hands leadership to the server named, "" for the most suitable one.
func (s servers) Transfer(ctx context.Context, to string) error { return s.TransferTo(ctx, to) }
