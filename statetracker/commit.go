package statetracker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/internal/id"
)

// Link is a checkpoint to be committed: an image that replaces the chain, or changes that are added to it.
type Link struct {
	App     id.App
	Office  id.Office // that made it
	Time    id.Time
	Attempt id.Attempt
	Full    bool
	Since   id.Time  // unless Full: of the checkpoint that the changes are against
	Pieces  []*Piece // Link and Index of each are set by Commit
}

// Rules says what Commit must know besides the link.
type Rules struct {
	Bucket     bool // pieces are in a bucket, which keeps its own copies: no store has any
	Required   int  // copies (rule 5), unless Bucket
	Open       func(id.Store) bool
	Partitions func(id.Stream) (int, bool) // of a stream with keyed state; false for another stream
}

// ErrOld is in the chain of a refusal because the checkpoint is not newer than the committed one.
var ErrOld = errors.New("a checkpoint must be newer than the committed one")

// OpenOffice notes that an office begins in which pieces of the streams may be made. Ended ones that have nothing left
// in the chain are forgotten beyond MaxOffices.
func (s *State) OpenOffice(app id.App, n id.Office, streams ...id.Stream) {
	for _, stream := range streams {
		s.PutOffice(&Office{App: app, Stream: stream, ID: n})
		var old []*Office
		s.offices.Ascend(&Office{App: app, Stream: stream}, func(o *Office) bool {
			if o.App != app || o.Stream != stream {
				return false
			}
			if o.ID != n && s.Cleaned(o) == o.Last {
				old = append(old, o)
			}
			return true
		})
		for len(old) > MaxOffices {
			s.offices.Delete(old[0])
			old = old[1:]
		}
	}
}

// Commit commits a checkpoint and gives the index at which it was committed, now or earlier (natural key: office, time,
// attempt and pieces). An error is a refusal: nothing has changed.
//
// Rule 7: changes are taken against the end of the chain only; a full image replaces the chain, whose pieces go with
// this commit and not before. Rule 5: every piece has its copies. The pieces belong to the office and have higher
// numbers than all that it committed of their stream.
func (s *State) Commit(l *Link, r Rules, index uint64) (uint64, error) {
	last, _ := s.Checkpoint(l.App)
	l = l.sorted()
	if s.again(last, l) {
		return last.Index, nil
	}
	if err := s.follows(last, l); err != nil {
		return 0, err
	}
	if err := s.checkPieces(l, r); err != nil {
		return 0, err
	}
	next := Checkpoint{
		App: l.App, Time: l.Time, Attempt: l.Attempt, Office: l.Office, Index: index,
		Links: 1, Pieces: len(l.Pieces), FullBytes: l.bytes(),
	}
	if !l.Full {
		next.Links, next.Pieces = last.Links+1, last.Pieces+len(l.Pieces)
		next.FullBytes, next.ChangeBytes = last.FullBytes, last.ChangeBytes+l.bytes()
	} else {
		s.dropPieces(l.App)
	}
	for _, p := range l.Pieces {
		v := *p
		v.Link, v.Index = next.Links-1, index
		s.PutPiece(&v)
		s.raise(&v)
	}
	s.PutCheckpoint(&next)
	return index, nil
}

// sorted gives the link with its pieces in order of stream and partition; those of a partition stay as they are.
func (l *Link) sorted() *Link {
	v := *l
	v.Pieces = slices.Clone(l.Pieces)
	slices.SortStableFunc(v.Pieces, func(a, b *Piece) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Part, b.Part))
	})
	return &v
}

func (l *Link) bytes() (sum int64) {
	for _, p := range l.Pieces {
		sum += p.Bytes
	}
	return sum
}

// again tells whether l is what was committed last.
func (s *State) again(last *Checkpoint, l *Link) bool {
	if last == nil || last.Time != l.Time || last.Attempt != l.Attempt || last.Office != l.Office {
		return false
	}
	return slices.EqualFunc(slices.Collect(s.link(l.App, last.Links-1)), l.Pieces, (*Piece).same)
}

// same tells whether two pieces hold the same bytes.
func (p *Piece) same(o *Piece) bool {
	return p.ID == o.ID && p.Part == o.Part && p.Rows == o.Rows && p.Bytes == o.Bytes && p.CRC == o.CRC
}

