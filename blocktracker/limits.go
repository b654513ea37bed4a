package blocktracker

import (
	"errors"

	"github.com/raftstream/raftstream/connector"
)

// Limits (rule 10). What is beyond one is refused with ErrLimit in the chain, and may be taken later.
const (
	// MaxQueuedBytes bounds the bytes of an application's blocks that wait for a batch.
	MaxQueuedBytes = 4 << 30
	// MaxBatchBytes bounds the bytes of a batch; a single block may fill it. It bounds a block too.
	MaxBatchBytes = 1 << 30
	// MaxBlockRecords bounds the records of a block, so that no count can overflow.
	MaxBlockRecords = 1 << 30
	// MaxBlockStores bounds the stores that a report names for one block.
	MaxBlockStores = 64
	// MaxPartitionName bounds a partition's (or producer's) name in bytes.
	MaxPartitionName = connector.MaxPartition
	// MaxBlocks bounds an application's blocks that are not cleaned.
	MaxBlocks = 1_000_000
	// MaxPositions bounds the partitions of a stream whose position is kept.
	MaxPositions = connector.MaxPartitions
	// MaxPlannedBytes bounds the bytes of an application's plans that are not cleaned.
	MaxPlannedBytes = 64 << 20
	// MaxInstances bounds the closed and cleaned instances of a stream that are remembered.
	MaxInstances = 100

	// PositionsKeptMS is how long a position is kept after its last use: 7 days.
	PositionsKeptMS = 7 * 24 * 60 * 60 * 1000
	// PositionsSureMS is how long a position is kept whatever else is added: a producer that repeats its last message
	// within this time is recognised. 10 minutes.
	PositionsSureMS = 10 * 60 * 1000
	// positionsPerStep bounds the expired positions that one addition forgets.
	positionsPerStep = 16
)

// ErrLimit is in the chain of a refusal by a limit or because something else must come first: the same call may
// succeed later.
var ErrLimit = errors.New("not now")
