package connector

import (
	"context"
	"iter"
	"time"
)

// Batch names one batch of one output. Output and Time together are the key under which a transactional sink commits.
type Batch struct {
	Output string    // name of the output operation, unique in its application
	Time   time.Time // batch time, UTC, whole milliseconds
}

// MaxReceipt bounds what Sink.Write returns, in bytes. A batch's receipts are held in memory together.
const MaxReceipt = 64 << 10

// A Sink takes every batch of a stream to a store outside, in two steps: the partitions are written where they are
// computed, then the batch is committed once, by the executor that coordinates the application. The engine runs both at
// least once; the sink makes that exactly once, in one of two ways:
//
//   - idempotent: Write puts records under keys made of p.Output, p.Time and p.Index (or of the records), so that writing
//     a partition again changes nothing, and Commit does nothing;
//   - transactional: Write puts records where nobody sees them, under a name that no other attempt has, and returns that name
//     as the receipt. Commit, in one transaction, looks whether the batch is committed, and if not makes visible what the
//     receipts name and notes that it is.
//
// Protocol: the value is built anew in every process from the application's parameters and holds no connection before
// the first call. Its methods are called by many goroutines. Both run again after an error and after failures of
// processes or networks; the same partition may be written by two executors at the same time, the same batch committed
// by two coordinators at the same time, and written or committed again after a Commit that succeeded, until the ledger
// knows. Records of a batch do not depend on the attempt, only receipts do. The first commits of an output's batches
// come in the order of their times; a repeated one may come after those of later batches. ctx ends with the attempt: a
// call whose ctx has ended must return soon, and what it did may count or not.
type Sink[T any] interface {
	// Write writes one partition, empty ones too, on any executor. When it returns nil, what the receipt speaks of must
	// survive the end of this process. seq is for the goroutine and the time of the call; it may be ranged over again,
	// which computes it again. An error fails the task, which is tried again, a bounded number of times.
	Write(ctx context.Context, p Partition, seq iter.Seq[T]) (receipt []byte, err error)
	// Commit completes a batch after all its partitions were written, receipts[i] being that of partition i; there are none
	// where the dataset has no partitions. What it did must be durable when it returns nil. It must do nothing for a batch that
	// is committed, though the receipts may be others than then. After an error it is called
	// again with the same receipts, a bounded number of times; then the batch fails, and runs again when it is resumed.
	Commit(ctx context.Context, b Batch, receipts [][]byte) error
}
