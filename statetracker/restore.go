package statetracker

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/id"
)

// PutCheckpoint puts a new or restored checkpoint.
func (s *State) PutCheckpoint(c *Checkpoint) { s.checkpoints.Set(c.App, c) }

// PutPiece puts a new, changed or restored piece.
func (s *State) PutPiece(p *Piece) {
	s.chain.Set(p)
	s.pieces.Set(p)
}

// PutOffice puts a new, changed or restored office.
func (s *State) PutOffice(o *Office) { s.offices.Set(o) }

// Check verifies what must hold among all records; it takes time in proportion to their number. Tests and restoring
// call it.
func (s *State) Check() error {
	if a, b := s.chain.Len(), s.pieces.Len(); a != b {
		return fmt.Errorf("%d pieces by chain, %d by id", a, b)
	}
	type sum struct {
		pieces        int
		full, changes int64
	}
	sums := map[id.App]sum{}
	for p := range s.AllPieces() {
		c, ok := s.Checkpoint(p.ID.App)
		if !ok || p.Link < 0 || p.Link >= c.Links || p.Index > c.Index {
			return fmt.Errorf("piece %v: link %d of entry %d is not in the chain of its application's checkpoint", p.ID, p.Link, p.Index)
		}
		o, ok := s.Office(p.ID.App, p.Stream, id.Office(p.ID.Instance))
		if !ok || p.ID.Stream != p.Stream || p.ID.Number > o.Last {
			return fmt.Errorf("piece %v: its office %+v does not hold it", p.ID, o)
		}
		v := sums[p.ID.App]
		v.pieces++
		if p.Link == 0 {
			v.full += p.Bytes
		} else {
			v.changes += p.Bytes
		}
		sums[p.ID.App] = v
	}
	for c := range s.Checkpoints() {
		want := sum{c.Pieces, c.FullBytes, c.ChangeBytes}
		if got := sums[c.App]; got != want || c.Links < 1 {
			return fmt.Errorf("checkpoint of application %d counts %+v in %d links, found %+v", c.App, want, c.Links, got)
		}
	}
	return nil
}
