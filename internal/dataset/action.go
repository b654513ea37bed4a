package dataset

import "context"

// Action is an Output whose work is a function on the coordinator: Call takes the place of Run and Commit, which nobody
// calls. What it wants of its dataset it asks Jobs for.
type Action interface {
	Output
	// Call runs on the coordinator once the batch has come to this output. It may run again after a failure. jobs are
	// for the time of the call: what they were asked when it has returned is refused.
	Call(ctx context.Context, b Batch, d Dataset, jobs Jobs) error
	// Read runs on an executor for one partition: it gives the number of records that q asks for and, unless only that is
	// wanted, hands their rows to put in order, in pieces of any size. put copies them; it ends the task where they are
	// too many.
	Read(t Task, d Dataset, part int, q Query, put func(rows []byte)) (records int64)
}

// Query says what is asked of a partition.
type Query struct {
	Count bool // only how many records it has
	Limit int  // at most its first so many records; < 0: all
}

// Answer is what a partition gave: its records, as rows of their codec one after the other.
type Answer struct {
	Records int64
	Rows    []byte
}

// MaxCollected bounds the rows of all answers of one job in bytes: they are in the coordinator's memory.
const MaxCollected = 64 << 20

// Jobs runs jobs for an Action. Calls at the same time are made one after the other.
type Jobs interface {
	// Run gives the answers of partitions of the action's dataset, in the order of parts. What gets lost is computed
	// again; the error says that a task failed for good, that the answers are over MaxCollected, or that ctx or the
	// batch's run ended.
	Run(ctx context.Context, q Query, parts []int) ([]Answer, error)
}
