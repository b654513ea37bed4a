package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// ApplicationEnded is the last step of a stop: every batch is completed, no receiver is left. All that the ledger kept
// for the application's work is freed; what is shown of it stays. Natural key: App.
type ApplicationEnded struct {
	App   id.App
	NowMS int64
}

// Kind gives the command's number.
func (*ApplicationEnded) Kind() Kind { return KindApplicationEnded }

func applicationEndedRow() row {
	return newRow("ApplicationEnded",
		func(c *ApplicationEnded) *ledgerpb.ApplicationEnded {
			return &ledgerpb.ApplicationEnded{App: uint64(c.App), NowMs: c.NowMS}
		},
		func(m *ledgerpb.ApplicationEnded) *ApplicationEnded {
			return &ApplicationEnded{App: id.App(m.GetApp()), NowMS: m.GetNowMs()}
		},
		applyApplicationEnded)
}

func applyApplicationEnded(t *tx, c *ApplicationEnded) Result {
	a, ok := t.app(c.App)
	switch {
	case !ok:
		return refuse("no application %d", c.App)
	case !a.Live():
		return t.doneAt(a.EndIndex)
	case a.State != Stopping:
		return refuse("application %d (%s) is %v, expected stopping", a.ID, a.Name, a.State)
	case !a.LastGiven:
		return refuse("application %d (%s) has not got its last batch", a.ID, a.Name)
	case a.Pending > 0:
		return refuse("application %d (%s) has %d pending batches, expected 0", a.ID, a.Name, a.Pending)
	}
	if in, open := t.blocks.OpenInstanceOf(a.ID); open {
		return refuse("instance %d of stream %d of application %d is not closed", in.ID, in.Stream, a.ID)
	}
	v := *a
	v.State, v.StoppedMS, v.EndIndex, v.Coordinator, v.Cleaned = Stopped, c.NowMS, t.index, 0, v.Completed
	t.blocks.Drop(v.ID)
	t.states.Drop(v.ID)
	t.tracker.DropReceivers(v.ID)
	t.trimBatches(&v, MaxKeptEnded)
	t.set(&v)
	t.event(c.NowMS, a, EventApplicationEnded, "%d records processed, %d discarded", v.Processed, v.Discarded)
	return t.done()
}
