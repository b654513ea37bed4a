package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// ReceiverRegistered says that the instance runs; it starts from positions read after this (rule 4). Natural key: (App,
// Stream, Instance).
type ReceiverRegistered struct {
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Session  id.Session
	NowMS    int64
}

// Kind gives the command's number.
func (*ReceiverRegistered) Kind() Kind { return KindReceiverRegistered }

func receiverRegisteredRow() row {
	return newRow("ReceiverRegistered",
		func(c *ReceiverRegistered) *ledgerpb.ReceiverRegistered {
			return &ledgerpb.ReceiverRegistered{
				App: uint64(c.App), Stream: int32(c.Stream), Instance: uint64(c.Instance), Session: uint64(c.Session),
				NowMs: c.NowMS,
			}
		},
		func(m *ledgerpb.ReceiverRegistered) *ReceiverRegistered {
			return &ReceiverRegistered{
				App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Instance: id.Instance(m.GetInstance()),
				Session: id.Session(m.GetSession()), NowMS: m.GetNowMs(),
			}
		},
		applyReceiverRegistered)
}

func applyReceiverRegistered(t *tx, c *ReceiverRegistered) Result {
	a, refused := t.live(c.App)
	if a == nil {
		return refused
	}
	r, known := t.tracker.Receiver(c.App, c.Stream)
	in, ok := t.blocks.Instance(c.App, c.Stream, c.Instance)
	switch {
	case !known || !ok:
		return refuse("application %d (%s) has no receiver instance %d of stream %d", a.ID, a.Name, c.Instance, c.Stream)
	case in.Session != c.Session:
		return refuse("instance %d belongs to session %d, not to %d", in.ID, in.Session, c.Session)
	case in.Closed:
		return refuse("instance %d is closed", in.ID)
	case r.Instance != in.ID:
		return refuse("instance %d is replaced by %d", in.ID, r.Instance)
	case in.Registered != 0:
		return t.doneAt(in.Registered)
	case a.Draining:
		return refuse("application %d (%s) is stopping: its receivers are not started any more", a.ID, a.Name)
	}
	t.blocks.Register(in, t.index)
	t.tracker.Activate(r, c.NowMS)
	t.event(c.NowMS, a, EventReceiverActive, "stream %d on %s, instance %d", c.Stream, t.node(c.Session), in.ID)
	return t.done()
}
