package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

// demoFeeder sends the lines at an even pace, on a goroutine of its own.
type demoFeeder struct {
	ingester *client.Ingester
	cancel   context.CancelFunc
	done     chan error // one value: how it ended
}

// feedStep is the time between two portions of lines.
const feedStep = 20 * time.Millisecond

func (d *demo) startFeeder(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	ingester, err := d.client.Ingest(ctx, demoName, client.IngestOptions{Producer: "demo"})
	if err != nil {
		cancel()
		return err
	}
	f := &demoFeeder{ingester: ingester, cancel: cancel, done: make(chan error, 1)}
	d.feeder = f
	go func() { f.done <- f.feed(ctx, d.lines, d.flags.feed) }()
	return nil
}

// feed returns when every line is acknowledged.
func (f *demoFeeder) feed(ctx context.Context, lines []string, over time.Duration) error {
	tick := time.NewTicker(feedStep)
	defer tick.Stop()
	start := time.Now()
	for sent := 0; sent < len(lines); {
		share := min(1, float64(time.Since(start))/float64(max(over, 1)))
		if due := int(share * float64(len(lines))); due > sent {
			if err := f.ingester.Send(ctx, lines[sent:due]...); err != nil {
				return err
			}
			sent = due
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.ingester.Close(ctx)
}

// phase is how far the story of the kill has come.
type phase int

const (
	beforeKill phase = iota
	noLeader         // killed, nobody leads yet
	noBatch          // somebody leads, no batch of the time after the kill is allocated
	notDone          // no such batch is completed
	afterKill        // the cluster goes on, the dead node is still away
	restarted        // the dead node was started again
	takenBack        // and belongs to the cluster again
)

// watch is what the demo sees of the cluster while it runs.
type watch struct {
	members *raftstreamv1.ListMembersReply
	app     *raftstreamv1.App
	index   uint64 // Raft index that app was read at, while the victim was away
	phase   phase
	victim  *demoNode
	killed  time.Time
	since   time.Time // of the phase
	acked   uint64
	rate    float64 // acknowledged lines a second
	rated   time.Time
}

// Times of the story.
const (
	runTime     = 90 * time.Second       // at most, from the first line to the last acknowledgement
	awayTime    = 3 * time.Second        // how long the dead node stays away
	appliedTime = 200 * time.Millisecond // of asking it for its copy of the ledger
)

// run feeds the text, kills the leader half-way, starts it again and returns when every line is acknowledged.
func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	if err := d.startFeeder(ctx); err != nil {
		return err
	}
	w := &watch{rated: time.Now(), since: time.Now()}
	var fed bool
	for !fed || !d.flags.noKill && w.phase != takenBack {
		if err := d.cluster.failedBut(w.away()); err != nil {
			return err
		}
		d.look(ctx, w)
		if err := d.act(ctx, w); err != nil {
			return err
		}
		d.show(w)
		select {
		case err := <-d.feeder.done:
			if err != nil {
				return fmt.Errorf("send lines: %w", err)
			}
			fed = true
			d.screen.event("all %s lines are acknowledged", grouped(int64(len(d.lines))))
		case <-ctx.Done():
			return fmt.Errorf("not done (%v is the limit): %w", runTime, ctx.Err())
		case <-time.After(lookEvery):
		}
	}
	return nil
}

// away is the node that is dead on purpose, nil for none.
func (w *watch) away() *demoNode {
	if w.phase == beforeKill || w.phase >= restarted {
		return nil
	}
	return w.victim
}

// look reads where things stand. A call that fails changes nothing: the story goes on by what was seen last.
func (d *demo) look(ctx context.Context, w *watch) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if m, err := d.client.ListMembers(ctx, &raftstreamv1.ListMembersRequest{}); err == nil {
		w.members = m
	}
	if a, err := d.client.GetApp(ctx, &raftstreamv1.GetAppRequest{Name: demoName}); err == nil {
		w.app = a.GetApp()
		if w.phase < restarted {
			w.index = a.GetRaftIndex()
		}
	}
	acked, now := d.feeder.ingester.Acked(), time.Now()
	if span := now.Sub(w.rated).Seconds(); span >= 1 {
		w.rate = float64(acked-w.acked) / span
		w.acked, w.rated = acked, now
	}
}

func (w *watch) enter(p phase) { w.phase, w.since = p, time.Now() }

