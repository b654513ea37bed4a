package statetracker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
)

const (
	app    = id.App(4)
	office = id.Office(7)
)

// piece is one of stream 1 on two stores.
func piece(part int, number uint64) *Piece {
	return &Piece{
		ID:     id.Block{App: app, Stream: 1, Instance: id.Instance(office), Number: number},
		Stream: 1, Part: part, Rows: 2, Bytes: 10, CRC: 5, Stores: []id.Store{"A", "B"},
	}
}

func full(at id.Time, pieces ...*Piece) *Link {
	return &Link{App: app, Office: office, Time: at, Attempt: 9, Full: true, Pieces: pieces}
}

func changes(at, since id.Time, pieces ...*Piece) *Link {
	l := full(at, pieces...)
	l.Full, l.Since = false, since
	return l
}

// rules are those of three open stores A, B, C and two state streams of three partitions, 1 and 2.
func rules() Rules {
	return Rules{
		Required:   2,
		Open:       func(s id.Store) bool { return slices.Contains([]id.Store{"A", "B", "C"}, s) },
		Partitions: func(s id.Stream) (int, bool) { return 3, s == 1 || s == 2 },
	}
}

func started() *State {
	s := NewState()
	s.OpenOffice(app, office, 1, 2)
	return s
}

func commit(t *testing.T, s *State, l *Link, index uint64) {
	t.Helper()
	if got, err := s.Commit(l, rules(), index); err != nil || got != index {
		t.Fatalf("commit of %d: index %d, %v, expected %d", l.Time, got, err, index)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
}

// chain lists the numbers of the pieces, by link.
func chain(s *State) string {
	var out []string
	for p := range s.Pieces(app) {
		out = append(out, fmt.Sprintf("%d:%d/%d", p.Link, p.Part, p.ID.Number))
	}
	return strings.Join(out, " ")
}

// Rule 7: an image and the changes after it are one chain, in the order in which they are decoded; the old chain goes
// when a new image is committed, and what stores hear frees exactly what went.
func TestImageReplacesTheChainThatChangesMadeLonger(t *testing.T) {
	s := started()
	commit(t, s, full(1000, piece(1, 1<<16), piece(0, 2<<16), piece(0, 2<<16|1)), 20)
	commit(t, s, changes(2000, 1000, piece(2, 3<<16)), 21)
	commit(t, s, changes(3000, 2000), 22) // nothing has changed
	if got, want := chain(s), "0:0/131072 0:0/131073 0:1/65536 1:2/196608"; got != want {
		t.Fatalf("chain %s, expected %s", got, want)
	}
	c, _ := s.Checkpoint(app)
	if c.Time != 3000 || c.Links != 3 || c.Pieces != 4 || c.FullBytes != 30 || c.ChangeBytes != 10 || c.Index != 22 {
		t.Fatalf("checkpoint %+v", *c)
	}
	o, _ := s.Office(app, 1, office)
	if s.Cleaned(o) != 1<<16-1 || o.Last != 3<<16 {
		t.Fatalf("office %+v cleaned up to %d", *o, s.Cleaned(o))
	}
	before := s.Copy()
	commit(t, s, full(4000, piece(0, 5<<16)), 23)
	if got, want := chain(s), "0:0/327680"; got != want {
		t.Fatalf("chain %s, expected %s", got, want)
	}
	if o, _ = s.Office(app, 1, office); s.Cleaned(o) != 5<<16-1 {
		t.Fatalf("cleaned up to %d, expected all below the new image", s.Cleaned(o))
	}
	if len(slices.Collect(before.Pieces(app))) != 4 {
		t.Fatal("the picture has changed")
	}
	commit(t, s, full(5000), 24) // every partition is empty
	if o, _ = s.Office(app, 1, office); chain(s) != "" || s.Cleaned(o) != o.Last {
		t.Fatalf("chain %s, cleaned up to %d of %d, expected nothing left", chain(s), s.Cleaned(o), o.Last)
	}
	s.Drop(app)
	if s.Len() != 0 {
		t.Fatalf("%d records are left", s.Len())
	}
}

func TestRepeatedCheckpointIsTheSame(t *testing.T) {
	s := started()
	commit(t, s, full(1000, piece(0, 1)), 20)
	commit(t, s, changes(2000, 1000, piece(1, 2), piece(0, 3)), 21)
	if got, err := s.Commit(changes(2000, 1000, piece(1, 2), piece(0, 3)), rules(), 30); got != 21 || err != nil {
		t.Fatalf("repeated: %d, %v, expected 21", got, err)
	}
	other := changes(2000, 1000, piece(1, 4))
	if _, err := s.Commit(other, rules(), 30); !errors.Is(err, ErrOld) {
		t.Fatalf("other pieces of the same time: %v, expected ErrOld", err)
	}
	if _, err := s.Commit(full(1500, piece(0, 9)), rules(), 30); !errors.Is(err, ErrOld) {
		t.Fatalf("an older one: %v, expected ErrOld", err)
	}
}

// Rules 5, 7 and 10: what is not taken names what was expected, and changes nothing.
func TestCheckpointsThatAreRefused(t *testing.T) {
	with := func(change func(p *Piece)) *Link {
		p := piece(1, 50)
		change(p)
		return full(3000, p)
	}
	many := func(n int) []*Piece {
		all := make([]*Piece, n)
		for i := range all {
			all[i] = piece(0, uint64(100+i))
		}
		return all
	}
	for _, tt := range []struct {
		name, want string
		link       *Link
	}{
		{"not at the end of the chain", "changes against the checkpoint of 1000, that of 2000 is committed", changes(3000, 1000)},
		{"unknown stream", "stream 3 has no keyed state", with(func(p *Piece) { p.Stream, p.ID.Stream = 3, 3 })},
		{"foreign application", "it is not named by application 4, stream 1 and office 7", with(func(p *Piece) { p.ID.App = 5 })},
		{"foreign office", "it is not named by application 4, stream 1 and office 7", with(func(p *Piece) { p.ID.Instance = 6 })},
		{"another stream's name", "it is not named by application 4, stream 1 and office 7", with(func(p *Piece) { p.ID.Stream = 2 })},
		{"old number", "number 2, expected more than 2", with(func(p *Piece) { p.ID.Number = 2 })},
		{"partition", "partition 3, expected 0 to 2", with(func(p *Piece) { p.Part = 3 })},
		{"negative partition", "partition -1, expected 0 to 2", with(func(p *Piece) { p.Part = -1 })},
		{"rows", fmt.Sprintf("%d rows, expected 0 to %d", MaxPieceRows+1, MaxPieceRows), with(func(p *Piece) { p.Rows = MaxPieceRows + 1 })},
		{"bytes", fmt.Sprintf("%d bytes, expected 0 to %d", MaxPieceBytes+1, MaxPieceBytes), with(func(p *Piece) { p.Bytes = MaxPieceBytes + 1 })},
		{"too few copies", "copies on 1 stores with an open session (of 2 named), expected 2", with(func(p *Piece) { p.Stores = []id.Store{"A", "X"} })},
		{"a store twice", "store A is named twice", with(func(p *Piece) { p.Stores = []id.Store{"A", "A"} })},
		{"many stores", "65 stores, expected at most 64", with(func(p *Piece) { p.Stores = make([]id.Store, 65) })},
		{"a piece twice", "is named twice", full(3000, piece(0, 50), piece(1, 50))},
		{"out of order", "of the same partition, expected a higher number", full(3000, piece(0, 51), piece(0, 50))},
		{"too many pieces", "100001 pieces, expected at most 100000", full(3000, many(MaxPieces+1)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := started()
			commit(t, s, full(1000, piece(0, 1)), 20)
			commit(t, s, changes(2000, 1000, piece(0, 2)), 21)
			_, err := s.Commit(tt.link, rules(), 22)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, expected %q", err, tt.want)
			}
			if c, _ := s.Checkpoint(app); c.Index != 21 || chain(s) != "0:0/1 1:0/2" {
				t.Fatalf("checkpoint %+v, chain %s: it has changed", *c, chain(s))
			}
		})
	}
	if _, err := started().Commit(changes(1000, 500), rules(), 20); err == nil || !strings.Contains(err.Error(), "none is committed") {
		t.Fatalf("changes without an image: %v", err)
	}
	if _, err := NewState().Commit(full(1000, piece(0, 1)), rules(), 20); err == nil || !strings.Contains(err.Error(), "office 7 is not known") {
		t.Fatalf("an office that did not begin: %v", err)
	}
}

