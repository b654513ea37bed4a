package task

import (
	"context"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// pieceRead bounds the reading of one piece from a bucket.
const pieceRead = 30 * time.Second

// Pieces keeps pieces of checkpoints in the buckets of their applications (job.App.CheckpointURL).
type Pieces interface {
	// Put returns when the piece is durable.
	Put(ctx context.Context, url string, d job.BlockData) error
	// Get gives what is there, unchecked, but never more than the piece has bytes.
	Get(ctx context.Context, url string, b *job.Block) ([]byte, error)
}

// keep puts a piece where its application keeps them, and names the stores that have it: none in a bucket.
func (r *Runner) keep(ctx context.Context, app *job.App, d job.BlockData) ([]id.Store, error) {
	if app.CheckpointURL == "" {
		return r.store(ctx, d, app.Factor)
	}
	return nil, r.bucket.Put(ctx, app.CheckpointURL, d)
}

// read gives the bytes of a piece, checked.
func (r *Runner) read(ctx context.Context, app *job.App, b *job.Block) ([]byte, error) {
	if app.CheckpointURL == "" {
		return r.blocks.Read(ctx, b)
	}
	return ReadPiece(ctx, r.bucket, app.CheckpointURL, b)
}

// ReadPiece gives the bytes of a piece in a bucket, checked against the length and CRC32C that the ledger has. One that
// cannot be had is missing, as a block without a holder is: who knows whether the bucket is away or it is gone.
func ReadPiece(ctx context.Context, from Pieces, url string, b *job.Block) ([]byte, error) {
	limited, cancel := context.WithTimeoutCause(ctx, pieceRead, fmt.Errorf("no answer within %v", pieceRead))
	defer cancel()
	data, err := from.Get(limited, url, b)
	if err == nil {
		err = verify(b, data)
	}
	switch {
	case err == nil:
		return data, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, &job.TaskError{
		Fault: job.MissingFault, Block: b.ID,
		Text: clip(fmt.Sprintf("piece %v of a checkpoint cannot be read: %v", b.ID, err), maxText),
	}
}
