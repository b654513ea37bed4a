// Package receiver owns one running receiver instance on an executor (Spark: ReceiverSupervisor, BlockGenerator,
// RateLimiter): it runs the receiver, cuts what it stores into blocks, has them stored and reported in order, and tells
// the receiver their fate. It is engine internals, without compatibility promise.
//
// It promises that a receipt succeeds only after its block is stored on enough executors and committed; that blocks are
// numbered from 1 without gaps and reported in that order (rule 4); that a full queue, a limit of the ledger or missing
// stores make the receiver wait and drop nothing (rule 10); that everything it started has ended when Run returns. It
// must not know how blocks are stored or how the ledger is reached.
package receiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// MaxAdd bounds the bytes of one Add, which come into one block.
	MaxAdd = 8 << 20
	// queueMax bounds the blocks that are cut and wait to be stored (Spark: blockQueueSize).
	queueMax = 10
	// storersMax bounds the blocks that are being stored at a time.
	storersMax = 4
	// partitionsMax bounds the source partitions of one block.
	partitionsMax = 1024
	// positionsMax bounds the source partitions whose positions are known. It is more than the ledger keeps (10,000) and
	// all that can be on its way (partitionsMax in each of the 20 blocks that are filled, queued, stored or reported):
	// what is beyond that is idle and forgotten by the ledger, so that room can always be made.
	positionsMax = 32 << 10
	// partitionBytesMax bounds the name of a source partition.
	partitionBytesMax = 256
	// pushesMax bounds the pushes that wait for the receiver.
	pushesMax = 64
	// failureBytesMax bounds the text of a failure that is reported.
	failureBytesMax = 8 << 10
)

// Waits double from the first to the last: between runs of a failed receiver, and between repeats of what the ledger or
// the stores did not take.
const (
	restartMin = time.Second
	restartMax = 30 * time.Second
	repeatMin  = 100 * time.Millisecond
	repeatMax  = 5 * time.Second
)

var (
	// ErrStopped says that the instance is over: it was stopped.
	ErrStopped = errors.New("the receiver is stopped")
	// ErrDiscarded says that the instance is over and what it held is discarded: the application was stopped at once.
	ErrDiscarded = errors.New("the application was stopped at once")
)

// RefusedError says that the ledger does not take this instance, or a block of it, any more.
type RefusedError struct {
	What   string
	Reason string
}

// Error names what was refused, and why.
func (e *RefusedError) Error() string { return e.What + " was refused: " + e.Reason }

// Config is an instance and what it works with.
type Config struct {
	App      job.App
	Stream   id.Stream
	Instance id.Instance
	Receiver dataset.Receiver

	// Store puts a block on min(factor, open sessions) stores and names them; have are those that are known to hold it.
	// It fails only when ctx ends, or is called again.
	Store func(ctx context.Context, d job.BlockData, factor int, have []id.Store) ([]id.Store, error)
	// Report tells the ledger of a stored block and gives its answer. Calls are in the order of block numbers, one at a
	// time. An error means that the outcome is unknown; the report is then repeated.
	Report func(ctx context.Context, b job.BlockReport) (job.BlockReply, error)
	// Request tells the ledger that the instance started, failed or stopped. An error means that the outcome is unknown.
	Request func(ctx context.Context, r job.ToDriver) (job.Reply, error)

	MaxRate    float64 // records a second, 0 for no limit (Spark: receiver.maxRate)
	BlockBytes int     // a block is cut at this size, 4 MiB if 0
	Logger     *slog.Logger
}

// check completes the configuration and says what is wrong with it.
func (c *Config) check() error {
	if c.App.BlockMS <= 0 {
		return fmt.Errorf("block interval %d ms, expected at least 1", c.App.BlockMS)
	}
	if c.App.Factor <= 0 {
		return fmt.Errorf("replication factor %d, expected at least 1", c.App.Factor)
	}
	if c.MaxRate < 0 || math.IsNaN(c.MaxRate) {
		return fmt.Errorf("rate limit %v, expected 0 or more records a second", c.MaxRate)
	}
	if c.BlockBytes == 0 {
		c.BlockBytes = 4 << 20
	}
	if c.BlockBytes < 0 || c.BlockBytes > MaxAdd {
		return fmt.Errorf("block size %d bytes, expected 1 to %d", c.BlockBytes, MaxAdd)
	}
	if c.Receiver == nil || c.Store == nil || c.Report == nil || c.Request == nil {
		return errors.New("a receiver, store, report and request are needed")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With(slog.Uint64("app", uint64(c.App.ID)), slog.Int("stream", int(c.Stream)),
		slog.Uint64("instance", uint64(c.Instance)))
	return nil
}

// sleep waits for d or the end of ctx; false says that ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
