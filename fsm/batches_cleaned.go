package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// BatchesCleaned forgets the input of the batches up to UpTo (rounded down to a batch time): no later batch needs their
// blocks (Spark: cleanupOldBatches). Refused above the completed frontier less the remember duration, and above what a
// rebuild of keyed state from its checkpoint would read (rule 7). Natural key: (App, UpTo).
type BatchesCleaned struct {
	App  id.App
	UpTo id.Time
}

// Kind gives the command's number.
func (*BatchesCleaned) Kind() Kind { return KindBatchesCleaned }

func batchesCleanedRow() row {
	return newRow("BatchesCleaned",
		func(c *BatchesCleaned) *ledgerpb.BatchesCleaned {
			return &ledgerpb.BatchesCleaned{App: uint64(c.App), UpTo: int64(c.UpTo)}
		},
		func(m *ledgerpb.BatchesCleaned) *BatchesCleaned {
			return &BatchesCleaned{App: id.App(m.GetApp()), UpTo: id.Time(m.GetUpTo())}
		},
		applyBatchesCleaned)
}

func applyBatchesCleaned(t *tx, c *BatchesCleaned) Result {
	a, ok := t.app(c.App)
	if !ok {
		return refuse("no application %d", c.App)
	}
	if c.UpTo <= a.Cleaned || !a.Live() {
		return t.done()
	}
	if most := a.Completed - id.Time(a.RememberMS); c.UpTo > most {
		return refuse("application %d (%s) is to be cleaned up to %d, expected at most %d: completed up to %d, remembers %d ms",
			a.ID, a.Name, c.UpTo, most, a.Completed, a.RememberMS)
	}
	if most := t.rebuilt(a); c.UpTo > most {
		return refuse("application %d (%s) is to be cleaned up to %d, expected at most %d: its state is checkpointed up to %d, remembers %d ms",
			a.ID, a.Name, c.UpTo, most, t.checkpointed(a), a.RememberMS)
	}
	upTo := c.UpTo - (c.UpTo-a.ZeroTime)%id.Time(a.BatchMS)
	if upTo <= a.Cleaned {
		return t.done()
	}
	t.blocks.Clean(a.ID, upTo)
	v := *a
	v.Cleaned = upTo
	t.trimBatches(&v, MaxKeptBatches)
	t.set(&v)
	return t.done()
}

// rebuilt gives the time up to which no rebuild of an application's keyed state reads (rule 7): its first batch is the
// one after the checkpoint, and that reads what it remembers.
func (s *state) rebuilt(a *App) id.Time {
	if len(a.States) == 0 {
		return maxTime
	}
	return a.Interval(s.checkpointed(a), 1) - id.Time(a.RememberMS)
}
