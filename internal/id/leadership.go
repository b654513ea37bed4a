package id

import "errors"

// Leadership is a change of who leads, as one node sees it of itself.
type Leadership struct {
	Leader bool
	Term   uint64 // of raft: higher at every new leadership
}

// Errors of proposals that were certainly not made. Any other error of a proposal means that its outcome is unknown:
// it is repeated under the same natural key.
var (
	// ErrNotLeader says that this node does not lead, or not in the term that the proposal cites.
	ErrNotLeader = errors.New("this node does not lead")
	// ErrOverloaded says that the queue of proposals is full: come again after a while.
	ErrOverloaded = errors.New("queue of proposals is full")
)
