package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
)

// Command is one of the plain structs of this package that have a Kind: each is in a file of its own with its handler.
type Command interface{ Kind() Kind }

// Outcome is done or refused; it is part of the state machine's answer, equal on every node.
type Outcome uint8

const (
	// Done says that the command took effect, now or when it was applied before.
	Done Outcome = iota + 1
	// Refused says that it had no effect.
	Refused
	// Limited is a refusal by a limit, or because something else must come first: the same command may be taken later.
	Limited
)

// Result answers a command.
type Result struct {
	Outcome Outcome
	Index   uint64        // at which it took effect: that of the first time for a repeated command
	Reason  string        // Refused, Limited: what was expected, and what was found
	Stale   bool          // Refused because it was proposed in another term: its proposer leads no more (rule 1)
	Blocks  []BlockResult // BlocksAdded: one per block
	Missing []id.Block    // InventoryReported: held by the store, unknown to the ledger, of closed instances: deletable
}

// BlockResult is the fate of one block of BlocksAdded.
type BlockResult struct {
	Outcome Outcome
	Index   uint64
	Reason  string
}

// Grants reports whether the index of the entry becomes the identity of something new that is named by nothing else
// (a session, an application). One entry can hold one such command of each kind: a second one is Limited, so whoever
// groups commands into entries should start a new entry for it.
func Grants(c Command) bool {
	k := c.Kind()
	return k == KindSessionOpened || k == KindApplicationSubmitted
}
