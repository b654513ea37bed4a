package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

// watchOff starts a node without the election watch.
const watchOff = "--election-watch=false"

// election is how long a killed leader's successor takes to its first commit, with the election watch and without:
// two clusters at rest, killed in turn.
func election(ctx context.Context, o options) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.kills)*30*time.Second)
	defer cancel()
	on, err := startNodes(o.node, filepath.Join(o.dir, "watch-on"), 3)
	if err != nil {
		return nil, err
	}
	defer on.stop()
	off, err := startNodes(o.node, filepath.Join(o.dir, "watch-off"), 3, watchOff)
	if err != nil {
		return nil, err
	}
	defer off.stop()
	var with, without []float64
	for range o.kills {
		for c, took := range map[*nodes]*[]float64{on: &with, off: &without} { // in a random order
			d, err := c.killLeader(ctx)
			if err != nil {
				return nil, err
			}
			*took = append(*took, milliseconds(d))
		}
	}
	p50, p90 := median(with), percentile(with, 90)
	note := fmt.Sprintf("%d kills, in turn with those without the watch: %s", len(with), spread(without, "ms"))
	return []row{
		{what: "SIGKILL of the leader to the first commit of the next, p50", value: fmt.Sprintf("%.0f ms", p50), target: "at most 30 ms", met: atMost(p50, 30), note: note},
		{what: "the same, p90", value: fmt.Sprintf("%.0f ms, max %.0f ms", p90, percentile(with, 100)), target: "at most 100 ms", met: atMost(p90, 100), note: "as above"},
	}, nil
}

// killLeader kills the leader of a cluster at rest, gives the time to the first commit of the next one, and brings the
// killed node back.
func (c *nodes) killLeader(ctx context.Context) (time.Duration, error) {
	if err := c.ready(ctx); err != nil {
		return 0, err
	}
	victim, _, err := c.leader(ctx)
	if err != nil {
		return 0, err
	}
	killed := time.Now()
	if err := victim.proc.Kill(); err != nil {
		return 0, err
	}
	var led time.Time
	err = poll(ctx, "the next leader", func() (bool, error) {
		led, err = c.ledAfter(victim, killed)
		return !led.IsZero(), err
	})
	return led.Sub(killed), errors.Join(err, c.start(victim))
}

// leading is what a node logs when the first entry of its leadership is committed, with a time to the millisecond.
var leading = regexp.MustCompile(`time=(\S+) .*msg=leading `)

// ledAfter gives when a node other than the victim began to lead after a moment, the zero time if none has.
func (c *nodes) ledAfter(victim *node, after time.Time) (first time.Time, err error) {
	for _, n := range c.all {
		if n == victim {
			continue
		}
		at, err := ledIn(n.log, after)
		if err != nil {
			return first, err
		}
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first, nil
}

func ledIn(log string, after time.Time) (time.Time, error) {
	f, err := os.Open(log)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		m := leading.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, m[1])
		if err != nil {
			return time.Time{}, fmt.Errorf("log %s: %w", log, err)
		}
		if at.After(after) {
			return at, nil
		}
	}
	return time.Time{}, lines.Err()
}

// failover is how long an application of 200 ms batches completes none when the leading driver is killed, while lines
// come in. In a third of the kills the victim works for the application too: it coordinates it, or runs its receiver.
func failover(ctx context.Context, o options) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.kills)*15*time.Second)
	defer cancel()
	c, err := startNodes(o.node, filepath.Join(o.dir, "failover"), 3)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	if err := c.submit(ctx, "wc", 200*time.Millisecond, map[string]string{"source": "ingest"}); err != nil {
		return nil, err
	}
	feeding, stop := context.WithCancel(ctx)
	fed := make(chan int, 1)
	go func() { fed <- c.write(feeding, "feeder") }()
	defer func() { stop(); <-fed }()
	var took, more []float64
	for kill := range o.kills {
		duty := [...]string{none, coordinator, none, none, receiver, none}[kill%6]
		d, err := c.killDriver(ctx, duty)
		if err != nil {
			return nil, err
		}
		took = append(took, milliseconds(d))
		if duty != none {
			more = append(more, milliseconds(d))
		}
	}
	p50, p90 := median(took), percentile(took, 90)
	note := fmt.Sprintf("%d kills; in %d of them the victim coordinated the application or ran its receiver: %s", len(took), len(more), spread(more, "ms"))
	return []row{
		{what: "SIGKILL of the leader until a client sees the next batch of 200 ms completed, p50", value: fmt.Sprintf("%.0f ms", p50), target: "at most 500 ms", met: atMost(p50, 500), note: note},
		{what: "the same, p90", value: fmt.Sprintf("%.0f ms, max %.0f ms", p90, percentile(took, 100)), target: "at most 1500 ms", met: atMost(p90, 1500), note: "as above"},
	}, nil
}

