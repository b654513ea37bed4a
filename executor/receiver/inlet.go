package receiver

import (
	"context"
	"fmt"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/dataset"
)

// inlet is the executor's end of a running receiver.
type inlet struct {
	gen    *generator
	limit  *limiter
	pushes chan connector.Push
}

var _ dataset.Inlet = (*inlet)(nil)

// Add waits for the rate limit and for room, then adds the records to the current block.
func (in *inlet) Add(ctx context.Context, r dataset.Records) (connector.Receipt, error) {
	if err := checkRecords(&r); err != nil {
		return nil, err
	}
	if err := in.limit.wait(ctx, in.gen.closed, r.Count); err != nil {
		return nil, err
	}
	f, err := in.gen.add(ctx, r)
	if err != nil || r.Range.Partition == "" {
		return nil, err // without a range there is no receipt: the records cannot be sent again anyway
	}
	return f, nil
}

// checkRecords refuses what no repetition makes good: the errors are connector.ErrRecord.
func checkRecords(r *dataset.Records) error {
	if r.Count <= 0 || len(r.Bytes) == 0 || len(r.Bytes) > MaxAdd {
		return fmt.Errorf("add %d records of %d bytes: %w: expected at least one record in 1 to %d bytes",
			r.Count, len(r.Bytes), connector.ErrRecord, MaxAdd)
	}
	p := r.Range
	if p.Partition == "" {
		return nil
	}
	if len(p.Partition) > partitionBytesMax {
		return fmt.Errorf("add: %w: partition name of %d bytes, expected at most %d",
			connector.ErrRecord, len(p.Partition), partitionBytesMax)
	}
	if p.First == 0 || p.Last < p.First || p.Last-p.First != uint64(r.Count-1) {
		return fmt.Errorf("add %d records of partition %q at positions %d to %d: %w: expected as many positions, from 1",
			r.Count, p.Partition, p.First, p.Last, connector.ErrRecord)
	}
	return nil
}

// Position is the highest position of a partition that is stored or being stored.
func (in *inlet) Position(partition string) uint64 { return in.gen.position(partition) }

// Pushes delivers what clients send to the stream.
func (in *inlet) Pushes() <-chan connector.Push { return in.pushes }
