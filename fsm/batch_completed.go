package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// BatchCompleted is a batch's one point of completion. It must be the oldest pending one and cite the current office
// and attempt (rules 1, 6). Blocks that it gives up are left out by everybody who computes the batch again, so that
// keyed state comes out the same (rule 7). Natural key: (App, Time, Office, Attempt).
type BatchCompleted struct {
	App                id.App
	Time               id.Time
	Office             id.Office
	Attempt            id.Attempt
	StartedMS, EndedMS int64
	Tries              int
	Lost               int64      // records of the batch given up by resume --accept-loss
	LostBlocks         []id.Block // that they were in: whoever computes the batch again leaves them out too
	NowMS              int64
}

// Kind gives the command's number.
func (*BatchCompleted) Kind() Kind { return KindBatchCompleted }

func batchCompletedRow() row {
	return newRow("BatchCompleted",
		func(c *BatchCompleted) *ledgerpb.BatchCompleted {
			return &ledgerpb.BatchCompleted{
				App: uint64(c.App), Time: int64(c.Time), Office: uint64(c.Office), Attempt: uint64(c.Attempt),
				StartedMs: c.StartedMS, EndedMs: c.EndedMS, Tries: int64(c.Tries), Lost: c.Lost, NowMs: c.NowMS,
				LostBlocks: blockRunsToPB(c.LostBlocks),
			}
		},
		func(m *ledgerpb.BatchCompleted) *BatchCompleted {
			return &BatchCompleted{
				App: id.App(m.GetApp()), Time: id.Time(m.GetTime()), Office: id.Office(m.GetOffice()),
				Attempt: id.Attempt(m.GetAttempt()), StartedMS: m.GetStartedMs(), EndedMS: m.GetEndedMs(),
				Tries: int(m.GetTries()), Lost: m.GetLost(), NowMS: m.GetNowMs(),
				LostBlocks: blockRunsFromPB(m.GetLostBlocks()),
			}
		},
		applyBatchCompleted)
}

func applyBatchCompleted(t *tx, c *BatchCompleted) Result {
	a, ok := t.app(c.App)
	if !ok {
		return refuse("no application %d", c.App)
	}
	b, ok := t.batch(c.App, c.Time)
	if ok && b.State == Completed && b.Office == c.Office && b.Attempt == c.Attempt {
		return t.doneAt(b.Done)
	}
	if bad := t.mayReport(a, b, c.Time, c.Office, c.Attempt); bad != "" {
		return refuse("batch %d of application %d (%s): %s", c.Time, a.ID, a.Name, bad)
	}
	switch {
	case b.State == BatchFailedState:
		return refuse("batch %d of application %d (%s) has failed, it must be resumed first", b.Time, a.ID, a.Name)
	case b.Time != a.Interval(a.Completed, 1):
		return refuse("batch %d of application %d (%s): batch %d must be completed first", b.Time, a.ID, a.Name,
			a.Interval(a.Completed, 1))
	case c.Lost < 0 || c.Lost > b.Records || (c.Lost > 0 || len(c.LostBlocks) > 0) && !a.AcceptLoss:
		return refuse("batch %d of application %d (%s): %d of %d records lost, accepting loss is %t", b.Time, a.ID, a.Name,
			c.Lost, b.Records, a.AcceptLoss)
	}
	if err := t.blocks.CheckLost(a.ID, b.Time, c.LostBlocks); err != nil {
		return refuse("batch %d of application %d (%s): %v", b.Time, a.ID, a.Name, err)
	}
	t.complete(a, b, c)
	return t.done()
}

// mayReport says why a run may not report on a batch, "" if it may: it must be pending, and the run must have the
// current office and attempt.
func (t *tx) mayReport(a *App, b *Batch, at id.Time, office id.Office, attempt id.Attempt) string {
	switch {
	case b == nil && at <= a.Completed:
		return "it is completed and forgotten"
	case b == nil:
		return "it is not allocated"
	case b.State == Completed:
		return refuse("it was completed by office %d, attempt %d, now reported by %d, %d",
			b.Office, b.Attempt, office, attempt).Reason
	case a.Coordinator == 0:
		return refuse("office %d has ended", a.Office).Reason
	case office != a.Office:
		return refuse("reported by office %d, expected %d", office, a.Office).Reason
	case attempt != t.attempt(a, b):
		return refuse("reported by attempt %d, expected %d", attempt, t.attempt(a, b)).Reason
	}
	return ""
}

func (t *tx) complete(a *App, b *Batch, c *BatchCompleted) {
	t.blocks.Lose(c.LostBlocks)
	done := *b
	done.State, done.Done, done.Office, done.Attempt = Completed, t.index, c.Office, c.Attempt
	done.StartedMS, done.EndedMS, done.CompletedMS, done.Tries = c.StartedMS, c.EndedMS, c.NowMS, c.Tries
	t.batches.Set(&done)
	v := *a
	v.Completed = b.Time
	v.Pending--
	v.PendingRecs -= b.Records
	v.Processed += b.Records - c.Lost
	v.Discarded += c.Lost
	v.AcceptLoss = false
	t.trimBatches(&v, MaxKeptBatches)
	t.set(&v)
	if b.Attempts > 1 {
		t.warn(c.NowMS, a, EventBatchRepeated, "batch %d was completed after %d attempts", b.Time, b.Attempts)
	}
	if c.Lost > 0 || len(c.LostBlocks) > 0 {
		t.warn(c.NowMS, a, EventBlocksLost, "batch %d: %d blocks of %d records are given up", b.Time, len(c.LostBlocks), c.Lost)
	}
}
