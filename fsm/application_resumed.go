package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// ApplicationResumed lets a failed application run its failed batch again and go on. With AcceptLoss its oldest pending
// batch may run without input that nobody holds any more, also when it has not failed but waits (rule 8). Prev is the
// index of the last resumption that the proposer saw (0 for none): natural key (App, Prev, AcceptLoss). So the
// repetition of a resumption whose outcome was unknown never accepts the loss of another batch.
type ApplicationResumed struct {
	App        id.App
	Prev       uint64
	AcceptLoss bool
	NowMS      int64
}

// Kind gives the command's number.
func (*ApplicationResumed) Kind() Kind { return KindApplicationResumed }

func applicationResumedRow() row {
	return newRow("ApplicationResumed",
		func(c *ApplicationResumed) *ledgerpb.ApplicationResumed {
			return &ledgerpb.ApplicationResumed{App: uint64(c.App), AcceptLoss: c.AcceptLoss, NowMs: c.NowMS, Prev: c.Prev}
		},
		func(m *ledgerpb.ApplicationResumed) *ApplicationResumed {
			return &ApplicationResumed{
				App: id.App(m.GetApp()), Prev: m.GetPrev(), AcceptLoss: m.GetAcceptLoss(), NowMS: m.GetNowMs(),
			}
		},
		applyApplicationResumed)
}

func applyApplicationResumed(t *tx, c *ApplicationResumed) Result {
	a, refused := t.live(c.App)
	if a == nil {
		return refused
	}
	if a.Broken {
		return refuse("application %d (%s) cannot be resumed, only stopped at once: %s", a.ID, a.Name, a.Error)
	}
	if a.Resumed != c.Prev {
		if a.PrevResumed == c.Prev && a.ResumedLoss == c.AcceptLoss {
			return t.doneAt(a.Resumed)
		}
		return refuse("application %d (%s) was resumed at index %d, after %d: look whether it must be again", a.ID, a.Name,
			a.Resumed, c.Prev)
	}
	waits := c.AcceptLoss && !a.AcceptLoss && a.Pending > 0
	if a.State != Failed && !waits {
		return refuse("application %d (%s) is %v: there is nothing to resume", a.ID, a.Name, a.State)
	}
	v := *a
	v.Resumed, v.PrevResumed, v.ResumedLoss, v.Error = t.index, a.Resumed, c.AcceptLoss, ""
	v.AcceptLoss = c.AcceptLoss && v.Pending > 0
	if v.State == Failed {
		v.State = Running
		if v.Draining {
			v.State = Stopping
		}
		t.reopen(&v)
	}
	t.countAttempt(&v)
	t.set(&v)
	if c.AcceptLoss {
		t.warn(c.NowMS, a, EventApplicationResumed, "accepting loss")
	} else {
		t.event(c.NowMS, a, EventApplicationResumed, "")
	}
	return t.done()
}

// reopen makes failed batches run again.
func (t *tx) reopen(a *App) {
	var failed []*Batch
	for b := range (View{s: t.state}).Batches(a.ID, a.Completed) {
		if b.State == BatchFailedState {
			failed = append(failed, b)
		}
	}
	for _, b := range failed {
		v := *b
		v.State, v.Error, v.Done, v.Office, v.Attempt = Allocated, "", 0, 0, 0
		t.batches.Set(&v)
	}
}

// countAttempt notes that the right to run the oldest pending batch was granted again.
func (t *tx) countAttempt(a *App) {
	if b, ok := t.batch(a.ID, a.Interval(a.Completed, 1)); ok {
		v := *b
		v.Attempts++
		t.batches.Set(&v)
	}
}
