package fsm

import (
	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// BlocksAllocated fixes what belongs to batch From: every block queued then, up to the limits, and what Direct says of
// direct streams. Batches after From, up to To, are empty. From must be the application's next batch time. Natural key:
// (App, From, To). With Last, every instance must be closed; it is the last allocation if the queue is empty after it
// (rule 11).
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
				Direct: plansToPB(c.Direct), Unplanned: text(c.Unplanned),
			}
		},
		func(m *ledgerpb.BlocksAllocated) *BlocksAllocated {
			return &BlocksAllocated{
				App: id.App(m.GetApp()), From: id.Time(m.GetFrom()), To: id.Time(m.GetTo()), Last: m.GetLast(),
				NowMS: m.GetNowMs(), Direct: plansFromPB(m.GetDirect()), Unplanned: m.GetUnplanned(),
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
	if n > t.room(a, c.NowMS) {
		return limited("application %d (%s) would have %d batches after its checkpoint of %d, expected at most %d",
			a.ID, a.Name, t.uncheckpointed(a)+n, t.checkpointed(a), MaxUncheckpointed)
	}
	if err := t.checkPlans(a, c); err != nil {
		return t.refusePlans(a, c, err)
	}
	t.allocate(a, c, int(n))
	if c.Unplanned != "" {
		t.warn(c.NowMS, a, EventUnplanned, "batch %d: %s", c.From, c.Unplanned)
	}
	return t.done()
}

// room gives how many batches of an application may be allocated now (rule 10).
func (s *state) room(a *App, nowMS int64) int64 {
	room := int64(MaxPending - a.Pending)
	if len(a.States) == 0 {
		return room
	}
	left := MaxUncheckpointed - s.uncheckpointed(a)
	if left <= 0 && a.Pending == 0 {
		if b, ok := s.batch(a.ID, a.Completed); ok && nowMS-b.CompletedMS >= UncheckpointedMS {
			left = 1
		}
	}
	return max(0, min(room, left))
}

// uncheckpointed counts the batches of an application after its checkpoint.
func (s *state) uncheckpointed(a *App) int64 { return int64(a.Allocated-s.checkpointed(a)) / a.BatchMS }

// Room gives how many batches of an application may be allocated at a time of the wall clock: as many as its limits of
// pending batches, and of batches after the checkpoint of its keyed state, leave (rule 10).
func (v View) Room(a *App, nowMS int64) int64 { return v.state().room(a, nowMS) }

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
	direct, moved := t.takePlans(a, c)
	if moved {
		v.Planned = t.index
	}
	v.Received += direct.Records
	v.PendingRecs += direct.Records
	in.Records += direct.Records
	in.Bytes += direct.Bytes
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