// Rule 10: what is at a limit of the chain is taken, and what is beyond needs a full one.
func TestChainAtItsLimits(t *testing.T) {
	s := started()
	commit(t, s, full(1, piece(0, 1)), 1)
	for i := range id.Time(MaxLinks - 1) {
		commit(t, s, changes(i+2, i+1, piece(0, uint64(i+2))), uint64(i+2))
	}
	_, err := s.Commit(changes(MaxLinks+1, MaxLinks), rules(), 1000)
	if err == nil || !strings.Contains(err.Error(), "changes to a chain of 100 links, expected less than 100") {
		t.Fatalf("a link too many: %v", err)
	}
	c, _ := s.Checkpoint(app)
	v := *c
	v.Links, v.Pieces = 5, MaxChainPieces-1
	s.PutCheckpoint(&v)
	_, err = s.Commit(changes(MaxLinks+1, MaxLinks, piece(0, 1001), piece(0, 1002)), rules(), 1000)
	if err == nil || !strings.Contains(err.Error(), "2 pieces more on a chain of 399999, expected at most 400000") {
		t.Fatalf("two pieces too many: %v", err)
	}
	if _, err = s.Commit(changes(MaxLinks+1, MaxLinks, piece(0, 1001)), rules(), 1000); err != nil {
		t.Fatalf("the last piece: %v", err)
	}
}

