package connector

import (
	"context"
	"errors"
	"iter"
	"time"
)

// A DirectSource is read by the tasks of a batch themselves, without a receiver: what belongs to a batch is planned
// first and committed in the ledger, then read as often as the batch runs. So every record is in exactly one batch
// (Spark: DirectKafkaInputDStream, FileInputDStream).
//
// Protocol: Plan runs on the executor that coordinates the application, one call at a time, before each batch; what it
// gives counts only when the ledger has taken it, so it must change nothing. Read runs on any executor, several parts
// at a time, and again after failures. The value is built anew in every process from the application's parameters and
// holds nothing that is not in them.
type DirectSource[T any] interface {
	// Plan says what the next batch reads. An empty plan is a batch without records. After an error the batch has none
	// either, and the error is shown.
	Plan(ctx context.Context, r PlanRequest) (Plan, error)
	// Read yields the records of a part in an order that is always the same, until yield returns false. A record belongs
	// to who gets it: Read must not change it afterwards, nor use its memory for the next one. A part that cannot be read as it was planned is an error with ErrMissing in its chain: the batch waits for it to come back.
	// Any other error counts as a try of the task.
	Read(ctx context.Context, p Part, yield func(T) bool) error
}

// ErrMissing says that planned input is not there, or not as it was planned.
var ErrMissing = errors.New("planned input is missing")

const (
	// MaxPlanBytes bounds a plan's encoded size, see Plan.Size. What is beyond goes into the next batch.
	MaxPlanBytes = 256 << 10
	// MaxPlanParts bounds a plan's parts.
	MaxPlanParts = 4096
	// MaxMark bounds Plan.Mark and Plan.Warning in bytes each.
	MaxMark = 1024
	// MaxPartition bounds the name of a partition in bytes.
	MaxPartition = 1024
	// MaxPartitions bounds the partitions of a stream whose positions are kept: more have to wait until some are
	// forgotten.
	MaxPartitions = 10_000
	// MaxPartRecords bounds the records of a part.
	MaxPartRecords = 1 << 30
	// MaxPartBytes bounds the bytes of a part.
	MaxPartBytes = 1 << 40
)

// PlanRequest says for which batch to plan, and from where.
type PlanRequest struct {
	Time     time.Time     // batch time, UTC
	Interval time.Duration // batch interval
	// Position is the highest position of a partition of the source that a batch has taken, 0 for none.
	Position func(partition string) uint64
	// Positions lists every partition with a position.
	Positions iter.Seq2[string, uint64]
	MaxParts  int   // at most this many parts, at most MaxPlanParts
	MaxBytes  int64 // the parts' Bytes together should not be more, except for a single larger part
	// MaxRecords is how many records the plan should have at most, over all partitions together, 0 for no limit: the
	// application cannot process more, or is not to. What is beyond waits for the next plans. A source that cannot cut
	// what it reads so small takes one piece of it.
	MaxRecords int64
}

// Plan is what one batch reads of a source. Its encoded size is bounded by MaxPlanBytes.
type Plan struct {
	Parts []Part // partition i of the batch's dataset is Parts[i]
	// Forget names partitions that the source will never offer again: their positions need not be kept. The position of one
	// that a batch reads which is not cleaned is kept all the same: name it again later.
	Forget []string
	// Mark tells people how far this plan is, in the source's own words: when the batch is cleaned, everything up to it
	// may be removed from the source. At most MaxMark bytes; "" says nothing.
	Mark string
	// Warning says what the source cannot read and leaves out, for people: it is shown, and not kept. It is the same
	// again as long as it holds. At most MaxMark bytes; "" where all is well.
	Warning string
}

// Size is the plan's encoded size in bytes, which MaxPlanBytes bounds: its texts and data, and 8 bytes per number.
func (p *Plan) Size() int {
	n := len(p.Mark)
	for _, name := range p.Forget {
		n += len(name)
	}
	for _, part := range p.Parts {
		n += len(part.Data) + 16
		for _, r := range part.Ranges {
			n += len(r.Partition) + 16
		}
	}
	return n
}

// Part is what one task reads.
type Part struct {
	Data    []byte  // what Read must know; the engine does not look at it
	Records int64   // that it holds, exactly: Read yields as many, or the task fails
	Bytes   int64   // that it holds, more or less: for placing and limits
	Ranges  []Range // the positions that it covers: each starts one after those taken before, in this plan or earlier
}
