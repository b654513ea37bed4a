// Package failpoint owns the named places of the engine at which a test may end or delay the process: between two steps
// whose order or durability matters. It promises that Hit costs nothing in a binary built without the tag failpoints, as
// every release is, and that a plan which names an unknown point or action ends the process with status 2, so that no
// test believes in a fault that cannot happen. It must not know what happens at a point, nor why.
//
// A binary with the tag takes its plan from the environment variable RAFTSTREAM_FAILPOINTS when it starts, and another
// one from the file that RAFTSTREAM_FAILPOINTS_FILE names whenever that changes: points are armed in a process that runs.
// Whoever writes the file replaces it by a rename. A plan is a list of point=action[@hit], separated by commas or lines:
//
//	ledger.proposed=exit@3             end at the third hit
//	wal.synced=sleep(200ms)            wait at the first hit
//	part.synced=sleep(50ms)@2+         wait at every hit from the second on
//
// Hits are counted from when the plan was read. exit ends the process at once with ExitStatus, as a crash does: nothing
// is cleaned up. A hit that acts writes one line to standard error.
package failpoint

// Point names a place. Names are in the order in which data passes: what it is about, then what was just done.
type Point string

// ExitStatus is that of a process which ended at a point.
const ExitStatus = 86

// Points of the ledger.
const (
	// LedgerPropose is before the leader gives an entry to raft.
	LedgerPropose Point = "ledger.propose"
	// LedgerProposed is after raft took the entry, before its proposers are answered: it may be committed or not.
	LedgerProposed Point = "ledger.proposed"
	// LedgerApplied is after entries are applied, before anybody sees it.
	LedgerApplied Point = "ledger.applied"
	// LedgerOpened is after a new leadership is in the ledger, before its duties run.
	LedgerOpened Point = "ledger.opened"
	// SnapshotBegun is after a snapshot's directory and header are made.
	SnapshotBegun Point = "snapshot.begun"
	// SnapshotPart is after a part of a snapshot is written.
	SnapshotPart Point = "snapshot.part"
	// SnapshotWritten is after all of a snapshot is written, before it is synced and gets its name.
	SnapshotWritten Point = "snapshot.written"
	// SnapshotKept is after a snapshot has its name, before the log is cut.
	SnapshotKept Point = "snapshot.kept"
	// SnapshotRestore is before the state is replaced by a snapshot.
	SnapshotRestore Point = "snapshot.restore"
)

// Points of received blocks.
const (
	// WALWritten is after records are written to the log of blocks, before they are synced.
	WALWritten Point = "wal.written"
	// WALSynced is after they are synced, before anybody is told.
	WALSynced Point = "wal.synced"
	// WALSegment is after a new segment is synced, before it has its name.
	WALSegment Point = "wal.segment"
	// BlockStored is after a block is stored where it was received, while its copies may be under way.
	BlockStored Point = "block.stored"
	// BlockCopied is after an executor stored the copy of a peer's block, before the peer is told.
	BlockCopied Point = "block.copied"
	// BlockReport is after a block has all its copies, before it is reported.
	BlockReport Point = "block.report"
	// BlockCommitted is after the ledger has a block, before its source is told.
	BlockCommitted Point = "block.committed"
	// BlocksDropped is after blocks are forgotten, before their place in the log is given back.
	BlocksDropped Point = "blocks.dropped"
)

// Points of batches, outputs and checkpoints.
const (
	// BatchAllocated is after a batch is allocated, before its coordinator is told.
	BatchAllocated Point = "batch.allocated"
	// PartSynced is after a part of an output is synced, before it has its name.
	PartSynced Point = "part.synced"
	// PartNamed is after it has its name.
	PartNamed Point = "part.named"
	// OutputSuccess is before the marker of a complete output is written.
	OutputSuccess Point = "output.success"
	// OutputCommitted is after it is durable.
	OutputCommitted Point = "output.committed"
	// BatchReport is after all outputs of a batch are committed, before that is reported.
	BatchReport Point = "batch.report"
	// BatchCommitted is after the ledger has the batch completed, before the coordinator goes on.
	BatchCommitted Point = "batch.committed"
	// CheckpointPiece is after a piece of a checkpoint is stored.
	CheckpointPiece Point = "checkpoint.piece"
	// CheckpointReport is after all pieces are stored, before the checkpoint is reported.
	CheckpointReport Point = "checkpoint.report"
	// CheckpointCommitted is after the ledger has the checkpoint.
	CheckpointCommitted Point = "checkpoint.committed"
	// PieceDeleted is after a piece that is not needed any more is deleted from a bucket.
	PieceDeleted Point = "piece.deleted"
)

// All lists the points.
func All() []Point {
	return []Point{
		LedgerPropose, LedgerProposed, LedgerApplied, LedgerOpened,
		SnapshotBegun, SnapshotPart, SnapshotWritten, SnapshotKept, SnapshotRestore,
		WALWritten, WALSynced, WALSegment,
		BlockStored, BlockCopied, BlockReport, BlockCommitted, BlocksDropped,
		BatchAllocated, PartSynced, PartNamed, OutputSuccess, OutputCommitted, BatchReport, BatchCommitted,
		CheckpointPiece, CheckpointReport, CheckpointCommitted, PieceDeleted,
	}
}