// act moves the story on.
func (d *demo) act(ctx context.Context, w *watch) error {
	if d.flags.noKill || w.members == nil || w.app == nil {
		return nil
	}
	sinceKill := time.Since(w.killed).Milliseconds()
	leader := w.members.GetLeader()
	switch w.phase {
	case beforeKill:
		if d.feeder.ingester.Acked() < uint64(len(d.lines))/2 || leader == "" {
			return nil
		}
		return d.killLeader(w, leader)
	case noLeader:
		if leader != "" && leader != w.victim.name {
			d.verdict.LeaderMS = sinceKill
			d.screen.event("%s leads in term %d, %d ms after the kill", leader, w.members.GetTerm(), sinceKill)
			w.enter(noBatch)
		}
	case noBatch:
		// Batch times are on this machine's clock: one after the kill was allocated after it.
		if w.app.GetLastAllocatedMs() > w.killed.UnixMilli() {
			d.verdict.FailoverMS = sinceKill
			d.screen.event("next batch allocated %d ms after the kill", sinceKill)
			w.enter(notDone)
		}
	case notDone:
		if w.app.GetLastCompletedMs() > w.killed.UnixMilli() {
			d.screen.event("and completed %d ms after the kill", sinceKill)
			w.enter(afterKill)
		}
	case afterKill:
		if time.Since(w.killed) < awayTime {
			return nil
		}
		if err := d.cluster.start(w.victim); err != nil {
			return err
		}
		d.screen.event("%s started again: process %d", w.victim.name, w.victim.cmd.Process.Pid)
		w.enter(restarted)
	case restarted:
		if applied := d.applied(ctx, w.victim); applied >= w.index {
			d.screen.event("%s is back: it has applied the ledger up to index %d", w.victim.name, applied)
			w.enter(takenBack)
		}
	}
	return nil
}

// applied asks one node how far its copy of the ledger is, 0 as long as it does not answer.
func (d *demo) applied(ctx context.Context, n *demoNode) uint64 {
	ctx, cancel := context.WithTimeout(ctx, appliedTime)
	defer cancel()
	c, err := client.Dial([]string{n.addr()})
	if err != nil {
		return 0
	}
	defer c.Close() // nothing is left to be sent on it
	reply, err := c.GetLedger(ctx)
	if err != nil {
		return 0
	}
	return reply.GetAppliedIndex()
}

func (d *demo) killLeader(w *watch, leader string) error {
	for _, n := range d.cluster.nodes {
		if n.name != leader {
			continue
		}
		w.victim, w.killed = n, time.Now()
		w.enter(noLeader)
		if err := n.kill(); err != nil {
			return err
		}
		d.screen.event("%s", d.screen.color(seqBold, fmt.Sprintf("%s, the leader, is killed (SIGKILL to process %d)", leader, n.cmd.Process.Pid)))
		return nil
	}
	return fmt.Errorf("the leader %q is no node of the demo", leader)
}

// show draws where things stand.
func (d *demo) show(w *watch) {
	if w.members == nil || w.app == nil {
		return
	}
	var lines []string
	for _, n := range d.cluster.nodes {
		lines = append(lines, "          "+d.describe(n, w))
	}
	acked, all := int64(d.feeder.ingester.Acked()), int64(len(d.lines))
	a := w.app
	batches := int64(0)
	if a.GetBatchMs() > 0 {
		batches = (a.GetLastCompletedMs() - a.GetZeroTimeMs()) / a.GetBatchMs()
	}
	lines = append(lines,
		fmt.Sprintf("          %s %d %%", bar(acked, all, 40), acked*100/max(all, 1)),
		fmt.Sprintf("leader %s, term %d; %d batches completed, %d pending; %s of %s records acknowledged, %s processed, %s/s",
			w.members.GetLeader(), w.members.GetTerm(), batches, a.GetPendingBatches(),
			grouped(acked), grouped(all), grouped(a.GetRecordsProcessed()), grouped(int64(w.rate))))
	d.screen.status(lines...)
}

func (d *demo) describe(n *demoNode, w *watch) string {
	if n == w.away() {
		return n.name + "  killed"
	}
	for _, m := range w.members.GetMembers() {
		if m.GetName() != n.name {
			continue
		}
		j := memberOf(m)
		what := j.Raft
		if w.app.GetCoordinator() == n.name {
			what += ", coordinator"
		}
		return strings.Join([]string{n.name, j.Status, what}, "  ")
	}
	return n.name + "  starting"
}