// follows is rule 7: what a checkpoint must be to come after the committed one.
func (s *State) follows(last *Checkpoint, l *Link) error {
	switch {
	case last != nil && l.Time <= last.Time:
		return fmt.Errorf("%w: it is of %d, that of %d is committed", ErrOld, l.Time, last.Time)
	case l.Full:
		return nil
	case last == nil:
		return errors.New("changes against a checkpoint, and none is committed: a full one is expected")
	case l.Since != last.Time:
		return fmt.Errorf("changes against the checkpoint of %d, that of %d is committed", l.Since, last.Time)
	case last.Links >= MaxLinks:
		return fmt.Errorf("changes to a chain of %d links, expected less than %d: a full one is expected", last.Links, MaxLinks)
	case last.Pieces+len(l.Pieces) > MaxChainPieces:
		return fmt.Errorf("%d pieces more on a chain of %d, expected at most %d: a full one is expected",
			len(l.Pieces), last.Pieces, MaxChainPieces)
	}
	return nil
}

// checkPieces verifies every piece, and that those of a partition are in the order of the chain.
func (s *State) checkPieces(l *Link, r Rules) error {
	if len(l.Pieces) > MaxPieces {
		return fmt.Errorf("%d pieces, expected at most %d", len(l.Pieces), MaxPieces)
	}
	var prev *Piece
	seen := make(map[id.Block]bool, len(l.Pieces))
	for _, p := range l.Pieces {
		if err := s.checkPiece(l, p, r); err != nil {
			return fmt.Errorf("piece %v: %w", p.ID, err)
		}
		if seen[p.ID] {
			return fmt.Errorf("piece %v is named twice", p.ID)
		}
		seen[p.ID] = true
		if prev != nil && compareChain(prev, p) >= 0 {
			return fmt.Errorf("piece %v comes after piece %v of the same partition, expected a higher number", p.ID, prev.ID)
		}
		prev = p
	}
	return nil
}

func (s *State) checkPiece(l *Link, p *Piece, r Rules) error {
	partitions, ok := r.Partitions(p.Stream)
	if !ok {
		return fmt.Errorf("stream %d has no keyed state", p.Stream)
	}
	if p.ID.App != l.App || p.ID.Stream != p.Stream || p.ID.Instance != id.Instance(l.Office) {
		return fmt.Errorf("it is not named by application %d, stream %d and office %d", l.App, p.Stream, l.Office)
	}
	office, ok := s.Office(l.App, p.Stream, l.Office)
	switch {
	case !ok:
		return fmt.Errorf("office %d is not known", l.Office)
	case p.ID.Number <= office.Last:
		return fmt.Errorf("number %d, expected more than %d", p.ID.Number, office.Last)
	case p.Part < 0 || p.Part >= partitions:
		return fmt.Errorf("partition %d, expected 0 to %d", p.Part, partitions-1)
	case p.Rows < 0 || p.Rows > MaxPieceRows:
		return fmt.Errorf("%d rows, expected 0 to %d", p.Rows, MaxPieceRows)
	case p.Bytes < 0 || p.Bytes > MaxPieceBytes:
		return fmt.Errorf("%d bytes, expected 0 to %d", p.Bytes, MaxPieceBytes)
	case len(p.Stores) > MaxPieceStores:
		return fmt.Errorf("%d stores, expected at most %d", len(p.Stores), MaxPieceStores)
	}
	return checkCopies(p.Stores, r)
}

// checkCopies is rule 5.
func checkCopies(stores []id.Store, r Rules) error {
	if r.Bucket {
		if len(stores) > 0 {
			return fmt.Errorf("copies on %d stores, expected none: the application's pieces are in a bucket", len(stores))
		}
		return nil
	}
	open := 0
	for i, st := range stores {
		if slices.Contains(stores[:i], st) {
			return fmt.Errorf("store %s is named twice", st)
		}
		if r.Open(st) {
			open++
		}
	}
	if open < r.Required {
		return fmt.Errorf("copies on %d stores with an open session (of %d named), expected %d", open, len(stores), r.Required)
	}
	return nil
}

// raise notes that an office has committed a piece.
func (s *State) raise(p *Piece) {
	o, ok := s.Office(p.ID.App, p.Stream, id.Office(p.ID.Instance))
	if ok && o.Last < p.ID.Number {
		v := *o
		v.Last = p.ID.Number
		s.PutOffice(&v)
	}
}

func (s *State) dropPieces(app id.App) {
	var drop []*Piece
	for p := range s.Pieces(app) {
		drop = append(drop, p)
	}
	for _, p := range drop {
		s.chain.Delete(p)
		s.pieces.Delete(p)
	}
}

// SetStores notes which stores hold a piece. An unknown one is passed over.
func (s *State) SetStores(n id.Block, stores []id.Store) {
	if p, ok := s.Piece(n); ok {
		v := *p
		v.Stores = stores
		s.PutPiece(&v)
		s.moves++
	}
}

// Drop forgets everything of an application.
func (s *State) Drop(app id.App) {
	s.dropPieces(app)
	s.checkpoints.Delete(app)
	var drop []*Office
	for o := range s.Offices(app) {
		drop = append(drop, o)
	}
	for _, o := range drop {
		s.offices.Delete(o)
	}
}
