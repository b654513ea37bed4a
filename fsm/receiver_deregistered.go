package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// ReceiverDeregistered closes an instance: it adds nothing more. Error is not empty if it failed for good. Natural key:
// (App, Stream, Instance).
type ReceiverDeregistered struct {
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Message  string
	Error    string
	NowMS    int64
}

// Kind gives the command's number.
func (*ReceiverDeregistered) Kind() Kind { return KindReceiverDeregistered }

func receiverDeregisteredRow() row {
	return newRow("ReceiverDeregistered",
		func(c *ReceiverDeregistered) *ledgerpb.ReceiverDeregistered {
			return &ledgerpb.ReceiverDeregistered{
				App: uint64(c.App), Stream: int32(c.Stream), Instance: uint64(c.Instance), Message: text(c.Message),
				Error: text(c.Error), NowMs: c.NowMS,
			}
		},
		func(m *ledgerpb.ReceiverDeregistered) *ReceiverDeregistered {
			return &ReceiverDeregistered{
				App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Instance: id.Instance(m.GetInstance()),
				Message: m.GetMessage(), Error: m.GetError(), NowMS: m.GetNowMs(),
			}
		},
		applyReceiverDeregistered)
}

func applyReceiverDeregistered(t *tx, c *ReceiverDeregistered) Result {
	in, ok := t.blocks.Instance(c.App, c.Stream, c.Instance)
	if !ok {
		return refuse("application %d has no receiver instance %d of stream %d", c.App, c.Instance, c.Stream)
	}
	if in.Closed {
		return t.done()
	}
	t.blocks.CloseInstance(in)
	if r, ok := t.tracker.Receiver(c.App, c.Stream); ok && r.Instance == in.ID {
		t.tracker.Deactivate(r, c.Error, c.NowMS)
		if c.Error != "" {
			t.receiverEvent(c.NowMS, r, EventReceiverFailed, c.Error)
		} else {
			t.receiverEvent(c.NowMS, r, EventReceiverStopped, c.Message)
		}
	}
	return t.done()
}
