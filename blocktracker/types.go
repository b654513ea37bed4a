package blocktracker

import (
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// Block is a committed block. Immutable; a change of its stores makes a new value.
type Block struct {
	ID      id.Block
	Records int64
	Bytes   int64
	CRC     uint32
	Stores  []id.Store // that hold a copy, in order
	Ranges  []connector.Range
	Batch   id.Time // that it is allocated to, 0 while it is queued
}

// Instance is what the ledger knows of one receiver instance's blocks. Immutable.
type Instance struct {
	App     id.App
	Stream  id.Stream
	ID      id.Instance
	Last    uint64 // highest number committed
	Cleaned uint64 // every number up to here is cleaned
	Closed  bool   // it adds nothing more
}
