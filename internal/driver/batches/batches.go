// Package batches owns the driver's duty over batches (Spark: JobGenerator, JobScheduler): what is due is allocated,
// what is pending is given to the application's coordinator, and an application that has come to its end is ended. It
// promises batches in order of time, again after every reconnect and to every new coordinator; it must not know how a
// batch is computed.
package batches

import (
	"context"
	"hash/maphash"
	"log/slog"
	"maps"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/jobgen"
)

// ahead is how many pending batches of an application its coordinator is given at a time: the one that runs and the
// next.
const ahead = 2

// refresh is how often it is looked at most whether the stores of an ordered batch's input are still those that were
// told. To look costs a walk over the blocks, and only a batch that waits has use for the answer.
const refresh = 500 * time.Millisecond

// Duty is the duty.
type Duty struct {
	conns  driver.Connections
	clock  *Clock
	limits *driver.Limits // nil: none
	log    *slog.Logger
}

var _ driver.Duty = (*Duty)(nil)

// New makes the duty.
func New(c driver.Connections, clock *Clock, log *slog.Logger) *Duty {
	return &Duty{conns: c, clock: clock, log: log.With("duty", "batches")}
}

// With makes plans of direct streams take in what the limits say at most.
func (d *Duty) With(l *driver.Limits) *Duty {
	d.limits = l
	return d
}

// Name names the duty.
func (d *Duty) Name() string { return "batches" }

// Run does the duty until ctx ends.
func (d *Duty) Run(ctx context.Context, l driver.Ledger) error {
	ticks := driver.NewProposals[id.App](d.log)
	t := &turn{
		Duty:   d,
		ledger: l,
		ticks:  ticks,
		sent:   driver.NewSent[batch, version](),
		plans:  newPlans(d.conns, l.Epoch(), ticks.Refused, d.limits, d.log),
		looked: make(map[batch]look),
		seed:   maphash.MakeSeed(),
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
	sent   *driver.Sent[batch, version]
	plans  *plans
	looked map[batch]look // when an ordered batch was looked at last
	seed   maphash.Seed
}

// version is what an order said that may change while its batch is pending.
type version struct {
	attempt id.Attempt
	stores  uint64 // hash of the stores of its blocks
}

// look is a version as it was found at a time.
type look struct {
	version
	at    time.Time
	moves uint64 // fsm.View.StoresVersion
}

func (t *turn) take(ctx context.Context, v fsm.View) (time.Duration, error) {
	again := t.submit(v)
	now := t.clock.Now(v)
	nowMS := time.Now().UnixMilli()
	commands := jobgen.Due(v, now, nowMS)
	for a := range v.Apps() {
		if a.State == fsm.Stopping && a.LastGiven && a.Pending == 0 {
			commands[a.ID] = &fsm.ApplicationEnded{App: a.ID, NowMS: nowMS}
		}
	}
	again = min(again, t.plans.fill(v, commands))
	held, err := t.ticks.Make(ctx, t.ledger, commands)
	for _, c := range commands {
		if c.Kind() == fsm.KindBlocksAllocated && err == nil {
			failpoint.Hit(failpoint.BatchAllocated)
		}
	}
	again = min(again, held)
	if left, ok := jobgen.Next(v, now); ok {
		again = min(again, left)
	}
	return again, err
}

// submit gives the pending batches to their coordinators. It is to be called again after a while: when one of them
// could not take its batch, or when it is time to look at the stores again.
func (t *turn) submit(v fsm.View) (again time.Duration) {
	again = driver.Idle
	for a := range v.Apps() {
		if a.State != fsm.Running && a.State != fsm.Stopping {
			continue
		}
		c, connected := t.conns.Of(a.Coordinator)
		if a.Coordinator == 0 || !connected {
			continue
		}
		for _, b := range jobgen.Pending(v, a, ahead) {
			now, left := t.version(v, a, b.Time)
			again = min(again, left)
			if !t.sent.Send(c, batch{a.ID, b.Time}, now, func() job.ToExecutor {
				return driver.OrderOf(v, a, b.Time, t.ledger.Epoch())
			}) {
				again = min(again, driver.Soon)
			}
		}
	}
	kept := func(k batch) bool {
		a, ok := v.App(k.app)
		return ok && a.State != fsm.Stopped && k.time > a.Completed
	}
	t.sent.Keep(t.conns.All(), kept)
	maps.DeleteFunc(t.looked, func(k batch, _ look) bool { return !kept(k) })
	return again
}

// version gives a pending batch's version. Its stores are looked at again only when those of some block of the
// application have changed, and not sooner than refresh after the time before: after left it may be another one.
func (t *turn) version(v fsm.View, a *fsm.App, at id.Time) (now version, left time.Duration) {
	k := batch{a.ID, at}
	attempt, moves := v.Attempt(a.ID, at), v.StoresVersion(a.ID)
	if last, known := t.looked[k]; known && last.attempt == attempt {
		if last.moves == moves {
			return last.version, driver.Idle
		}
		if left := refresh - time.Since(last.at); left > 0 {
			return last.version, left
		}
	}
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, in := range driver.OrderOf(v, a, at, t.ledger.Epoch()).Inputs {
		for _, b := range in.Blocks {
			for _, s := range b.Stores {
				maphash.WriteComparable(&h, s)
			}
			maphash.WriteComparable(&h, len(b.Stores))
		}
	}
	now = version{attempt, h.Sum64()}
	t.looked[k] = look{now, time.Now(), moves}
	return now, driver.Idle
}
