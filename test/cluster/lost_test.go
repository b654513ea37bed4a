package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The host of a receiver is stopped, so that its connections stay: the client goes to the new receiver within seconds,
// although no connection has told it anything.
func TestIngestGoesOnWhileTheReceiversHostIsPaused(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	t.Parallel()
	lines := text(t, 30_000)
	c := newCluster(t, 3)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 15*time.Second)
	await(t, 30*time.Second, "some received records", func() bool { return c.app("wc").Received > 1000 })
	var r struct{ Receivers []struct{ Node string } }
	if !c.read(&r, "receivers", "wc") || len(r.Receivers) != 1 {
		t.Fatalf("receivers are %+v, expected one", r)
	}
	var host *node
	for _, n := range c.nodes {
		if n.name == r.Receivers[0].Node {
			host = n
		}
	}
	leader := c.waitLeader(30 * time.Second)
	if err := host.proc.Pause(); err != nil {
		t.Fatal(err)
	}
	began, before := time.Now(), c.app("wc").Received
	await(t, 15*time.Second, "records to come in while the host is paused", func() bool { return c.app("wc").Received > before+1000 })
	t.Logf("%s hosted the receiver (leader: %v), records came in again after %v", host.name, host == leader, time.Since(began).Round(time.Millisecond))
	if err := host.proc.Continue(); err != nil {
		t.Fatal(err)
	}
	f.wait(t, 60*time.Second)
	c.finish("wc", prefix, lines)
}

// A node whose disk is lost starts with an empty directory at the same address: it is a new member and takes the place
// of the voter that it was, so that the cluster survives the next loss.
func TestNodeWithAnEmptyDirectoryTakesThePlaceOfTheLostOne(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
	t.Parallel()
	c := newCluster(t, 3)
	lines := text(t, 20_000)
	prefix := c.startWordCount("wc")
	f := c.feed("wc", "p1", lines, 10*time.Second)
	for range 3 { // more often than there are votes to lose
		await(t, 30*time.Second, "all nodes to be ready", c.allReady)
		leader := c.waitLeader(30 * time.Second)
		lost := c.nodes[0]
		if lost == leader {
			lost = c.nodes[1]
		}
		if err := lost.proc.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(lost.dir, "raft")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(lost.dir, "identity")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(lost.dir, "wal")); err != nil {
			t.Fatal(err)
		}
		c.start(lost)
		await(t, 30*time.Second, lost.name+" to be a voter, and three members in all", func() bool { return c.threeMembers(lost) })
		t.Logf("%s is back as a new member", lost.name)
	}
	f.wait(t, 60*time.Second)
	c.finish("wc", prefix, lines)
}

// identity is the id under which a node came up last, as its log says.
func (c *cluster) identity(n *node) (id string) {
	for line := range strings.Lines(c.log(n)) {
		if _, rest, up := strings.Cut(line, `msg="node is up"`); up {
			_, rest, _ = strings.Cut(rest, " id=")
			id, _, _ = strings.Cut(rest, " ")
		}
	}
	return id
}

// threeMembers reports whether Raft has three voters, and the node among them by the id that it has now: the old one is
// shown alive for a while.
func (c *cluster) threeMembers(n *node) bool {
	var m members
	if !c.read(&m, "members") {
		return false
	}
	members, found := 0, false
	for _, o := range m.Members {
		if o.Raft == "none" {
			continue
		}
		members++
		found = found || o.ID == c.identity(n) && o.Status == "alive"
	}
	return members == 3 && found
}
