package raftnode

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// maxLag is how many entries a non-voter may be behind when it becomes a voter.
	maxLag = 256
	// recent is how long ago it may have acknowledged them.
	recent = time.Second
)

// Server is a member of the raft cluster.
type Server struct {
	ID    string
	Addr  string
	Voter bool
}

// Configuration gives the members, in the order in which they were added, as this node knows them.
func (n *Node) Configuration() []Server {
	servers, _ := n.configuration()
	return serversOf(servers)
}

func serversOf(servers []raft.Server) []Server {
	out := make([]Server, 0, len(servers))
	for _, s := range servers {
		out = append(out, Server{ID: string(s.ID), Addr: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return out
}

// configuration also gives the index of the configuration, for changes that must not overtake each other.
func (n *Node) configuration() ([]raft.Server, uint64) {
	f := n.raft.GetConfiguration() // answered at once, from a copy
	if f.Error() != nil {
		return nil, 0
	}
	return f.Configuration().Servers, f.Index()
}

// voters gives the ids of the servers that vote by this node's configuration, none before raft runs.
func (n *Node) voters() (ids []string) {
	if !n.running.Load() {
		return nil
	}
	servers, _ := n.configuration()
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, string(s.ID))
		}
	}
	return ids
}

// RemoveServer removes a server; one that is not a member is no error. It returns when the change is committed. Changes are made one
// at a time: one that was begun meanwhile fails it. The leader refuses to remove itself, because nobody would lead until
// an election timeout is over. Whoever is removed while gossip sees it alive is added again by Membership: it must have been
// stopped before.
func (n *Node) RemoveServer(ctx context.Context, server string) error {
	if _, leader := n.leading(); !leader {
		return n.notLeader()
	}
	if server == n.config.ID {
		return fmt.Errorf("remove %s: %w", server, ErrSelf)
	}
	servers, index := n.configuration()
	if !slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == server }) {
		return nil
	}
	return n.await(ctx, "remove "+server, func() raft.Future { return n.raft.RemoveServer(raft.ServerID(server), index, 0) })
}

// Membership adds the drivers that gossip sees, while this node leads, until ctx ends: first as non-voters, then, when
// they have caught up, as voters. One change at a time. A server that is at another address than before is given the
// new one. That gossip does not see a server says nothing (architecture, section 3); it is removed only when another
// one has its address, with an id of its own: then its disk was replaced, and it will never come back as who it was.
func (n *Node) Membership(ctx context.Context) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		changed := n.config.CandidatesChanged()
		if _, leader := n.leading(); leader {
			if err := n.nextChange(ctx); err != nil && ctx.Err() == nil {
				n.log.Warn("raft: membership is not changed", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.stop:
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// change is one step of the membership.
type change struct {
	name   string
	voter  bool
	remove bool
	to     raft.Server
}

// nextChange makes the first change that is due, if any.
func (n *Node) nextChange(ctx context.Context) error {
	servers, index := n.configuration()
	n.transport.keep(servers)
	c, due := planChange(servers, n.config.Candidates(), n.View().Cluster(), n.caughtUp)
	if !due || c.remove && string(c.to.ID) == n.config.ID {
		return nil
	}
	n.log.Info("raft: changing the membership", "change", c.name, "server", c.to.ID, "addr", c.to.Address)
	return n.await(ctx, fmt.Sprintf("%s %s", c.name, c.to.ID), func() raft.Future {
		switch {
		case c.remove:
			return n.raft.RemoveServer(c.to.ID, index, 0)
		case c.voter:
			return n.raft.AddVoter(c.to.ID, c.to.Address, index, 0)
		}
		return n.raft.AddNonvoter(c.to.ID, c.to.Address, index, 0)
	})
}

// caughtUp reports whether a follower has lately acknowledged nearly everything: it is then reachable too.
func (n *Node) caughtUp(server raft.ServerID) bool {
	p, ok := n.transport.of(server)
	return ok && time.Since(p.at) < recent && p.match+maxLag >= n.raft.LastIndex()
}

// planChange decides on the next change. It is pure.
func planChange(servers []raft.Server, seen []Candidate, cluster string, caughtUp func(raft.ServerID) bool) (change, bool) {
	known := make(map[string]raft.Server, len(servers))
	at := make(map[raft.ServerAddress]raft.Server, len(servers))
	voters := 0
	for _, s := range servers {
		known[string(s.ID)], at[s.Address] = s, s
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	for _, c := range seen {
		if c.Addr == "" || !sameCluster(c.Cluster, cluster) {
			continue
		}
		unsure := c.HasState && (c.Cluster == "" || cluster == "") // it may be a member of another cluster
		to := raft.Server{ID: raft.ServerID(c.ID), Address: raft.ServerAddress(c.Addr)}
		s, member := known[c.ID]
		voter := member && s.Suffrage == raft.Voter
		other, taken := at[to.Address]
		switch {
		case !member && unsure:
			continue
		case taken && other.ID != to.ID && sees(seen, other.ID):
			continue // it has moved: it is given its new address first
		case taken && other.ID != to.ID:
			return change{name: "remove, because another server has its address,", remove: true, to: other}, true
		case !member:
			return change{name: "add non-voter", to: to}, true
		case s.Address != to.Address:
			return change{name: "change address of", voter: voter, to: to}, true
		case !voter && voters < MaxVoters && caughtUp(s.ID):
			return change{name: "promote to voter", voter: true, to: to}, true
		}
	}
	return change{}, false
}

func sees(seen []Candidate, server raft.ServerID) bool {
	return slices.ContainsFunc(seen, func(c Candidate) bool { return c.ID == string(server) })
}
