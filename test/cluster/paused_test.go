package cluster

import (
	"testing"
	"time"
)

// The host of a receiver is stopped, so that its connections stay: the client goes to the new receiver within seconds,
// although no connection has told it anything.
func TestIngestGoesOnWhileTheReceiversHostIsPaused(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes; left out by -short")
	}
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