// What a victim does for the application beside leading.
const (
	none        = "none"
	coordinator = "coordinator"
	receiver    = "receiver"
)

// killDriver kills the leading driver while the application works, and gives the time until a client sees that another
// batch is completed. Before, it sees to it that the leader has the duty, or none.
func (c *nodes) killDriver(ctx context.Context, duty string) (took time.Duration, err error) {
	if err := c.ready(ctx); err != nil {
		return 0, err
	}
	if err := c.lets(ctx, duty); err != nil {
		return 0, err
	}
	if err := c.working(ctx); err != nil {
		return 0, err
	}
	victim, _, err := c.leader(ctx)
	if err != nil {
		return 0, err
	}
	select { // any moment between two batches
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(rand.N(200 * time.Millisecond)):
	}
	last, err := c.lastCompleted(ctx)
	if err != nil {
		return 0, err
	}
	killed := time.Now()
	if err := victim.proc.Kill(); err != nil {
		return 0, err
	}
	err = poll(ctx, "the next completed batch", func() (bool, error) {
		now, err := c.lastCompleted(ctx)
		took = time.Since(killed)
		return now > last, err
	})
	return took, errors.Join(err, c.start(victim))
}

// lastCompleted gives the time of the newest batch whose completion is committed.
func (c *nodes) lastCompleted(ctx context.Context) (int64, error) {
	a, err := c.client.GetApp(ctx, &raftstreamv1.GetAppRequest{Name: "wc"})
	return a.GetApp().GetLastCompletedMs(), err
}

// lets waits until the leader has the duty for the application, or none, and hands leadership over to make it so.
func (c *nodes) lets(ctx context.Context, duty string) error {
	return poll(ctx, "a leader with duty "+duty, func() (bool, error) {
		at, err := c.duties(ctx)
		if err != nil {
			return false, err
		}
		m, err := c.client.ListMembers(ctx, &raftstreamv1.ListMembersRequest{})
		if err != nil {
			return false, err
		}
		fits := func(name string) bool {
			if duty == none {
				return name != at[coordinator] && name != at[receiver]
			}
			return name == at[duty]
		}
		if at[coordinator] == "" || at[receiver] == "" || fits(m.GetLeader()) {
			return at[coordinator] != "" && at[receiver] != "", nil
		}
		for _, x := range m.GetMembers() {
			if fits(x.GetName()) {
				_, err := c.client.TransferLeadership(ctx, &raftstreamv1.TransferLeadershipRequest{Id: x.GetId()})
				return false, err // the next question shows whether it leads
			}
		}
		return false, fmt.Errorf("no node with duty %s", duty)
	})
}

// duties gives the names of the nodes that coordinate the application and run its receiver.
func (c *nodes) duties(ctx context.Context) (map[string]string, error) {
	a, err := c.client.GetApp(ctx, &raftstreamv1.GetAppRequest{Name: "wc"})
	if err != nil {
		return nil, err
	}
	r, err := c.client.ListReceivers(ctx, &raftstreamv1.ListReceiversRequest{Name: "wc"})
	if err != nil {
		return nil, err
	}
	at := map[string]string{coordinator: a.GetApp().GetCoordinator()}
	for _, x := range r.GetReceivers() {
		if x.GetState() == raftstreamv1.ReceiverState_RECEIVER_STATE_ACTIVE {
			at[receiver] = x.GetNode()
		}
	}
	return at, nil
}

// working waits until every executor has a session again and a batch was completed lately.
func (c *nodes) working(ctx context.Context) error {
	since := time.Now().UnixMilli()
	return poll(ctx, "a batch completed lately", func() (bool, error) {
		done, err := c.completed(ctx, "wc", 1)
		return err == nil && len(done) > 0 && done[len(done)-1].GetTimeMs() > since+1000, err
	})
}

// write sends lines to the application until ctx ends, at most a few thousand a second, and gives how many.
func (c *nodes) write(ctx context.Context, producer string) (sent int) {
	in, err := c.client.Ingest(ctx, "wc", client.IngestOptions{Producer: producer})
	if err != nil {
		return 0
	}
	defer in.Close(context.WithoutCancel(ctx))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	lines := make([]string, 50)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d of a writer that writes the same lines again and again", i)
	}
	for {
		select {
		case <-ctx.Done():
			return sent
		case <-tick.C:
		}
		if in.Send(ctx, lines...) != nil {
			return sent
		}
		sent += len(lines)
	}
}
