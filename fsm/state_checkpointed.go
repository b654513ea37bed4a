package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
	"github.com/raftstream/raftstream/statetracker"
)

// StateCheckpointed commits a checkpoint of an application's keyed state (rule 7): all partitions of all its state
// streams as of a completed batch, the whole chain synced on enough stores, or in the application's bucket. A full one replaces the chain, one of
// changes is added to it and must start at its end. Of a full one, a partition without pieces is empty; of changes, it
// is unchanged. Natural key: all of it but NowMS and stores, while it is the last one.
type StateCheckpointed struct {
	App     id.App
	Office  id.Office  // that made it; pieces have it for an instance
	Time    id.Time    // of the completed batch
	Attempt id.Attempt // that won it
	Full    bool
	Since   id.Time // unless Full: time of the committed checkpoint that the changes are against
	Pieces  []CheckpointPiece
	NowMS   int64
}

// CheckpointPiece is a piece of a checkpoint; the pieces of a partition are in order.
type CheckpointPiece struct {
	ID     id.Block
	Stream id.Stream
	Part   int
	Rows   int64
	Bytes  int64
	CRC    uint32
	Stores []id.Store // none in a bucket
}

// Kind gives the command's number.
func (*StateCheckpointed) Kind() Kind { return KindStateCheckpointed }

func stateCheckpointedRow() row {
	return newRow("StateCheckpointed", checkpointedToPB, checkpointedFromPB, applyStateCheckpointed)
}

func checkpointedToPB(c *StateCheckpointed) *ledgerpb.StateCheckpointed {
	m := &ledgerpb.StateCheckpointed{
		App: uint64(c.App), Office: uint64(c.Office), Time: int64(c.Time), Attempt: uint64(c.Attempt), Full: c.Full,
		Since: int64(c.Since), NowMs: c.NowMS,
	}
	places := map[id.Store]uint32{}
	for _, p := range c.Pieces {
		v := &ledgerpb.CheckpointPiece{
			Id: blockIDToPB(p.ID), Stream: int32(p.Stream), Part: int64(p.Part), Rows: p.Rows, Bytes: p.Bytes, Crc: p.CRC,
		}
		for _, s := range p.Stores { // their names would be most of a command that is bounded
			at, known := places[s]
			if !known {
				at = uint32(len(m.Stores))
				places[s] = at
				m.Stores = append(m.Stores, string(s))
			}
			v.Stores = append(v.Stores, at)
		}
		m.Pieces = append(m.Pieces, v)
	}
	return m
}

func checkpointedFromPB(m *ledgerpb.StateCheckpointed) *StateCheckpointed {
	c := &StateCheckpointed{
		App: id.App(m.GetApp()), Office: id.Office(m.GetOffice()), Time: id.Time(m.GetTime()),
		Attempt: id.Attempt(m.GetAttempt()), Full: m.GetFull(), Since: id.Time(m.GetSince()), NowMS: m.GetNowMs(),
	}
	stores := storesFromPB(m.GetStores())
	for _, p := range m.GetPieces() {
		v := CheckpointPiece{
			ID: blockIDFromPB(p.GetId()), Stream: id.Stream(p.GetStream()), Part: int(p.GetPart()), Rows: p.GetRows(),
			Bytes: p.GetBytes(), CRC: p.GetCrc(),
		}
		for _, at := range p.GetStores() {
			s := id.Store("") // no such store: it is never open, so the copy does not count
			if int64(at) < int64(len(stores)) {
				s = stores[at]
			}
			v.Stores = append(v.Stores, s)
		}
		c.Pieces = append(c.Pieces, v)
	}
	return c
}

func applyStateCheckpointed(t *tx, c *StateCheckpointed) Result {
	a, refused := t.live(c.App)
	if a == nil {
		return refused
	}
	if bad := t.mayCheckpoint(a, c); bad != "" {
		return refuse("checkpoint of batch %d of application %d (%s): %s", c.Time, a.ID, a.Name, bad)
	}
	l := &statetracker.Link{
		App: c.App, Office: c.Office, Time: c.Time, Attempt: c.Attempt, Full: c.Full, Since: c.Since,
	}
	for i := range c.Pieces {
		p := &c.Pieces[i]
		l.Pieces = append(l.Pieces, &statetracker.Piece{
			ID: p.ID, Stream: p.Stream, Part: p.Part, Rows: p.Rows, Bytes: p.Bytes, CRC: p.CRC, Stores: p.Stores,
		})
	}
	index, err := t.states.Commit(l, statetracker.Rules{
		Bucket:     a.CheckpointURL != "",
		Required:   min(a.Factor, t.tracker.Open()),
		Open:       func(s id.Store) bool { _, ok := t.tracker.SessionOf(s); return ok },
		Partitions: a.statePartitions,
	}, t.index)
	if err != nil {
		return refuse("checkpoint of batch %d of application %d (%s): %v", c.Time, a.ID, a.Name, err)
	}
	if index == t.index && c.Full {
		cp, _ := t.states.Checkpoint(a.ID)
		t.event(c.NowMS, a, EventStateCheckpointed, "after batch %d, %d bytes in %d pieces", c.Time, cp.FullBytes, cp.Pieces)
	}
	t.touch(a.ID)
	return t.doneAt(index)
}

// mayCheckpoint is rule 7: a checkpoint is of a completed batch, as the attempt that won it left the state, and made by
// the coordinator in office. A repetition of the last one is let through.
func (t *tx) mayCheckpoint(a *App, c *StateCheckpointed) string {
	if cp, ok := t.states.Checkpoint(a.ID); ok && cp.Time == c.Time && cp.Office == c.Office {
		return ""
	}
	b, ok := t.batch(c.App, c.Time)
	switch {
	case len(a.States) == 0:
		return "it has no keyed state"
	case a.Coordinator == 0:
		return refuse("office %d has ended", a.Office).Reason
	case c.Office != a.Office:
		return refuse("made in office %d, expected %d", c.Office, a.Office).Reason
	case !ok || b.State != Completed:
		return refuse("the batch is not completed, or forgotten; completed up to %d", a.Completed).Reason
	case c.Attempt != b.Attempt:
		return refuse("state of attempt %d, expected %d, which won the batch", c.Attempt, b.Attempt).Reason
	}
	return ""
}

// statePartitions gives the partitions of a stream with keyed state; false for another stream.
func (a *App) statePartitions(s id.Stream) (int, bool) {
	for i := range a.States {
		if a.States[i].Stream == s {
			return a.States[i].Partitions, true
		}
	}
	return 0, false
}

// stateStreams lists the streams with keyed state.
func (a *App) stateStreams() []id.Stream {
	streams := make([]id.Stream, len(a.States))
	for i := range a.States {
		streams[i] = a.States[i].Stream
	}
	return streams
}

// checkpointed gives the time up to which the state of an application needs no batch: that of its checkpoint.
func (s *state) checkpointed(a *App) id.Time {
	if c, ok := s.states.Checkpoint(a.ID); ok {
		return c.Time
	}
	return a.ZeroTime
}
