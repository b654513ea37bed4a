package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// Epoch opens a leadership: its term, and who leads. Envelopes of any other term are refused from here on (rule 1).
// Natural key: Term.
type Epoch struct {
	Term   uint64
	Leader string // raft id
	Name   string // node name
	Addr   string // rpc address
	NowMS  int64
}

// Kind gives the command's number.
func (*Epoch) Kind() Kind { return KindEpoch }

func epochRow() row {
	return newRow("Epoch",
		func(c *Epoch) *ledgerpb.Epoch {
			return &ledgerpb.Epoch{Term: c.Term, Leader: c.Leader, Name: c.Name, Addr: c.Addr, NowMs: c.NowMS}
		},
		func(m *ledgerpb.Epoch) *Epoch {
			return &Epoch{Term: m.GetTerm(), Leader: m.GetLeader(), Name: m.GetName(), Addr: m.GetAddr(), NowMS: m.GetNowMs()}
		},
		applyEpoch)
}

func applyEpoch(t *tx, c *Epoch) Result {
	l := t.leader
	switch {
	case l.Epoch != 0 && c.Term == l.Term && c.Leader == l.Leader:
		return t.doneAt(uint64(l.Epoch))
	case l.Epoch != 0 && c.Term <= l.Term:
		return refuse("epoch of term %d, expected a higher one than %d (%s)", c.Term, l.Term, l.Name)
	}
	t.leader = Leadership{
		Epoch: id.Epoch(t.index), Term: c.Term, Leader: c.Leader, Name: c.Name, Addr: c.Addr, NowMS: c.NowMS,
	}
	t.event(c.NowMS, nil, EventLeaderChanged, "%s leads in term %d", c.Name, c.Term)
	return t.done()
}
