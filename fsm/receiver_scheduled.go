package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
	"github.com/raftstream/raftstream/tracker"
)

// ReceiverScheduled grants a new instance of a receiver to a session (rule 4). Result.Index is the instance. Prev is
// the instance that the proposer saw (0 for none): natural key (App, Stream, Prev). The older instance is not closed
// by it.
type ReceiverScheduled struct {
	App     id.App
	Stream  id.Stream
	Session id.Session
	Prev    id.Instance
	NowMS   int64
}

// Kind gives the command's number.
func (*ReceiverScheduled) Kind() Kind { return KindReceiverScheduled }

func receiverScheduledRow() row {
	return newRow("ReceiverScheduled",
		func(c *ReceiverScheduled) *ledgerpb.ReceiverScheduled {
			return &ledgerpb.ReceiverScheduled{
				App: uint64(c.App), Stream: int32(c.Stream), Session: uint64(c.Session), Prev: uint64(c.Prev), NowMs: c.NowMS,
			}
		},
		func(m *ledgerpb.ReceiverScheduled) *ReceiverScheduled {
			return &ReceiverScheduled{
				App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Session: id.Session(m.GetSession()),
				Prev: id.Instance(m.GetPrev()), NowMS: m.GetNowMs(),
			}
		},
		applyReceiverScheduled)
}

func applyReceiverScheduled(t *tx, c *ReceiverScheduled) Result {
	a, refused := t.live(c.App)
	if a == nil {
		return refused
	}
	r, ok := t.tracker.Receiver(c.App, c.Stream)
	if !ok {
		return refuse("application %d (%s) has no receiver of stream %d", a.ID, a.Name, c.Stream)
	}
	grant := id.Instance(t.index)
	if n, again := tracker.Granted(r, c.Session, c.Prev); again {
		return t.doneAt(uint64(n))
	}
	if a.Draining {
		return refuse("application %d (%s) is stopping: its receivers are not started any more", a.ID, a.Name)
	}
	if _, ok := t.tracker.Session(c.Session); !ok {
		return refuse("session %d is not open", c.Session)
	}
	if err := t.tracker.Schedule(r, c.Session, c.Prev, grant, c.NowMS); err != nil {
		return refuse("%v", err)
	}
	t.blocks.OpenInstance(a.ID, c.Stream, grant, c.Session)
	t.event(c.NowMS, a, EventReceiverScheduled, "stream %d on %s, instance %d", c.Stream, t.node(c.Session), grant)
	return t.done()
}
