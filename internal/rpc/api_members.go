package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/internal/id"
)

// Member is a node, as gossip and Raft see it.
type Member struct {
	Name, ID string
	Roles    []string // "driver", "executor"
	Status   MemberStatus
	Raft     RaftRole
	// Learner is set for a driver that gets the log and does not vote: it catches up. Its Raft is RaftNone.
	Learner  bool
	RPCAddr  string
	HTTPAddr string
	Version  string
}

// MemberStatus is what gossip thinks of a node.
type MemberStatus uint8

// Alive answers, Suspect has not answered lately, Dead is given up or has left.
const (
	Alive MemberStatus = iota + 1
	Suspect
	Dead
)

// RaftRole is a node's part in Raft.
type RaftRole uint8

// RaftNone is no voter, RaftFollower and RaftLeader are voters.
const (
	RaftNone RaftRole = iota + 1
	RaftFollower
	RaftLeader
)

// Membership is what the cluster is made of at present.
type Membership struct {
	Term    uint64
	Leader  string // node name, "" for none known
	Members []Member
}

// Servers changes who takes part in Raft, while this node leads. An error that is id.ErrNotLeader says that nothing was
// changed; after another one the outcome is unknown.
type Servers interface {
	// RemoveServer takes a server out of Raft's configuration; it returns when that is committed. One that is not in it
	// is no error.
	RemoveServer(ctx context.Context, server string) error
	// Transfer hands leadership over: to the voter named, or to the most suitable one for "". It returns when this
	// node does not lead any more.
	Transfer(ctx context.Context, to string) error
}

// ListMembers tells what the cluster is made of.
func (m members) ListMembers(ctx context.Context, r *raftstreamv1.ListMembersRequest) (*raftstreamv1.ListMembersReply, error) {
	if !r.GetStale() {
		if _, err := m.view(ctx, false); err != nil { // proves that the term and leader told are the newest
			return nil, err
		}
	}
	now := m.Members()
	return &raftstreamv1.ListMembersReply{Term: now.Term, Leader: now.Leader, Members: each(now.Members, memberToPB)}, nil
}

func memberToPB(m Member) *raftstreamv1.Member {
	return &raftstreamv1.Member{
		Name: m.Name, Id: m.ID, Roles: m.Roles, Status: raftstreamv1.MemberStatus(m.Status), Raft: raftstreamv1.RaftRole(m.Raft),
		RpcAddr: m.RPCAddr, HttpAddr: m.HTTPAddr, Version: m.Version, Learner: m.Learner,
	}
}

// RemoveMember takes a driver out of the quorum. What would make the cluster lose its majority, and what would come back
// by itself, needs force; the leader is never removed: it hands over first.
func (m members) RemoveMember(ctx context.Context, r *raftstreamv1.RemoveMemberRequest) (*raftstreamv1.RemoveMemberReply, error) {
	if r.GetId() == "" {
		return nil, invalid("id", "", "the id of a member, as it is listed")
	}
	now, err := m.leading(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(now.Members, func(o Member) bool { return o.ID == r.GetId() })
	if i < 0 || !now.Members[i].server() {
		return &raftstreamv1.RemoveMemberReply{}, nil
	}
	if reason := mayRemove(now.Members, i, r.GetForce()); reason != "" {
		return nil, refused("member", now.Members[i].Name, reason)
	}
	if err := m.Servers.RemoveServer(ctx, r.GetId()); err != nil {
		return nil, m.unchanged(err)
	}
	return &raftstreamv1.RemoveMemberReply{Removed: true}, nil
}

// TransferLeadership hands leadership to another driver.
func (m members) TransferLeadership(
	ctx context.Context, r *raftstreamv1.TransferLeadershipRequest,
) (*raftstreamv1.TransferLeadershipReply, error) {
	now, err := m.leading(ctx)
	if err != nil {
		return nil, err
	}
	if to := r.GetId(); to != "" {
		i := slices.IndexFunc(now.Members, func(o Member) bool { return o.ID == to })
		switch {
		case i < 0:
			return nil, notFound("member", to, "the id of a driver, as it is listed")
		case now.Members[i].Raft == RaftLeader:
			return &raftstreamv1.TransferLeadershipReply{}, nil
		case now.Members[i].Raft != RaftFollower:
			return nil, refused("member", now.Members[i].Name, "it does not vote, expected a driver that does")
		case now.Members[i].Status == Dead:
			return nil, refused("member", now.Members[i].Name, "it is dead, expected a driver that answers")
		}
	} else if !slices.ContainsFunc(now.Members, func(o Member) bool { return o.Raft == RaftFollower && o.Status == Alive }) {
		return nil, refused("node", m.Name, "no other driver that votes is alive, and it cannot hand over to nobody")
	}
	if err := m.Servers.Transfer(ctx, r.GetId()); err != nil {
		return nil, m.unchanged(err)
	}
	return &raftstreamv1.TransferLeadershipReply{}, nil
}

// leading gives the membership if this node leads.
func (m members) leading(ctx context.Context) (Membership, error) {
	if m.Servers == nil {
		return Membership{}, m.elsewhere()
	}
	if _, err := m.view(ctx, false); err != nil {
		return Membership{}, err
	}
	return m.Members(), nil
}

// unchanged makes the error of a change of Raft's configuration one of the API.
func (m members) unchanged(err error) error {
	if errors.Is(err, id.ErrNotLeader) {
		return m.elsewhere()
	}
	return m.unknown(err)
}

// server reports whether the member is in Raft's configuration.
func (m *Member) server() bool { return m.Raft == RaftFollower || m.Raft == RaftLeader || m.Learner }

// mayRemove says why the i'th member may not be removed, "" if it may.
func mayRemove(all []Member, i int, force bool) string {
	switch m := all[i]; {
	case m.Raft == RaftLeader:
		return "it leads, and the leader cannot remove itself: hand leadership over first (members transfer)"
	case force:
		return ""
	case m.Status != Dead:
		return "it is alive, or died just now, and would join again: stop its process and wait until it is shown as dead, or use force"
	case m.Learner:
		return "" // it counts for no majority
	}
	voters, alive := 0, 0
	for j, o := range all {
		if j == i || o.Raft != RaftFollower && o.Raft != RaftLeader {
			continue
		}
		voters++
		if o.Status == Alive {
			alive++
		}
	}
	if alive <= voters/2 {
		return fmt.Sprintf("of the %d drivers that would be left %d are alive, expected more than half: bring some back first, or use force",
			voters, alive)
	}
	return ""
}
