package statetracker

import (
	"cmp"
	"iter"

	"github.com/tidwall/btree"

	"github.com/raftstream/raftstream/internal/id"
)

// State is the state tracker's part of the ledger. One goroutine changes it; Copy gives a picture that any number may
// read while the original changes. Values in it are immutable: a change puts a new one.
type State struct {
	checkpoints *btree.Map[id.App, *Checkpoint]
	chain       *btree.BTreeG[*Piece] // by application, link, stream, part, number
	pieces      *btree.BTreeG[*Piece] // the same, by id
	offices     *btree.BTreeG[*Office]
	moves       uint64 // changes of stores since this State was made or restored
}

// NewState makes an empty one.
func NewState() *State {
	return &State{
		checkpoints: btree.NewMap[id.App, *Checkpoint](0),
		chain:       tree(compareChain),
		pieces:      tree(func(a, b *Piece) int { return a.ID.Compare(b.ID) }),
		offices:     tree(compareOffices),
	}
}

func tree[T any](compare func(a, b T) int) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(func(a, b T) bool { return compare(a, b) < 0 }, btree.Options{NoLocks: true})
}

// Copy gives a picture of s in constant time. It must be called by the goroutine that changes s.
func (s *State) Copy() *State {
	return &State{
		checkpoints: s.checkpoints.Copy(), chain: s.chain.Copy(), pieces: s.pieces.Copy(), offices: s.offices.Copy(),
		moves: s.moves,
	}
}

// Moves counts how often the stores of a piece have changed. It is for who has looked at them to know whether to look
// again: it is no part of the ledger, is in no snapshot and differs from node to node.
func (s *State) Moves() uint64 { return s.moves }

// compareChain orders the pieces of an application as they are decoded: the image first, and within a link the pieces
// of a partition by number.
func compareChain(a, b *Piece) int {
	return cmp.Or(cmp.Compare(a.ID.App, b.ID.App), cmp.Compare(a.Link, b.Link), cmp.Compare(a.Stream, b.Stream),
		cmp.Compare(a.Part, b.Part), a.ID.Compare(b.ID))
}

func compareOffices(a, b *Office) int {
	return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.ID, b.ID))
}

// Len counts all records; what is kept in two orders counts once.
func (s *State) Len() int { return s.checkpoints.Len() + s.pieces.Len() + s.offices.Len() }

// Checkpoint gives an application's committed checkpoint.
func (s *State) Checkpoint(app id.App) (*Checkpoint, bool) { return s.checkpoints.Get(app) }

// Checkpoints lists the checkpoints in order of application.
func (s *State) Checkpoints() iter.Seq[*Checkpoint] {
	return func(yield func(*Checkpoint) bool) {
		s.checkpoints.Scan(func(_ id.App, c *Checkpoint) bool { return yield(c) })
	}
}

// Piece gives a piece of a committed checkpoint.
func (s *State) Piece(n id.Block) (*Piece, bool) { return s.pieces.Get(&Piece{ID: n}) }

// Pieces lists the pieces of an application's checkpoint in the order of the chain.
func (s *State) Pieces(app id.App) iter.Seq[*Piece] { return s.link(app, 0) }

// link lists the pieces of an application from a link of its chain on.
func (s *State) link(app id.App, from int) iter.Seq[*Piece] {
	return func(yield func(*Piece) bool) {
		s.chain.Ascend(&Piece{ID: id.Block{App: app}, Link: from, Stream: minStream, Part: -1}, func(p *Piece) bool {
			return p.ID.App == app && yield(p)
		})
	}
}

// AllPieces lists the pieces of all applications, each in the order of its chain.
func (s *State) AllPieces() iter.Seq[*Piece] { return s.chain.Scan }

// Office gives what is known of an office's pieces of one stream.
func (s *State) Office(app id.App, stream id.Stream, n id.Office) (*Office, bool) {
	return s.offices.Get(&Office{App: app, Stream: stream, ID: n})
}

// Offices lists an application's offices in order of stream and id.
func (s *State) Offices(app id.App) iter.Seq[*Office] {
	return func(yield func(*Office) bool) {
		s.offices.Ascend(&Office{App: app, Stream: minStream}, func(o *Office) bool { return o.App == app && yield(o) })
	}
}

// AllOffices lists the offices of all applications in order.
func (s *State) AllOffices() iter.Seq[*Office] { return s.offices.Scan }

// Cleaned gives the number up to which no piece of the office is needed: below its first one in the chain, or the last
// one committed. It never goes back, because what is committed next has a higher number than Last.
func (s *State) Cleaned(o *Office) uint64 {
	cleaned := o.Last
	from := id.Block{App: o.App, Stream: o.Stream, Instance: id.Instance(o.ID)}
	s.pieces.Ascend(&Piece{ID: from}, func(p *Piece) bool {
		if p.ID.App == o.App && p.ID.Stream == o.Stream && p.ID.Instance == from.Instance {
			cleaned = p.ID.Number - 1
		}
		return false
	})
	return cleaned
}

const minStream = id.Stream(-1 << 31)
