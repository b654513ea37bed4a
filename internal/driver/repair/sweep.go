package repair

import (
	"iter"
	"slices"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/statetracker"
)

const (
	// sweepStep is how many blocks one turn looks at, about.
	sweepStep = 20_000
	// foundMost bounds what one sweep gives to copy; another one finds the rest.
	foundMost = 10_000
)

// sweep walks over the blocks and pieces of all applications, a step at a time. What is added behind it has its copies.
type sweep struct {
	open       map[id.Store]bool
	reachable  []id.Store
	app        id.App // that it has come to
	after      uint64 // place in its order of arrival
	missing    int
	repairable int
	found      []id.Block // repairable ones, foundMost at most
}

// step goes on for about sweepStep blocks; true at the end.
func (s *sweep) step(v fsm.View) bool { return s.walk(v, sweepStep) }

func (s *sweep) walk(v fsm.View, left int) bool {
	for a := range v.Apps() {
		if a.ID < s.app || !a.Live() {
			continue
		}
		if a.ID > s.app {
			s.app, s.after = a.ID, 0
		}
		for b := range v.Kept(a.ID, s.after) {
			if left == 0 {
				return false
			}
			left--
			s.after = b.Seq
			s.see(b.ID, b.Stores, a.Factor)
		}
		for p := range piecesOnStores(v, a) { // a chain is bounded, and short beside the blocks
			left = max(left-1, 0)
			s.see(p.ID, p.Stores, a.Factor)
		}
		s.app, s.after = a.ID+1, 0
		if left == 0 {
			return false
		}
	}
	return true
}

// piecesOnStores lists the pieces of an application's checkpoint, unless they are in a bucket, which keeps its own copies.
func piecesOnStores(v fsm.View, a *fsm.App) iter.Seq[*statetracker.Piece] {
	if a.CheckpointURL != "" {
		return func(func(*statetracker.Piece) bool) {}
	}
	return v.Pieces(a.ID)
}

func (s *sweep) see(n id.Block, stores []id.Store, factor int) {
	held := holders(s.open, stores)
	if held >= min(factor, len(s.open)) {
		return
	}
	s.missing++
	if held == 0 || !slices.ContainsFunc(s.reachable, func(t id.Store) bool { return !slices.Contains(stores, t) }) {
		return
	}
	s.repairable++
	if len(s.found) < foundMost {
		s.found = append(s.found, n)
	}
}

// holders counts the stores with an open session.
func holders(open map[id.Store]bool, stores []id.Store) (n int) {
	for _, s := range stores {
		if open[s] {
			n++
		}
	}
	return n
}
