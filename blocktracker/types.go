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
	Batch   id.Time // that it is allocated to, 0 while it is queued; filled in by Input
	Seq     uint64  // its place in the application's order of arrival, from 1 without gaps
	Index   uint64  // of the entry that committed it
	Lost    bool    // given up: whoever computes its batch leaves it out
}

// Instance is what the ledger knows of one receiver instance's blocks. Immutable.
type Instance struct {
	App        id.App
	Stream     id.Stream
	ID         id.Instance
	Session    id.Session // that it runs in: no other may report its blocks
	Registered uint64     // index at which it said that it runs, 0 before: no block is taken before
	Last       uint64     // highest number committed
	Cleaned    uint64     // every number up to here is cleaned
	Closed     bool       // it adds nothing more
}

// Queue is an application's order of arrival: blocks 1 to Added, of which those up to Allocated are in batches (or
// discarded) and the later ones wait. Immutable.
type Queue struct {
	App       id.App
	Added     uint64
	Allocated uint64
	Live      int   // blocks that are not cleaned
	Records   int64 // waiting
	Bytes     int64 // waiting
	PlanBytes int64 // of plans that are not cleaned
}

// Span is what a batch was allocated: the blocks First to Last in the order of arrival. A batch without input has
// none. Immutable.
type Span struct {
	App         id.App
	Time        id.Time
	First, Last uint64
}

// Position is the highest position of a partition that a committed block holds (rule 4). Immutable.
type Position struct {
	App       id.App
	Stream    id.Stream
	Partition string
	Last      uint64
	UsedMS    int64 // when it was last raised, by the proposer's clock
}

// Named is a block that a session's inventory, which is not complete yet, has named; the zero block says that the
// inventory has begun. Immutable.
type Named struct {
	Session id.Session
	Block   id.Block
}
