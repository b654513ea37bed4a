package fsm

import "fmt"

// Kind numbers the commands. Numbers are append-only: a retired one is never used again.
type Kind uint16

// Kinds of commands.
const (
	KindEpoch Kind = iota + 1
	KindClusterNamed
	KindSessionOpened
	KindSessionClosed
	KindInventoryReported
	KindApplicationSubmitted
	KindApplicationStopped
	KindApplicationEnded
	KindApplicationResumed
	KindReceiverScheduled
	KindReceiverRegistered
	KindReceiverDeregistered
	KindReceiverFailed
	KindBlocksAdded
	KindBlocksAllocated
	KindCoordinatorAssigned
	KindBatchCompleted
	KindBatchFailed
	KindBatchesCleaned
	KindStateCheckpointed
	KindBlocksCopied
)

// String gives the kind's name.
func (k Kind) String() string {
	if r, ok := commands[k]; ok {
		return r.name
	}
	return fmt.Sprintf("kind %d", uint16(k))
}
