// Package cleaning owns the driver's duty over what is not needed any more: batches whose input no later one reads are
// forgotten, and executors hear how far applications are, which is what frees blocks, buckets and logs. It promises
// that nothing is freed before its release is committed (invariant 8); it must not know where things are kept.
package cleaning

import (
	"context"
	"hash/maphash"
	"log/slog"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

// cleanEvery is after how many batches they are cleaned even if that frees no blocks: what is kept for each is small,
// and an entry for each would be most of what an idle application writes.
const cleanEvery = 64

// Duty is the duty.
type Duty struct {
	conns driver.Connections
	log   *slog.Logger
}

var _ driver.Duty = (*Duty)(nil)

// New makes the duty.
func New(c driver.Connections, log *slog.Logger) *Duty {
	return &Duty{conns: c, log: log.With("duty", "cleaning")}
}

// Name names the duty.
func (d *Duty) Name() string { return "cleaning" }

// Run does the duty until ctx ends.
func (d *Duty) Run(ctx context.Context, l driver.Ledger) error {
	t := &turn{
		Duty:      d,
		ledger:    l,
		proposals: driver.NewProposals[id.App](d.log),
		sent:      driver.NewSent[id.App, uint64](),
		seed:      maphash.MakeSeed(),
	}
	return driver.Turns(ctx, l, d.conns, t.take)
}

type turn struct {
	*Duty
	ledger    driver.Ledger
	proposals *driver.Proposals[id.App]
	sent      *driver.Sent[id.App, uint64] // hash of the progress told
	seed      maphash.Seed
}

func (t *turn) take(ctx context.Context, v fsm.View) (time.Duration, error) {
	again := driver.Idle
	if !t.tell(v) {
		again = driver.Soon
	}
	held, err := t.proposals.Make(ctx, t.ledger, cleanable(v))
	return min(again, held), err
}

// cleanable gives the releases of what no later batch can read, where they free blocks or are many.
func cleanable(v fsm.View) map[id.App]fsm.Command {
	commands := make(map[id.App]fsm.Command)
	for a := range v.Apps() {
		if a.State == fsm.Stopped {
			continue
		}
		upTo := driver.CleanableUpTo(v, a)
		if upTo >= a.Interval(a.Cleaned, cleanEvery) || upTo > a.Cleaned && v.Cleanable(a.ID, upTo) {
			commands[a.ID] = &fsm.BatchesCleaned{App: a.ID, UpTo: upTo}
		}
	}
	return commands
}

// tell sends the progress of every application to everybody who does not know it; false: somebody could not take it.
func (t *turn) tell(v fsm.View) bool {
	conns := t.conns.All()
	all := true
	for a := range v.Apps() {
		p := driver.ProgressOf(v, a, t.ledger.Epoch())
		sum := t.hash(p)
		for _, c := range conns {
			all = t.sent.Send(c, a.ID, sum, func() job.ToExecutor { return p }) && all
		}
	}
	t.sent.Keep(conns, func(a id.App) bool {
		_, ok := v.App(a)
		return ok
	})
	return all
}

// hash covers what makes a progress worth telling: not the last number of an open instance, which every block moves.
func (t *turn) hash(p *job.Progress) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	maphash.WriteComparable(&h, [4]int64{int64(p.App), int64(p.Completed), int64(p.Cleaned), int64(p.Checkpointed)})
	maphash.WriteComparable(&h, p.Ended)
	maphash.WriteComparable(&h, p.Sweeper)
	for _, i := range p.Instances {
		if !i.Closed {
			i.Last = 0
		}
		maphash.WriteComparable(&h, i)
	}
	return h.Sum64()
}