// Offices that ended and left nothing in the chain are forgotten, the oldest first; those in the chain never.
func TestEndedOfficesAreForgotten(t *testing.T) {
	s := started()
	commit(t, s, full(1000, piece(0, 1)), 20)
	for n := id.Office(100); n < 100+MaxOffices+10; n++ {
		s.OpenOffice(app, n, 1, 2)
	}
	var one []id.Office
	for o := range s.Offices(app) {
		if o.Stream == 1 {
			one = append(one, o.ID)
		}
	}
	if len(one) != MaxOffices+2 || one[0] != office || one[1] != 109 {
		t.Fatalf("offices %v, expected %d with the one of the chain and the last", one, MaxOffices+2)
	}
}

func TestStoresOfAPiece(t *testing.T) {
	s := started()
	commit(t, s, full(1000, piece(0, 1)), 20)
	n := piece(0, 1).ID
	s.SetStores(n, []id.Store{"C"})
	s.SetStores(piece(0, 2).ID, []id.Store{"C"}) // unknown
	for p := range s.Pieces(app) {
		if !slices.Equal(p.Stores, []id.Store{"C"}) {
			t.Fatalf("stores %v in the chain, expected C", p.Stores)
		}
	}
	if p, ok := s.Piece(n); !ok || !slices.Equal(p.Stores, []id.Store{"C"}) {
		t.Fatalf("piece %+v, expected it on C", p)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckFindsWhatDoesNotFit(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		damage     func(s *State)
	}{
		{"a piece beyond the chain", "is not in the chain", func(s *State) {
			p := piece(0, 2)
			p.Link = 7
			s.PutPiece(p)
		}},
		{"a piece above its office", "does not hold it", func(s *State) { s.PutPiece(piece(0, 2)) }},
		{"a count", "counts", func(s *State) {
			c, _ := s.Checkpoint(app)
			v := *c
			v.FullBytes++
			s.PutCheckpoint(&v)
		}},
		{"an order", "1 pieces by chain, 0 by id", func(s *State) { s.pieces.Delete(piece(0, 1)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := started()
			commit(t, s, full(1000, piece(0, 1)), 20)
			tt.damage(s)
			if err := s.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, expected %q", err, tt.want)
			}
		})
	}
}

// Rule 7: a bucket keeps its own copies; pieces that name stores there were made by who takes it for another application.
func TestPiecesInABucketHaveNoStores(t *testing.T) {
	s := started()
	in := rules()
	in.Bucket = true
	if _, err := s.Commit(full(1000, piece(0, 1)), in, 20); err == nil || !strings.Contains(err.Error(), "copies on 2 stores, expected none") {
		t.Errorf("with stores: %v", err)
	}
	p := piece(0, 1)
	p.Stores = nil
	if _, err := s.Commit(full(1000, p), rules(), 20); err == nil || !strings.Contains(err.Error(), "copies on 0 stores") {
		t.Errorf("without stores where they are needed: %v", err)
	}
	if _, err := s.Commit(full(1000, p), in, 20); err != nil || chain(s) != "0:0/1" {
		t.Errorf("without stores: %v, chain %s", err, chain(s))
	}
}
