package raftnode

import (
	"errors"
	"fmt"

	"github.com/raftstream/raftstream/internal/id"
)

// Errors of proposals and reads. ErrNotLeader and ErrOverloaded mean that the command was certainly not proposed.
var (
	// ErrNotLeader says that this node does not lead, or not in the term asked for. See NotLeaderError for who does.
	ErrNotLeader = id.ErrNotLeader
	// ErrOverloaded says that the queue of proposals is full, or that the disk is short (rule 10).
	ErrOverloaded = id.ErrOverloaded
	// ErrUnknown says that the command was handed to raft and its fate is not known: it may take effect later.
	ErrUnknown = errors.New("outcome of the proposal is unknown")
	// ErrTooLarge says that a command is above MaxCommand. It was not proposed.
	ErrTooLarge = id.ErrTooLarge
	// ErrClosed says that the node is closed.
	ErrClosed = errors.New("raft node is closed")
	// ErrNoVoter says that a server has no vote, so that it cannot lead.
	ErrNoVoter = errors.New("it is no voter of this cluster")
	// ErrSilent says that a server has not answered in time.
	ErrSilent = errors.New("no answer")
	// ErrSelf says that the leader was told to remove itself: it hands over first.
	ErrSelf = errors.New("the leader cannot remove itself: hand leadership over first")
	// ErrDamaged is what every DamageError is.
	ErrDamaged = errors.New("damaged data")
)

// NotLeaderError is ErrNotLeader with a hint, which may be empty or stale.
type NotLeaderError struct {
	ID   string // raft id of the leader
	Addr string // its rpc address
}

// Error names the leader if it is known.
func (e *NotLeaderError) Error() string {
	if e.Addr == "" {
		return ErrNotLeader.Error() + ": no leader is known"
	}
	return fmt.Sprintf("%v: %s at %s does", ErrNotLeader, e.ID, e.Addr)
}

// Unwrap makes it an ErrNotLeader.
func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }

// DamageError says that something on disk is not what was written. The node must stop: nothing of it is applied
// (rule 12). The cure is in docs/formats/raft.md: a new data directory, from which the node joins as a new member.
type DamageError struct {
	Thing  string // file and place in it
	Detail string // what was found and what was expected
}

// Error names the thing, what is wrong and what helps.
func (e *DamageError) Error() string {
	return fmt.Sprintf("damaged %s: %s (move the data directory aside and start with an empty one: the node joins "+
		"again as a new member)", e.Thing, e.Detail)
}

// Unwrap makes it an ErrDamaged.
func (e *DamageError) Unwrap() error { return ErrDamaged }

func damaged(thing, format string, args ...any) error {
	return &DamageError{Thing: thing, Detail: fmt.Sprintf(format, args...)}
}
