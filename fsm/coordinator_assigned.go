package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// CoordinatorAssigned grants the office of coordinator to a session. Result.Index is the office. Prev is the office
// that the proposer saw: natural key (App, Prev).
type CoordinatorAssigned struct {
	App     id.App
	Session id.Session
	Prev    id.Office
	NowMS   int64
}

// Kind gives the command's number.
func (*CoordinatorAssigned) Kind() Kind { return KindCoordinatorAssigned }

func coordinatorAssignedRow() row {
	return newRow("CoordinatorAssigned",
		func(c *CoordinatorAssigned) *ledgerpb.CoordinatorAssigned {
			return &ledgerpb.CoordinatorAssigned{
				App: uint64(c.App), Session: uint64(c.Session), Prev: uint64(c.Prev), NowMs: c.NowMS,
			}
		},
		func(m *ledgerpb.CoordinatorAssigned) *CoordinatorAssigned {
			return &CoordinatorAssigned{
				App: id.App(m.GetApp()), Session: id.Session(m.GetSession()), Prev: id.Office(m.GetPrev()),
				NowMS: m.GetNowMs(),
			}
		},
		applyCoordinatorAssigned)
}

func applyCoordinatorAssigned(t *tx, c *CoordinatorAssigned) Result {
	a, refused := t.live(c.App)
	if a == nil {
		return refused
	}
	if a.Office != c.Prev && a.PrevOffice == c.Prev && a.Coordinator == c.Session && c.Session != 0 {
		return t.doneAt(uint64(a.Office))
	}
	grant := id.Office(t.index)
	if a.Office != c.Prev || grant == a.Office {
		return refuse("application %d (%s): office %d is to be replaced, the last one is %d", a.ID, a.Name, c.Prev, a.Office)
	}
	if _, ok := t.tracker.Session(c.Session); !ok {
		return refuse("session %d is not open", c.Session)
	}
	v := *a
	v.Office, v.PrevOffice, v.Coordinator = grant, c.Prev, c.Session
	if a.Office != 0 {
		t.countAttempt(&v)
	}
	t.set(&v)
	t.states.OpenOffice(a.ID, grant, a.stateStreams()...)
	t.event(c.NowMS, a, EventCoordinatorAssigned, "%s, office %d", t.node(c.Session), grant)
	return t.done()
}
