package job

import "errors"

var (
	// ErrNoBlock says that a store does not hold the block asked for.
	ErrNoBlock = errors.New("block not held here")
	// ErrFenced says that the receiver of an order knows a newer authority than the one it cites.
	ErrFenced = errors.New("order of an older authority")
	// ErrNotLeader says that the node dialled does not lead. See NotLeaderError.
	ErrNotLeader = errors.New("not the leading driver")
	// ErrNoReceiver says that this executor does not run the receiver that a push is for.
	ErrNoReceiver = errors.New("receiver does not run here")
	// ErrPeerDead says that a peer's stream was reset and its port refuses a dial: the process is gone, at once and
	// for certain (rule 3). What was asked of it has an unknown outcome.
	ErrPeerDead = errors.New("peer's process is gone")
	// ErrSilent says that the other end of a control stream said nothing for 3 s (rule 3).
	ErrSilent = errors.New("control stream is silent")
	// ErrRefused says that a driver does not take this executor as it is: its store belongs to another cluster, or
	// another start of it is known. Dialling again does not help until somebody acts.
	ErrRefused = errors.New("executor is refused")
	// ErrFull says that a store's limit is reached.
	ErrFull = errors.New("store is full")
)

// NotLeaderError is an ErrNotLeader of a node that may know who leads.
type NotLeaderError struct {
	Leader string // rpc address of the node that leads, "" where unknown
}

// Error names the leader where it is known.
func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return ErrNotLeader.Error() + ", the leader is not known"
	}
	return ErrNotLeader.Error() + ", that is " + e.Leader
}

// Unwrap makes the error an ErrNotLeader.
func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }
