package cli

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// command runs a command against all nodes; false: it failed.
func (c *watchCluster) command(into any, args ...string) bool {
	c.t.Helper()
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.addr())
	}
	e, out, _ := testEnv(map[string]string{"RAFTSTREAM_ADDR": strings.Join(addrs, ",")}, "")
	if e.run(c.t.Context(), append([]string{"-o", "json", "--timeout", "5s"}, args...)) != statusDone {
		return false
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		c.t.Fatalf("%v printed %q: %v", args, out, err)
	}
	return true
}

// voters are the ids of the members that vote, by the name that gossip knows them by.
func (c *watchCluster) voters() map[string]string {
	c.t.Helper()
	var m membersJSON
	voters := map[string]string{}
	if c.command(&m, "members") {
		for _, o := range m.Members {
			if o.Raft == "leader" || o.Raft == "follower" {
				voters[o.ID] = o.Name
			}
		}
	}
	return voters
}

// Rule 2: a wiped node is a new member. It takes the place of the voter that had its address, and counts like any other.
func TestWipedNodeTakesItsPlaceAsANewMember(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newWatchCluster(t, "")
	before := c.voters()
	leader := c.last().by
	wiped := c.nodes[slices.IndexFunc(c.nodes, func(n *demoNode) bool { return n != leader })]
	if err := wiped.kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(wiped.dir); err != nil {
		t.Fatal(err)
	}
	c.restart(wiped)
	c.await("the wiped node votes again, and the voter that it was does not", func() bool {
		now := c.voters()
		left := 0
		for voter := range now {
			if _, old := before[voter]; old {
				left++
			}
		}
		return len(now) == 3 && left == 2
	})
	c.awaitReady()
	took, terms := c.killLeader()
	t.Logf("first commit %v after the next leader was killed", took)
	if terms != 1 || c.stood() != 1 {
		t.Errorf("%d terms, %d nodes stood by evidence, expected 1 and 1", terms, c.stood())
	}
}

// Membership is changed by hand where it must be: who is away is removed, and leadership is handed over.
func TestMembersAreRemovedAndHandedOverTo(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newWatchCluster(t, "")
	old := c.last()
	var changed struct{}
	if !c.command(&changed, "members", "transfer") {
		t.Fatal("leadership was not handed over")
	}
	now := c.next(old)
	if now.by == old.by || now.term != old.term+1 {
		t.Errorf("%s leads with term %d, before %s with %d", now.by.name, now.term, old.by.name, old.term)
	}
	if c.command(&changed, "members", "remove", now.by.name) {
		t.Error("the leader removed itself")
	}
	if err := old.by.kill(); err != nil {
		t.Fatal(err)
	}
	c.await(old.by.name+" is removed once gossip does not see it", func() bool { return c.command(&changed, "members", "remove", old.by.name) })
	c.await("two voters", func() bool { return len(c.voters()) == 2 })
	c.restart(old.by) // it was only away: it joins again by itself
	c.await("three voters", func() bool { return len(c.voters()) == 3 })
}
