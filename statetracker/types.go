// Package statetracker owns what the ledger knows of the checkpoints of keyed state: of every application the chain of
// pieces, an image and the changes after it, and the stores that hold them (rule 7). It is engine internals, without
// compatibility promise. It promises immutable values and the same answer to the same calls; it must not know commands,
// clocks or what state means.
package statetracker

import (
	"github.com/raftstream/raftstream/internal/id"
)

// Checkpoint is an application's committed checkpoint: of all its state streams, as of one batch. Immutable.
type Checkpoint struct {
	App     id.App
	Time    id.Time    // of the batch
	Attempt id.Attempt // that won it
	Office  id.Office  // of the coordinator that made its last link
	Index   uint64     // of the entry that committed it
	// Links counts the image and the changes after it, Pieces what they consist of; FullBytes and ChangeBytes are theirs.
	Links, Pieces          int
	FullBytes, ChangeBytes int64
}

// Piece is a chunk of one partition of one stream in the chain. Immutable; a change of its stores makes a new value.
type Piece struct {
	ID     id.Block  // its instance is the coordinator's office
	Link   int       // place in the chain, from 0 for the image
	Stream id.Stream // with keyed state
	Part   int       // of the stream
	Rows   int64
	Bytes  int64
	CRC    uint32
	Stores []id.Store // that hold a copy, in order
	Index  uint64     // of the entry that committed it
}

// Office is what the ledger knows of the pieces of one stream that a coordinator made in its office. Immutable.
type Office struct {
	App    id.App
	Stream id.Stream
	ID     id.Office
	Last   uint64 // highest number committed
}
