package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
)

// BlocksCopied says that a session's store holds synced copies of blocks, or of pieces of checkpoints, besides the
// stores that the ledger knows (rule 5). What the ledger does not have, or has cleaned, is passed over. Natural key:
// the block and the store.
type BlocksCopied struct {
	Session id.Session
	Blocks  []id.Block
}

// Kind gives the command's number.
func (*BlocksCopied) Kind() Kind { return KindBlocksCopied }
