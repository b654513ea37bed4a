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
	// ErrOverloaded says that no proposals are taken now, because too many wait or the disk is short: come again after
	// a while.
	ErrOverloaded = errors.New("no proposals are taken now")
	// ErrTooLarge says that the command is larger than one may be: it is no use to come again with it.
	ErrTooLarge = errors.New("command is too large")
)
