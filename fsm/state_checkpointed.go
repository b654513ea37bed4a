package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
)

// StateCheckpointed commits a checkpoint of an application's keyed state (rule 7): all partitions of all its state
// streams as of a completed batch, the whole chain synced on enough stores. A full one replaces the chain, one of
// changes is added to it and must start at its end. Natural key: (App, Time, Attempt).
type StateCheckpointed struct {
	App     id.App
	Office  id.Office  // that made it; pieces have it for an instance
	Time    id.Time    // of the completed batch
	Attempt id.Attempt // that won it
	Full    bool
	Since   id.Time // unless Full: time of the committed checkpoint that the changes are against
	Pieces  []CheckpointPiece
	NowMS   int64
}

// CheckpointPiece is a piece of a checkpoint; the pieces of a partition are in order.
type CheckpointPiece struct {
	ID     id.Block
	Stream id.Stream
	Part   int
	Rows   int64
	Bytes  int64
	CRC    uint32
	Stores []id.Store
}

// Kind gives the command's number.
func (*StateCheckpointed) Kind() Kind { return KindStateCheckpointed }
