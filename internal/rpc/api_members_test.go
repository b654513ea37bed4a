package rpc

import (
	"context"
	"errors"
	"strings"
	"testing"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/internal/id"
)

// fakeServers is Raft's configuration. Calls come one at a time.
type fakeServers struct {
	removed, to []string
	err         error
}

func (s *fakeServers) RemoveServer(_ context.Context, server string) error {
	s.removed = append(s.removed, server)
	return s.err
}

func (s *fakeServers) Transfer(_ context.Context, to string) error {
	s.to = append(s.to, to)
	return s.err
}

// cluster is a leader a, the followers named, and an executor x.
func cluster(followers map[string]MemberStatus) []Member {
	all := []Member{
		{Name: "na", ID: "a", Status: Alive, Raft: RaftLeader},
		{Name: "nx", ID: "x", Status: Alive, Raft: RaftNone},
	}
	for name, status := range followers {
		all = append(all, Member{Name: "n" + name, ID: name, Status: status, Raft: RaftFollower})
	}
	return all
}

func TestMembersAreRemovedWhereThatIsSafe(t *testing.T) {
	learner := func(s MemberStatus) []Member {
		return append(cluster(nil), Member{Name: "nl", ID: "l", Status: s, Raft: RaftNone, Learner: true})
	}
	for name, test := range map[string]struct {
		members []Member
		id      string
		force   bool
		refused string // why, "" if it is not
		removed bool
	}{
		"dead one of three":           {cluster(map[string]MemberStatus{"b": Alive, "c": Dead}), "c", false, "", true},
		"dead one of two":             {cluster(map[string]MemberStatus{"b": Dead}), "b", false, "", true},
		"dead one of five":            {cluster(map[string]MemberStatus{"b": Alive, "c": Dead, "d": Dead, "e": Alive}), "c", false, "", true},
		"alive":                       {cluster(map[string]MemberStatus{"b": Alive, "c": Alive}), "c", false, "would join again", false},
		"alive, by force":             {cluster(map[string]MemberStatus{"b": Alive, "c": Alive}), "c", true, "", true},
		"suspect":                     {cluster(map[string]MemberStatus{"b": Alive, "c": Suspect}), "c", false, "would join again", false},
		"the leader":                  {cluster(map[string]MemberStatus{"b": Alive, "c": Alive}), "a", false, "members transfer", false},
		"the leader, by force":        {cluster(map[string]MemberStatus{"b": Alive, "c": Alive}), "a", true, "members transfer", false},
		"without a majority left":     {cluster(map[string]MemberStatus{"b": Dead, "c": Dead, "d": Dead}), "b", false, "1 are alive", false},
		"that by force":               {cluster(map[string]MemberStatus{"b": Dead, "c": Dead, "d": Dead}), "b", true, "", true},
		"one that catches up":         {learner(Alive), "l", false, "would join again", false},
		"the same by force":           {learner(Alive), "l", true, "", true},
		"one that caught up and died": {learner(Dead), "l", false, "", true},
		"an executor":                 {cluster(nil), "x", false, "", false},
		"one that is not there":       {cluster(nil), "y", false, "", false},
		"half alive is no majority":   {cluster(map[string]MemberStatus{"b": Dead, "c": Dead}), "b", false, "of the 2 drivers", false},
		"a majority of five is left":  {cluster(map[string]MemberStatus{"b": Alive, "c": Alive, "d": Dead, "e": Dead}), "d", false, "", true},
	} {
		n := newAPI(t)
		n.members = test.members
		r, err := n.nodes.RemoveMember(t.Context(), &raftstreamv1.RemoveMemberRequest{Id: test.id, Force: test.force})
		if test.refused != "" {
			if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_REFUSED || !strings.Contains(p.GetExpected(), test.refused) {
				t.Errorf("%s: %v, expected a refusal with %q", name, err, test.refused)
			}
		} else if err != nil || r.GetRemoved() != test.removed {
			t.Errorf("%s: removed %t, %v, expected %t", name, r.GetRemoved(), err, test.removed)
		}
		if asked := len(n.servers.removed) > 0; asked != test.removed {
			t.Errorf("%s: raft was asked to remove %v", name, n.servers.removed)
		}
	}
}

func TestChangesOfTheMembershipAreTheLeadersAlone(t *testing.T) {
	n := newAPI(t)
	n.members = cluster(map[string]MemberStatus{"b": Alive, "c": Dead})
	calls := map[string]func() error{
		"remove": func() error {
			return second(n.nodes.RemoveMember(t.Context(), &raftstreamv1.RemoveMemberRequest{Id: "c"}))
		},
		"transfer": func() error {
			return second(n.nodes.TransferLeadership(t.Context(), &raftstreamv1.TransferLeadershipRequest{}))
		},
	}
	for name, call := range calls {
		for _, test := range []struct {
			err  error
			kind raftstreamv1.Problem_Kind
		}{
			{id.ErrNotLeader, raftstreamv1.Problem_KIND_NOT_LEADER},
			{errors.New("timed out"), raftstreamv1.Problem_KIND_UNKNOWN_OUTCOME},
		} {
			n.servers.err = test.err
			if p := kind(t, call()); p.GetKind() != test.kind {
				t.Errorf("%s after %v: %v", name, test.err, p)
			}
		}
		before := len(n.servers.removed) + len(n.servers.to)
		n.ledger.set(func() { n.ledger.follows = true })
		if p := kind(t, call()); p.GetKind() != raftstreamv1.Problem_KIND_NOT_LEADER || len(n.servers.removed)+len(n.servers.to) != before {
			t.Errorf("%s at a follower: %v", name, p)
		}
		n.ledger.set(func() { n.ledger.follows = false })
	}
	_, err := n.nodes.RemoveMember(t.Context(), &raftstreamv1.RemoveMemberRequest{})
	if p := kind(t, err); p.GetKind() != raftstreamv1.Problem_KIND_INVALID {
		t.Errorf("no id: %v", err)
	}
}

func TestLeadershipGoesToADriverThatVotesAndLives(t *testing.T) {
	three := cluster(map[string]MemberStatus{"b": Alive, "c": Dead})
	for name, test := range map[string]struct {
		members []Member
		to      string
		kind    raftstreamv1.Problem_Kind
		asked   bool
	}{
		"anybody":      {three, "", 0, true},
		"named":        {three, "b", 0, true},
		"who leads":    {three, "a", 0, false},
		"dead":         {three, "c", raftstreamv1.Problem_KIND_REFUSED, false},
		"an executor":  {three, "x", raftstreamv1.Problem_KIND_REFUSED, false},
		"unknown":      {three, "y", raftstreamv1.Problem_KIND_NOT_FOUND, false},
		"nobody there": {cluster(map[string]MemberStatus{"b": Dead}), "", raftstreamv1.Problem_KIND_REFUSED, false},
	} {
		n := newAPI(t)
		n.members = test.members
		_, err := n.nodes.TransferLeadership(t.Context(), &raftstreamv1.TransferLeadershipRequest{Id: test.to})
		if test.kind == 0 && err != nil || test.kind != 0 && kind(t, err).GetKind() != test.kind {
			t.Errorf("%s: %v", name, err)
		}
		if asked := len(n.servers.to) > 0; asked != test.asked || asked && n.servers.to[0] != test.to {
			t.Errorf("%s: raft was asked to hand over to %v", name, n.servers.to)
		}
	}
}
