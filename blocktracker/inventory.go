package blocktracker

import (
	"slices"

	"github.com/tidwall/btree"

	"github.com/raftstream/raftstream/internal/id"
)

// Others are what stores hold besides received blocks: pieces of checkpoints, which are kept as blocks are.
type Others interface {
	// Hold notes that the store holds n; false: the ledger does not know n.
	Hold(n id.Block, store id.Store) bool
	// Gone tells of what the ledger does not know that it never will, because its application is over, say.
	Gone(n id.Block) bool
	// Strike takes the store off what was committed before the session was opened and is not named.
	Strike(session id.Session, store id.Store, named func(id.Block) bool)
}

// Inventory notes that a session's store holds the blocks of one part of its inventory (rule 5). It returns those that
// the ledger will never ask for: they may be deleted.
//
// With first, an inventory begins, and what parts of an earlier one named is forgotten. With last, it ends, and the
// store is taken off every block that no part named and that was committed before the session was opened: of those, and
// only those, the inventory is sure to be complete, because a copy is synced before its block is reported, and the
// inventory is taken after the session was opened. A part that comes again when its inventory has ended takes the store
// off nothing: the parts before it are forgotten.
func (s *State) Inventory(session id.Session, store id.Store, blocks []id.Block, first, last bool, o Others,
) (deletable []id.Block) {
	if first {
		s.forgetNamed(session)
		s.named.Set(begun(session))
	}
	_, listing := s.named.Get(begun(session))
	for _, n := range blocks {
		b, ok := s.Block(n)
		if !ok && !o.Hold(n, store) {
			if o.Gone(n) || s.gone(n) {
				deletable = append(deletable, n)
			}
			continue
		}
		if listing {
			s.named.Set(Named{Session: session, Block: n})
		}
		if ok && !slices.Contains(b.Stores, store) {
			s.restore(b, append(slices.Clone(b.Stores), store))
		}
	}
	if last && listing {
		s.strike(session, store)
		o.Strike(session, store, func(n id.Block) bool {
			_, named := s.named.Get(Named{Session: session, Block: n})
			return named
		})
		s.forgetNamed(session)
	}
	return deletable
}

// begun is the mark of a session's inventory that has begun and not ended: no block has this name.
func begun(session id.Session) Named { return Named{Session: session} }

// gone tells whether a block that is not in the ledger will never be: it is cleaned, or its instance is closed.
func (s *State) gone(n id.Block) bool {
	if _, ok := s.queues.Get(n.App); !ok {
		return false
	}
	in, ok := s.Instance(n.App, n.Stream, n.Instance)
	if !ok {
		return s.passed(n)
	}
	return n.Number <= in.Last || in.Closed
}

// passed tells whether an instance that is not known can be one that was forgotten after it was closed and cleaned:
// instances are granted in rising order, so one below a known one of its stream was granted before.
func (s *State) passed(n id.Block) bool {
	found := false
	s.instances.Ascend(&Instance{App: n.App, Stream: n.Stream, ID: n.Instance}, func(i *Instance) bool {
		found = i.App == n.App && i.Stream == n.Stream
		return false
	})
	return found
}

// strike takes the store off the blocks that its complete inventory should have named and has not.
func (s *State) strike(session id.Session, store id.Store) {
	var lost []*Block
	s.blocks.Scan(func(b *Block) bool {
		if b.Index < uint64(session) && slices.Contains(b.Stores, store) {
			if _, named := s.named.Get(Named{Session: session, Block: b.ID}); !named {
				lost = append(lost, b)
			}
		}
		return true
	})
	for _, b := range lost {
		s.restore(b, slices.DeleteFunc(slices.Clone(b.Stores), func(v id.Store) bool { return v == store }))
	}
}

// restore puts a block with other stores.
func (s *State) restore(b *Block, stores []id.Store) {
	n := *b
	n.Stores = stores
	s.putBlock(&n)
	s.moves.Set(b.ID.App, s.Moves(b.ID.App)+1)
}

func (s *State) forgetNamed(session id.Session) {
	dropWhile(s.named, Named{Session: session}, func(v Named) bool { return v.Session == session })
}

// dropWhile deletes the items from from on for which the condition holds without a break.
func dropWhile[T any](t *btree.BTreeG[T], from T, cond func(T) bool) {
	var drop []T
	t.Ascend(from, func(v T) bool {
		if cond(v) {
			drop = append(drop, v)
			return true
		}
		return false
	})
	for _, v := range drop {
		t.Delete(v)
	}
}
