package blocktracker

import (
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/internal/id"
)

// CheckLost says why blocks cannot be given up, nil if they can: a batch up to upTo has been allocated each of them. One
// that is cleaned is given up already: a checkpoint that was committed late may have overtaken who computed from it.
func (s *State) CheckLost(app id.App, upTo id.Time, lost []id.Block) error {
	if len(lost) == 0 {
		return nil
	}
	q, ok := s.queues.Get(app)
	if !ok {
		return fmt.Errorf("application %d has no blocks", app)
	}
	last := q.Allocated
	s.spans.Ascend(&Span{App: app, Time: upTo + 1}, func(sp *Span) bool {
		if sp.App == app {
			last = sp.First - 1
		}
		return false
	})
	for _, n := range lost {
		if n.App == app && s.cleaned(n) {
			continue
		}
		b, ok := s.Block(n)
		if n.App != app || !ok || b.Seq > last {
			return fmt.Errorf("lost block %v is not allocated to a batch up to %d", n, upTo)
		}
	}
	return nil
}

// cleaned tells whether a block was committed and is cleaned.
func (s *State) cleaned(n id.Block) bool {
	if _, ok := s.Block(n); ok {
		return false
	}
	in, ok := s.Instance(n.App, n.Stream, n.Instance)
	return ok && n.Number > 0 && n.Number <= in.Last || !ok && s.passed(n)
}

// Lose gives blocks up that CheckLost let through: nobody reads them any more. They are cleaned with their batch. Who has
// looked at their stores must look again (Moves): orders that were made before name them.
func (s *State) Lose(lost []id.Block) {
	for _, n := range lost {
		if b, ok := s.Block(n); ok && !b.Lost {
			v := *b
			v.Lost = true
			s.restore(&v, v.Stores)
		}
	}
}

// Kept lists an application's blocks that may be read yet, in order of arrival, from the one after the place after: what
// must have its copies (rule 5).
func (s *State) Kept(app id.App, after uint64) iter.Seq[*Block] {
	return func(yield func(*Block) bool) {
		for b := range s.run(app, after+1, 1<<64-1) {
			if !b.Lost && !yield(b) {
				return
			}
		}
	}
}

// SetStores notes which stores hold a block. An unknown one is passed over.
func (s *State) SetStores(n id.Block, stores []id.Store) {
	if b, ok := s.Block(n); ok {
		s.restore(b, stores)
	}
}
