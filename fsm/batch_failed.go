package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// BatchFailed fails a pending batch and with it the application, until it is resumed or stopped. Of an application that
// was stopped at once the batch is given up instead: nobody is left to resume it. It must cite the current office and
// attempt (rules 1, 6). Natural key: (App, Time, Office, Attempt); a batch that was given up is refused when it is
// reported again.
type BatchFailed struct {
	App                id.App
	Time               id.Time
	Office             id.Office
	Attempt            id.Attempt
	Error              string
	StartedMS, EndedMS int64
	Tries              int
	NowMS              int64
}

// Kind gives the command's number.
func (*BatchFailed) Kind() Kind { return KindBatchFailed }

func batchFailedRow() row {
	return newRow("BatchFailed",
		func(c *BatchFailed) *ledgerpb.BatchFailed {
			return &ledgerpb.BatchFailed{
				App: uint64(c.App), Time: int64(c.Time), Office: uint64(c.Office), Attempt: uint64(c.Attempt),
				Error: text(c.Error), StartedMs: c.StartedMS, EndedMs: c.EndedMS, Tries: int64(c.Tries), NowMs: c.NowMS,
			}
		},
		func(m *ledgerpb.BatchFailed) *BatchFailed {
			return &BatchFailed{
				App: id.App(m.GetApp()), Time: id.Time(m.GetTime()), Office: id.Office(m.GetOffice()),
				Attempt: id.Attempt(m.GetAttempt()), Error: m.GetError(), StartedMS: m.GetStartedMs(),
				EndedMS: m.GetEndedMs(), Tries: int(m.GetTries()), NowMS: m.GetNowMs(),
			}
		},
		applyBatchFailed)
}

func applyBatchFailed(t *tx, c *BatchFailed) Result {
	a, ok := t.app(c.App)
	if !ok {
		return refuse("no application %d", c.App)
	}
	b, ok := t.batch(c.App, c.Time)
	if ok && b.State == BatchFailedState && b.Office == c.Office && b.Attempt == c.Attempt {
		return t.doneAt(b.Done)
	}
	if bad := t.mayReport(a, b, c.Time, c.Office, c.Attempt); bad != "" {
		return refuse("batch %d of application %d (%s): %s", c.Time, a.ID, a.Name, bad)
	}
	if a.AtOnce {
		v := *a
		v.Error = c.Error
		t.dropPending(&v, a.Completed)
		t.set(&v)
		t.warn(c.NowMS, a, EventBatchFailed, "batch %d, which is given up: %s", c.Time, c.Error)
		return t.done()
	}
	f := *b
	f.State, f.Done, f.Office, f.Attempt = BatchFailedState, t.index, c.Office, c.Attempt
	f.StartedMS, f.EndedMS, f.Tries, f.Error = c.StartedMS, c.EndedMS, c.Tries, c.Error
	t.batches.Set(&f)
	v := *a
	v.State, v.Error = Failed, c.Error
	t.set(&v)
	t.warn(c.NowMS, a, EventBatchFailed, "batch %d: %s", c.Time, c.Error)
	if a.State != Failed {
		t.warn(c.NowMS, a, EventApplicationFailed, "%s", c.Error)
	}
	return t.done()
}
