package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// ReceiverFailed records an error of a running receiver, which its executor starts again. It changes what is shown and
// nothing else, so that repeating it is harmless.
type ReceiverFailed struct {
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Error    string
	NowMS    int64
}

// Kind gives the command's number.
func (*ReceiverFailed) Kind() Kind { return KindReceiverFailed }

func receiverFailedRow() row {
	return newRow("ReceiverFailed",
		func(c *ReceiverFailed) *ledgerpb.ReceiverFailed {
			return &ledgerpb.ReceiverFailed{
				App: uint64(c.App), Stream: int32(c.Stream), Instance: uint64(c.Instance), Error: text(c.Error), NowMs: c.NowMS,
			}
		},
		func(m *ledgerpb.ReceiverFailed) *ReceiverFailed {
			return &ReceiverFailed{
				App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Instance: id.Instance(m.GetInstance()),
				Error: m.GetError(), NowMS: m.GetNowMs(),
			}
		},
		applyReceiverFailed)
}

func applyReceiverFailed(t *tx, c *ReceiverFailed) Result {
	r, ok := t.tracker.Receiver(c.App, c.Stream)
	if !ok {
		return refuse("application %d has no receiver of stream %d", c.App, c.Stream)
	}
	if r.Instance != c.Instance {
		return refuse("instance %d is not the current one, that is %d", c.Instance, r.Instance)
	}
	t.tracker.Fail(r, c.Error, c.NowMS)
	t.receiverEvent(c.NowMS, r, EventReceiverFailed, c.Error)
	return t.done()
}
