package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// Candidate is a driver that gossip sees alive.
type Candidate struct {
	ID       string
	Name     string
	Addr     string // rpc address, which is raft's too
	Expect   int    // its --bootstrap-expect
	HasState bool   // it has taken part in a cluster
	Cluster  string // cluster id stamped into its data directory, or a prefix of it; "" for none
}

// Action is what a node without state does.
type Action uint8

const (
	// Wait for more candidates.
	Wait Action = iota + 1
	// Bootstrap a new cluster of Decision.Servers.
	Bootstrap
	// Join a cluster: its leader adds this node, or the node that bootstraps has it in its list.
	Join
)

// Decision is the outcome of Decide.
type Decision struct {
	Action  Action
	Servers []Candidate // Bootstrap: the first voters, in order of id
	Reason  string      // for the log
}

// Decide says what a node without state does, given the candidates that it sees, with or without itself. It is pure.
//
// Nobody bootstraps who belongs to a cluster or sees one anywhere: that would be a second cluster. Otherwise exactly the expected number of
// candidates must be there, all of which expect it; the one with the lowest id bootstraps with all of them and the
// others wait for it, so that two different lists cannot both come into force.
func Decide(self Candidate, seen []Candidate) Decision {
	fresh := []Candidate{self}
	for _, c := range seen {
		switch {
		case c.ID == self.ID || !sameCluster(c.Cluster, self.Cluster):
			continue
		case c.HasState:
			return Decision{Action: Join, Reason: fmt.Sprintf("%s at %s has state: its cluster is joined", c.Name, c.Addr)}
		case c.Cluster != "":
			return Decision{Action: Join, Reason: fmt.Sprintf("%s at %s belongs to cluster %s, which is joined", c.Name, c.Addr, c.Cluster)}
		}
		fresh = append(fresh, c)
	}
	if self.Cluster != "" {
		return Decision{Action: Join, Reason: fmt.Sprintf("this node belongs to cluster %s, which is joined", self.Cluster)}
	}
	if self.Expect == 0 {
		return Decision{Action: Wait, Reason: "bootstrap-expect is not set: waiting for a cluster to join"}
	}
	for _, c := range fresh {
		if c.Expect != self.Expect {
			return Decision{Action: Wait, Reason: fmt.Sprintf("%s expects %d drivers, this node %d: they must agree",
				c.Name, c.Expect, self.Expect)}
		}
	}
	if len(fresh) != self.Expect {
		return Decision{Action: Wait, Reason: fmt.Sprintf("%d drivers without state are seen, expected %d",
			len(fresh), self.Expect)}
	}
	slices.SortFunc(fresh, func(a, b Candidate) int { return strings.Compare(a.ID, b.ID) })
	if fresh[0].ID != self.ID {
		return Decision{Action: Join, Reason: fmt.Sprintf("%s bootstraps, its id is the lowest", fresh[0].Name)}
	}
	return Decision{Action: Bootstrap, Servers: fresh, Reason: fmt.Sprintf("all %d expected drivers are seen", self.Expect)}
}

// sameCluster compares ids of which one may be cut off, or not known yet.
func sameCluster(a, b string) bool {
	return a == "" || b == "" || strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

const (
	// lookAgain is how often candidates are looked at when nobody reports a change.
	lookAgain = 500 * time.Millisecond
	// stateCheck is how often a node that waits looks whether a leader has written to it.
	stateCheck = 50 * time.Millisecond
)

// Bootstrap returns when this node has state: at once if it had some on disk, else when it has bootstrapped a cluster
// or a leader has added it. It never bootstraps over existing state.
func (n *Node) Bootstrap(ctx context.Context) error {
	check := time.NewTicker(stateCheck)
	defer check.Stop()
	said := ""
	for !n.HasState() {
		changed := n.config.CandidatesChanged()
		d := Decide(n.self(), n.config.Candidates())
		if d.Reason != said {
			n.log.Info("raft: no state yet", "decision", d.Reason)
			said = d.Reason
		}
		if d.Action == Bootstrap {
			if err := n.bootstrap(ctx, d.Servers); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a raft cluster: %w: %s", context.Cause(ctx), d.Reason)
		case <-n.stop:
			return fmt.Errorf("wait for a raft cluster: %w", ErrClosed)
		case <-changed:
		case <-check.C:
		}
	}
	return nil
}

func (n *Node) self() Candidate {
	return Candidate{
		ID: n.config.ID, Name: n.config.Name, Addr: n.config.Addr,
		Expect: n.config.Expect, HasState: n.HasState(), Cluster: n.config.Cluster,
	}
}

func (n *Node) bootstrap(ctx context.Context, servers []Candidate) error {
	var c raft.Configuration
	for _, s := range servers {
		c.Servers = append(c.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Addr),
		})
	}
	err := n.await(ctx, "bootstrap", func() raft.Future { return n.raft.BootstrapCluster(c) })
	if errors.Is(err, raft.ErrCantBootstrap) {
		return nil // a leader wrote here in between
	}
	return err
}
