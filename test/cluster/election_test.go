package cluster

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// standing is what a node logs when it stands for election because the leader's process is known to be dead.
const standing = "the leader's process is over: standing for election"

func (c *cluster) term() uint64 {
	c.t.Helper()
	var m members
	await(c.t, 30*time.Second, "an answer about the members", func() bool { return c.read(&m, "members") && m.Term > 0 })
	return m.Term
}

// verdict is what a node logs when it takes another one's process for dead.
const verdict = "election watch: the process of a node is over"

// says counts the lines of a node's log that hold a text and name another node's id.
func (c *cluster) says(n *node, text, id string) (count int) {
	c.t.Helper()
	for line := range strings.Lines(c.log(n)) {
		if strings.Contains(line, text) && strings.Contains(line, "="+id) {
			count++
		}
	}
	return count
}

// idOf gives the id that a voter's raft goes by.
func (c *cluster) idOf(n *node) (id string) {
	c.t.Helper()
	await(c.t, 30*time.Second, "the id of "+n.name, func() bool {
		var m members
		if c.read(&m, "members") {
			for _, x := range m.Members {
				if x.Name == n.name && x.Raft != "none" {
					id = x.ID
				}
			}
		}
		return id != ""
	})
	return id
}

// A leader whose process dies is replaced by one election, of a node that says that it stands for that reason. A leader
// that is only stopped is not taken for dead by anybody: then timeouts decide.
func TestOnlyTheDeathOfItsProcessHasALeaderReplacedAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	c := newCluster(t, 3)
	counts := func(text, id string) map[*node]int {
		count := make(map[*node]int)
		for _, n := range c.nodes {
			count[n] = c.says(n, text, id)
		}
		return count
	}
	for kill := range 4 {
		await(t, 30*time.Second, "all nodes to be ready", c.allReady)
		leader, term := c.waitLeader(30*time.Second), c.term()
		dead := c.idOf(leader)
		before := counts(standing, dead)
		if err := leader.proc.Kill(); err != nil {
			t.Fatal(err)
		}
		next := c.waitLeaderOtherThan(leader, 30*time.Second)
		if now := c.term(); now != term+1 {
			t.Errorf("kill %d: term %d after the death of the leader of term %d, expected one election", kill+1, now, term)
		}
		if counts(standing, dead)[next] == before[next] {
			t.Errorf("kill %d: %s leads and does not say that it stood because %s died", kill+1, next.name, leader.name)
		}
		c.start(leader)
	}
	await(t, 30*time.Second, "all nodes to be ready", c.allReady)
	leader := c.waitLeader(30 * time.Second)
	dead := c.idOf(leader)
	verdicts, stood := counts(verdict, dead), counts(standing, dead)
	if err := leader.proc.Pause(); err != nil {
		t.Fatal(err)
	}
	c.waitLeaderOtherThan(leader, 30*time.Second)
	pause(t, 2*time.Second) // stopped for longer than anything waits for it
	if err := leader.proc.Continue(); err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, "all nodes to be ready", c.allReady)
	if !maps.Equal(counts(verdict, dead), verdicts) || !maps.Equal(counts(standing, dead), stood) {
		t.Errorf("some node took %s for dead, which was only stopped", leader.name)
	}
}
