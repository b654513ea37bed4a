package cluster

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// A driver that was away for longer than the others keep entries is sent the leader's snapshot, in the middle of a burst: a
// follower with its old log, a follower with an empty disk, and the leader of before. Each leads or follows from there as
// if it had applied every entry.
func TestWhoWasAwayForTooLongGoesOnFromTheLeadersSnapshot(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	const kept = 20 // entries behind a snapshot
	lines := text(t, 120_000)
	c := newCluster(t, 3, func(n *node) {
		n.flags = []string{"--raft-snapshot-entries", "40", "--raft-trailing-entries", fmt.Sprint(kept), "--raft-snapshot-interval", "50ms"}
	})
	batches := c.submitCount("batches", "200ms", "source=ingest")
	totals := c.submitCount("totals", "300ms", "source=ingest", "running=true", "checkpoint=600ms")
	f, g := c.feed("batches", "p", lines, 30*time.Second), c.feed("totals", "p", lines, 30*time.Second)
	for _, round := range []struct {
		who          string
		leads, wiped bool
	}{{who: "a follower"}, {who: "a follower on an empty disk", wiped: true}, {who: "the leader", leads: true}} {
		await(t, 60*time.Second, "all nodes to be ready", c.allReady)
		away := c.waitLeader(30 * time.Second)
		if !round.leads {
			away = c.nodes[(slices.Index(c.nodes, away)+1)%len(c.nodes)]
		}
		before := c.snapshots(away)
		if err := away.proc.Kill(); err != nil {
			t.Fatal(err)
		}
		if round.wiped {
			if err := os.RemoveAll(away.dir); err != nil {
				t.Fatal(err)
			}
		}
		gone := uint64(0)
		await(t, 30*time.Second, "the others to tell how far they are", func() bool { gone = c.applied(); return gone > 0 })
		await(t, 60*time.Second, "the others to forget what "+away.name+" needs", func() bool { return c.applied() > gone+10*kept })
		c.start(away)
		await(t, 60*time.Second, round.who+" to be sent a snapshot", func() bool { return c.snapshots(away) > before })
		if round.wiped {
			await(t, 60*time.Second, away.name+" to be a voter, and three members in all", func() bool { return c.threeMembers(away) })
		}
		t.Logf("%s (%s) was killed at about %d and sent a snapshot by %d", away.name, round.who, gone, c.applied())
	}
	f.wait(t, 120*time.Second)
	g.wait(t, 120*time.Second)
	await(t, 60*time.Second, "all nodes to be ready", c.allReady)
	c.stopped("totals")
	sameTotals(t, lastBatch(t, totals), oracle(lines))
	c.finish("batches", batches, lines)
	c.sameState()
}

// applied is the index up to which the cluster has applied its log, 0 where nobody tells.
func (c *cluster) applied() uint64 {
	var l struct {
		Applied uint64 `json:"applied_index"`
	}
	c.read(&l, "ledger")
	return l.Applied
}

// snapshots counts those that a node was sent.
func (c *cluster) snapshots(n *node) int {
	return strings.Count(c.log(n), "raft: Installed remote snapshot")
}
