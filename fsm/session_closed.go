package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
	"github.com/raftstream/raftstream/tracker"
)

// SessionClosed ends a session: its receiver instances are closed, its offices end (rule 3). Natural key: Session; a
// session that is not open is closed already.
type SessionClosed struct {
	Session id.Session
	Reason  string
	NowMS   int64
}

// Kind gives the command's number.
func (*SessionClosed) Kind() Kind { return KindSessionClosed }

func sessionClosedRow() row {
	return newRow("SessionClosed",
		func(c *SessionClosed) *ledgerpb.SessionClosed {
			return &ledgerpb.SessionClosed{Session: uint64(c.Session), Reason: text(c.Reason), NowMs: c.NowMS}
		},
		func(m *ledgerpb.SessionClosed) *SessionClosed {
			return &SessionClosed{Session: id.Session(m.GetSession()), Reason: m.GetReason(), NowMS: m.GetNowMs()}
		},
		applySessionClosed)
}

func applySessionClosed(t *tx, c *SessionClosed) Result {
	t.endSession(c.Session, c.Reason, c.NowMS)
	return t.done()
}

// endSession takes from a session all that it may do: its receivers are inactive, its instances closed, its offices
// vacant. Copies of blocks stay listed at its store, which may come back with them.
func (t *tx) endSession(n id.Session, reason string, nowMS int64) {
	name := t.node(n)
	var stopped []*tracker.Receiver
	for r := range t.tracker.AllReceivers() {
		if r.Session == n && r.State != tracker.Inactive {
			stopped = append(stopped, r)
		}
	}
	if !t.tracker.CloseSession(n, nowMS) {
		return
	}
	t.warn(nowMS, nil, EventSessionClosed, "%s, session %d: %s", name, n, reason)
	for _, r := range stopped {
		t.receiverEvent(nowMS, r, EventReceiverStopped, "its session has ended")
	}
	t.blocks.CloseSession(n)
	var vacant []*App
	for a := range (View{s: t.state}).Apps() {
		if a.Coordinator == n {
			vacant = append(vacant, a)
		}
	}
	for _, a := range vacant {
		v := *a
		v.Coordinator = 0
		t.set(&v)
	}
}
