package job

import "errors"

var (
	// ErrNoBlock says that a store does not hold the block asked for.
	ErrNoBlock = errors.New("block not held here")
	// ErrFenced says that the receiver of an order knows a newer authority than the one it cites.
	ErrFenced = errors.New("order of an older authority")
	// ErrNotLeader says that the node dialled does not lead.
	ErrNotLeader = errors.New("not the leading driver")
	// ErrFull says that a store's limit is reached.
	ErrFull = errors.New("store is full")
)
