package fsm

import (
	"slices"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// BlocksCopied says that a session's store holds synced copies of blocks, or of pieces of checkpoints, besides the
// stores that the ledger knows (rule 5). What the ledger does not have, or has cleaned, is passed over. Natural key:
// the block and the store.
type BlocksCopied struct {
	Session id.Session
	Blocks  []id.Block
}

// Kind gives the command's number.
func (*BlocksCopied) Kind() Kind { return KindBlocksCopied }

func blocksCopiedRow() row {
	return newRow("BlocksCopied",
		func(c *BlocksCopied) *ledgerpb.BlocksCopied {
			return &ledgerpb.BlocksCopied{Session: uint64(c.Session), Blocks: blockIDsToPB(c.Blocks)}
		},
		func(m *ledgerpb.BlocksCopied) *BlocksCopied {
			return &BlocksCopied{Session: id.Session(m.GetSession()), Blocks: blockIDsFromPB(m.GetBlocks())}
		},
		applyBlocksCopied)
}

func applyBlocksCopied(t *tx, c *BlocksCopied) Result {
	s, ok := t.tracker.Session(c.Session)
	if !ok {
		return refuse("session %d is not open", c.Session)
	}
	if bad := checkRange("number of copied blocks", int64(len(c.Blocks)), 0, MaxInventoryPart); bad != "" {
		return refuse("%s", bad)
	}
	for _, n := range c.Blocks {
		if b, ok := t.blocks.Block(n); ok && !slices.Contains(b.Stores, s.Store) {
			t.blocks.SetStores(n, t.joined(b.Stores, s.Store))
		}
		if p, ok := t.states.Piece(n); ok && !slices.Contains(p.Stores, s.Store) {
			t.states.SetStores(n, t.joined(p.Stores, s.Store))
		}
	}
	return t.done()
}

// joined adds a store to those that hold something. At the limit the first one without an open session makes room: what
// it holds is found again by its inventory, when it comes back.
func (t *tx) joined(stores []id.Store, n id.Store) []id.Store {
	out := append(slices.Clone(stores), n)
	for i, s := range stores {
		if _, open := t.tracker.SessionOf(s); !open && len(out) > blocktracker.MaxBlockStores {
			return slices.Delete(out, i, i+1)
		}
	}
	return out
}

// pieces is what inventories name besides blocks (rule 5).
type pieces struct{ *tx }

var _ blocktracker.Others = pieces{}

// Hold notes that a store holds a piece of a committed checkpoint; false: it is none.
func (t pieces) Hold(n id.Block, store id.Store) bool {
	p, ok := t.states.Piece(n)
	if ok && !slices.Contains(p.Stores, store) {
		t.states.SetStores(n, append(slices.Clone(p.Stores), store))
	}
	return ok
}

// Gone tells that n will never be in the ledger: its application has ended, or it is a piece of an office that is over,
// or has committed a higher one since.
func (t pieces) Gone(n id.Block) bool {
	if t.ended(n.App) {
		return true
	}
	a, ok := t.app(n.App)
	if !ok {
		return false
	}
	if _, state := a.statePartitions(n.Stream); !state {
		return false
	}
	office := id.Office(n.Instance)
	o, known := t.states.Office(a.ID, n.Stream, office)
	return known && n.Number <= o.Last || a.over(office)
}

// over tells whether an office is over: nothing that was made in it is committed any more.
func (a *App) over(n id.Office) bool { return n < a.Office || n == a.Office && a.Coordinator == 0 }

// Strike takes the store off the pieces that its complete inventory should have named and has not.
func (t pieces) Strike(session id.Session, store id.Store, named func(id.Block) bool) {
	for p := range t.states.Copy().AllPieces() {
		if p.Index < uint64(session) && slices.Contains(p.Stores, store) && !named(p.ID) {
			t.states.SetStores(p.ID, slices.DeleteFunc(slices.Clone(p.Stores), func(s id.Store) bool { return s == store }))
		}
	}
}
