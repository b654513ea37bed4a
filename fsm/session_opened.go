package fsm

import (
	"errors"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
	"github.com/raftstream/raftstream/tracker"
)

// SessionOpened opens a session of an executor and ends the store's older one (rule 3). Natural key: (Store,
// Generation), while that session is open; Result.Index is the session.
type SessionOpened struct {
	Store      id.Store
	Generation uint64
	Name       string
	Addr       string
	Slots      int
	Build      string
	NowMS      int64
}

// Kind gives the command's number.
func (*SessionOpened) Kind() Kind { return KindSessionOpened }

func sessionOpenedRow() row {
	return newRow("SessionOpened",
		func(c *SessionOpened) *ledgerpb.SessionOpened {
			return &ledgerpb.SessionOpened{
				Store: string(c.Store), Generation: c.Generation, Name: c.Name, Addr: c.Addr,
				Slots: int64(c.Slots), Build: c.Build, NowMs: c.NowMS,
			}
		},
		func(m *ledgerpb.SessionOpened) *SessionOpened {
			return &SessionOpened{
				Store: id.Store(m.GetStore()), Generation: m.GetGeneration(), Name: m.GetName(), Addr: m.GetAddr(),
				Slots: int(m.GetSlots()), Build: m.GetBuild(), NowMS: m.GetNowMs(),
			}
		},
		applySessionOpened)
}

func applySessionOpened(t *tx, c *SessionOpened) Result {
	if bad := firstOf(
		checkName("store id", string(c.Store)),
		checkRange("generation", int64(min(c.Generation, 1<<62)), 1, 1<<62),
		checkRange("slots", int64(c.Slots), 0, 1<<20),
		checkRange("length of the node's name", int64(len(c.Name)), 0, MaxName),
		checkRange("length of the address", int64(len(c.Addr)), 0, MaxName),
		checkRange("length of the build id", int64(len(c.Build)), 0, MaxName),
	); bad != "" {
		return refuse("%s", bad)
	}
	open, isOpen := t.tracker.SessionOf(c.Store)
	if isOpen && open.Generation == c.Generation {
		if open.Addr != c.Addr { // no start of one process has two addresses: its data directory was copied
			return refuse("store %s, start %d, works at %s under session %d, now it comes from %s: two nodes have one identity",
				c.Store, c.Generation, open.Addr, open.ID, c.Addr)
		}
		return t.doneAt(uint64(open.ID))
	}
	n := &tracker.Session{
		ID: id.Session(t.index), Store: c.Store, Generation: c.Generation, Name: c.Name, Addr: c.Addr,
		Slots: c.Slots, Build: c.Build, OpenedMS: c.NowMS,
	}
	err := t.tracker.CheckSession(n)
	switch {
	case errors.Is(err, tracker.ErrLimit):
		return limited("%v", err)
	case err != nil:
		return refuse("%v", err)
	}
	if isOpen {
		t.endSession(open.ID, "the node has started again", c.NowMS)
	}
	t.tracker.OpenSession(n)
	t.event(c.NowMS, nil, EventSessionOpened, "%s at %s, store %s, session %d", c.Name, c.Addr, c.Store, n.ID)
	return t.done()
}

// firstOf gives the first complaint.
func firstOf(bad ...string) string {
	for _, b := range bad {
		if b != "" {
			return b
		}
	}
	return ""
}
