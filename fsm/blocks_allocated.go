package fsm

import (
	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// BlocksAllocated fixes what belongs to batch From: every block queued then, up to the limits. Batches after From, up
// to To, are empty. From must be the application's next batch time. Natural key: (App, From, To). With Last, every
// instance must be closed; it is the last allocation if the queue is empty after it (rule 11).
type BlocksAllocated struct {
	App      id.App
	From, To id.Time
	Last     bool // the application is draining: no block is added and no batch allocated after this
	// Direct is what batch From reads of direct streams (rule 12): taken as a whole or not at all.
	Direct []StreamPlan
	// Unplanned says why batch From reads nothing new of the application's direct streams although it was due to: for
	// people to see. "" where it does not, and while the reason is the one that was given before.
	Unplanned string
	NowMS     int64
}

// StreamPlan is what one batch reads of one direct stream.
type StreamPlan struct {
	Stream id.Stream
	Plan   connector.Plan
}

// Kind gives the command's number.
func (*BlocksAllocated) Kind() Kind { return KindBlocksAllocated }

func blocksAllocatedRow() row {
	return newRow("BlocksAllocated",
		func(c *BlocksAllocated) *ledgerpb.BlocksAllocated {
			return &ledgerpb.BlocksAllocated{
				App: uint64(c.App), From: int64(c.From), To: int64(c.To), Last: c.Last, NowMs: c.NowMS,
			}
		},
		func(m *ledgerpb.BlocksAllocated) *BlocksAllocated {
			return &BlocksAllocated{
				App: id.App(m.GetApp()), From: id.Time(m.GetFrom()), To: id.Time(m.GetTo()), Last: m.GetLast(),
				NowMS: m.GetNowMs(),
			}
		},
		applyBlocksAllocated)
}

func applyBlocksAllocated(t *tx, c *BlocksAllocated) Result {
	a, refused := t.live(c.App)
	if a == nil {
		return refused
	}
	next := a.Interval(a.Allocated, 1)
	if c.To < c.From {
		return refuse("batches from %d to %d, expected at least one", c.From, c.To)
	}
	if c.To <= a.Allocated && c.From > a.ZeroTime && a.onGrid(c.From) && a.onGrid(c.To) {
		index := uint64(0)
		if b, ok := t.batch(a.ID, c.From); ok {
			index = b.Index
		}
		return t.doneAt(index)
	}
	if c.From != next || !a.onGrid(c.To) {
		return refuse("batches from %d to %d, expected from %d in steps of %d", c.From, c.To, next, a.BatchMS)
	}
	if bad := t.mayAllocate(a, c); bad != "" {
		return refuse("application %d (%s) %s", a.ID, a.Name, bad)
	}
	n := int64(c.To-c.From)/a.BatchMS + 1
	if n > int64(MaxPending-a.Pending) {
		return limited("application %d (%s) has %d pending batches and would get %d more, expected at most %d",
			a.ID, a.Name, a.Pending, n, MaxPending)
	}
	t.allocate(a, c, int(n))
	return t.done()
}

// onGrid tells whether t is a batch time or zero time.
func (a *App) onGrid(at id.Time) bool {
	return at >= a.ZeroTime && (at-a.ZeroTime)%id.Time(a.BatchMS) == 0
}

func (t *tx) mayAllocate(a *App, c *BlocksAllocated) string {
	switch {
	case a.State == Failed:
		return "has failed: nothing is allocated"
	case a.LastGiven:
		return "has got its last batch"
	case c.Last && !a.Draining:
		return "is not stopping: there is no last batch yet"
	case c.Last && c.From != c.To:
		return "is to get several last batches, expected one"
	}
	if _, open := t.blocks.OpenInstanceOf(a.ID); open && c.Last {
		return "has an instance that is not closed: there is no last batch yet"
	}
	return ""
}

func (t *tx) allocate(a *App, c *BlocksAllocated, n int) {
	v := *a
	in := t.blocks.Allocate(a.ID, c.From)
	for at := c.From; at <= c.To; at = a.Interval(at, 1) {
		t.batches.Set(&Batch{
			App: a.ID, Time: at, State: Allocated, Index: t.index, Records: in.Records, Bytes: in.Bytes,
			AllocatedMS: c.NowMS, Attempts: 1,
		})
		in = blocktracker.Input{}
	}
	v.Allocated = c.To
	v.Pending += n
	if q, ok := t.blocks.Queue(a.ID); ok {
		v.PendingRecs += a.Queued - q.Records
		v.Queued, v.QueuedBytes = q.Records, q.Bytes
		v.LastGiven = c.Last && q.Added == q.Allocated
	}
	t.set(&v)
}
