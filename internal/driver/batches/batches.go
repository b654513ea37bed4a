// Package batches owns the driver's duty over batches (Spark: JobGenerator, JobScheduler): what is due is allocated,
// what is pending is given to the application's coordinator, and an application that has come to its end is ended. It
// promises batches in order of time, again after every reconnect and to every new coordinator; it must not know how a
// batch is computed.
package batches

import (
	"context"
	"log/slog"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/jobgen"
)

// ahead is how many pending batches of an application its coordinator is given at a time: the one that runs and the
// next.
const ahead = 2

// Duty is the duty.
type Duty struct {
	conns driver.Connections
	clock *Clock
	log   *slog.Logger
}

var _ driver.Duty = (*Duty)(nil)

// New makes the duty.
func New(c driver.Connections, clock *Clock, log *slog.Logger) *Duty {
	return &Duty{conns: c, clock: clock, log: log.With("duty", "batches")}
}

// Name names the duty.
func (d *Duty) Name() string { return "batches" }

// Run does the duty until ctx ends.
func (d *Duty) Run(ctx context.Context, l driver.Ledger) error {
	t := &turn{
		Duty:   d,
		ledger: l,
		ticks:  driver.NewProposals[id.App](d.log),
		sent:   driver.NewSent[batch, id.Attempt](),
	}
	return driver.Turns(ctx, l, d.conns, t.take)
}

// batch names a batch.
type batch struct {
	app  id.App
	time id.Time
}

type turn struct {
	*Duty
	ledger driver.Ledger
	ticks  *driver.Proposals[id.App]
	sent   *driver.Sent[batch, id.Attempt]
}

func (t *turn) take(ctx context.Context, v fsm.View) (time.Duration, error) {
	again := driver.Idle
	if !t.submit(v) {
		again = driver.Soon
	}
	now := t.clock.Now(v)
	nowMS := time.Now().UnixMilli()
	commands := jobgen.Due(v, now, nowMS)
	for a := range v.Apps() {
		if a.State == fsm.Stopping && a.LastGiven && a.Pending == 0 {
			commands[a.ID] = &fsm.ApplicationEnded{App: a.ID, NowMS: nowMS}
		}
	}
	held, err := t.ticks.Make(ctx, t.ledger, commands)
	again = min(again, held)
	if left, ok := jobgen.Next(v, now); ok {
		again = min(again, left)
	}
	return again, err
}

// submit gives the pending batches to their coordinators; false: one of them could not take it.
func (t *turn) submit(v fsm.View) bool {
	all := true
	for a := range v.Apps() {
		if a.State != fsm.Running && a.State != fsm.Stopping {
			continue
		}
		c, connected := t.conns.Of(a.Coordinator)
		if a.Coordinator == 0 || !connected {
			continue
		}
		for i, b := range jobgen.Pending(v, a, ahead) {
			attempt := v.Attempt(a.ID, b.Time)
			all = t.sent.Send(c, batch{a.ID, b.Time}, attempt, func() job.ToExecutor {
				order := t.order(v, a, b.Time, attempt)
				order.AcceptLoss = a.AcceptLoss && i == 0 // the batch that failed is the oldest one
				return order
			}) && all
		}
	}
	t.sent.Keep(t.conns.All(), func(k batch) bool {
		a, ok := v.App(k.app)
		return ok && a.State != fsm.Stopped && k.time > a.Completed
	})
	return all
}

// order makes the order to run a batch, with the inputs of its time and of the earlier times that it may need.
func (t *turn) order(v fsm.View, a *fsm.App, at id.Time, attempt id.Attempt) *job.Batch {
	order := &job.Batch{
		Authority: id.Authority{Epoch: t.ledger.Epoch(), Office: a.Office, Attempt: attempt},
		App:       driver.AppOf(a),
		Time:      at,
	}
	earlier := max(a.RememberMS-1, 0) / a.BatchMS
	for from := max(a.Interval(at, -earlier), a.Interval(a.ZeroTime, 1)); from <= at; from = a.Interval(from, 1) {
		for _, in := range a.Inputs {
			input := job.Input{Stream: in.Stream, Time: from, Blocks: blocksOf(v, a, from, in.Stream)}
			if from == at || len(input.Blocks) > 0 {
				order.Inputs = append(order.Inputs, input)
			}
		}
	}
	return order
}

func blocksOf(v fsm.View, a *fsm.App, at id.Time, s id.Stream) []job.Block {
	input := v.Input(a.ID, at, s)
	blocks := make([]job.Block, len(input))
	for i, b := range input {
		blocks[i] = job.Block{ID: b.ID, Records: b.Records, Bytes: b.Bytes, CRC: b.CRC, Stores: b.Stores}
	}
	return blocks
}
