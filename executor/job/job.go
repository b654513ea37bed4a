// Package job owns the messages among driver, coordinator and executors, as plain structs, and the interfaces by which
// they are carried. It is engine internals, without compatibility promise. It promises that everything here can cross
// a process boundary; it must not know how (internal/rpc and streamtest carry it) nor what the ledger looks like.
package job

import (
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Peer is an executor with an open session, as the ledger has it.
type Peer struct {
	Session id.Session
	Store   id.Store
	Name    string // of the node
	Addr    string // host:port of its rpc port
	Slots   int    // tasks that it runs at a time
	Build   string // build id of its binary
}

// App is what executors must know of an application to work for it.
type App struct {
	ID          id.App
	Name        string // as submitted
	Spec        dataset.Spec
	Fingerprint string // of the plan, as recorded at submission
	BlockMS     int64  // block interval
	Factor      int    // copies of a block
	// CheckpointURL names the bucket that pieces of checkpoints are kept in; empty: on Factor stores, as blocks are.
	CheckpointURL string
}

// Block is an allocated block and the stores that hold a copy.
type Block struct {
	ID      id.Block
	Records int64
	Bytes   int64
	CRC     uint32 // CRC32C of its bytes
	Stores  []id.Store
}

// Input is what an input stream was allocated for a batch time: partition i of the stream's dataset is Blocks[i], or
// Parts[i] of a direct source.
type Input struct {
	Stream id.Stream
	Time   id.Time
	Blocks []Block
	Parts  []connector.Part
}

// Partitions is how many partitions the stream's dataset has at the time.
func (in *Input) Partitions() int { return max(len(in.Blocks), len(in.Parts)) }

// Version names keyed state (rule 7): that after the batch at Time, as the run under Attempt left it. Attempt 0 stands
// for the empty state at zero time.
type Version struct {
	Time    id.Time
	Attempt id.Attempt
}

// StateAt is a version of a state stream.
type StateAt struct {
	Stream  id.Stream
	Version Version
}

// Piece is a chunk of a checkpoint of a partition of keyed state. It is kept, copied and dropped as a block is, or is an
// object in the bucket of its application and has no stores; its id has the coordinator's office for an instance. The
// pieces of a partition are decoded in order.
type Piece struct {
	Stream id.Stream
	Part   int
	Block  Block
}

// PieceBits is how many low bits of a piece's block number count the chunks of one partition; what is above them is a
// number that the coordinator uses once in its office.
const PieceBits = 16

// Checkpoint is the committed checkpoint of an application's keyed state (rule 7): of all its state streams, the full
// image and the changes after it that lead to Time.
type Checkpoint struct {
	Time    id.Time    // zero time without one: the state is empty
	Attempt id.Attempt // of the batch at Time
	Pieces  []Piece    // in the order of the chain
}

// Batch is the order to run a batch; the driver gives it to the coordinator.
type Batch struct {
	Authority id.Authority
	App       App
	Time      id.Time
	Inputs    []Input // of this batch time, and of the earlier ones that the graph remembers
	// States names the version that each state stream goes on from, where it was committed when the order was made.
	States []StateAt
	// Checkpointed is the time of the committed checkpoint, zero time for none; FullBytes and ChangeBytes are the bytes
	// of its image and of the changes after it.
	Checkpointed           id.Time
	FullBytes, ChangeBytes int64
	// AcceptLoss lets the batch run without blocks that no open session's store holds (resume --accept-loss).
	AcceptLoss bool
}

// BatchReport says that a batch is completed or failed; the coordinator sends it to the driver until it is acknowledged.
type BatchReport struct {
	App                id.App
	Time               id.Time
	Authority          id.Authority
	StartedMS, EndedMS int64 // wall clock of the coordinator
	Records            int64 // of the inputs of this batch time
	Tries              int   // most tries that a task needed
	Lost               int64 // records that were left out because no open session holds them (Batch.AcceptLoss)
	LostBlocks         []id.Block
	Error              string // not empty: the batch failed for good
}

// Kind is what a launch makes of its partitions.
type Kind uint8

const (
	// MapTasks runs the map side of Launch.Shuffle.
	MapTasks Kind = iota + 1
	// OutputTasks runs output operation Launch.Output.
	OutputTasks
	// StateTasks computes partitions of a stateful dataset for the state that they leave: of an earlier time again, or of
	// the batch's own where no output has read them.
	StateTasks
	// CheckpointTasks stores the state of partitions as pieces of a checkpoint, on Factor stores or in the application's bucket. Launch.Time is that of
	// the batch whose state it is, which is completed: such a launch is fenced by its office alone. It has no lineage.
	CheckpointTasks
	// CollectTasks reads partitions for an action of output operation Launch.Output, as Launch.Collect says.
	CollectTasks
)

// MapOutput says which executor holds the buckets of each map partition of a shuffle.
type MapOutput struct {
	Shuffle dataset.ShuffleID
	Holders []id.Session // by map partition
}

// StateBase says what the tasks of a launch go on from for one stateful dataset of their stage, and what they make.
type StateBase struct {
	Stream id.Stream
	Base   Version // that is read; the empty state at or before zero time
	Makes  Version // that is left: under the attempt of the launch, or under the one that won when it is computed again
	// Chain has, for the partitions that are to be restored first, the pieces of a checkpoint at Base.
	Chain []Piece
}

// CheckpointOrder is what CheckpointTasks of one stream need besides the state (Launch.States, Base) of Launch.Parts.
type CheckpointOrder struct {
	Full    bool
	Since   id.Time  // of the checkpoint that changes are given against, unless Full
	Numbers []uint64 // by index of Launch.Parts: the high part of the pieces' block numbers
}

// CollectOrder is what CollectTasks give: dataset.Query, with a bound for all of the launch.
type CollectOrder struct {
	Count bool
	Limit int
	Bytes int64 // of the rows of all its tasks together: what is more is a SizeFault
}

// Launch is the order to run tasks of one stage on one executor.
type Launch struct {
	Authority  id.Authority
	App        App
	Time       id.Time
	Kind       Kind
	Dataset    dataset.ID        // whose partitions are computed: the output's dataset, or the one below the shuffle
	Shuffle    dataset.ShuffleID // MapTasks
	Output     int               // index of the output operation whose lineage this stage belongs to; -1 for StateTasks and the stages below them
	Root       dataset.ID        // stream and time of the dataset whose lineage this stage belongs to (Sub is not used)
	Parts      []int
	Try        int // from 1
	Inputs     []Input
	MapOutputs []MapOutput // of the shuffles that these tasks read
	States     []StateBase // of the stateful datasets that these tasks read
	Checkpoint *CheckpointOrder
	Collect    *CollectOrder // CollectTasks
	Lineage    uint64        // hash of the output's lineage as the coordinator has it
}

// LaunchResult has one TaskResult per partition, in the order of Launch.Parts.
type LaunchResult struct {
	Tasks []TaskResult
}

// TaskResult is the outcome of one task.
type TaskResult struct {
	Part    int
	Receipt []byte  // OutputTasks: for dataset.Output.Commit
	Pieces  []Piece // CheckpointTasks: synced on the stores that they name, or in the bucket
	Records int64   // CollectTasks: how many there are, or were asked for
	Rows    []byte  // CollectTasks: unless only their number was asked for
	Err     *TaskError
}

// Fault classes why a task did not end well: what the coordinator does next depends on it alone.
type Fault uint8

const (
	// UserFault is an error or panic of user code: the only one that counts as a try.
	UserFault Fault = iota + 1
	// FetchFault says that buckets of a shuffle could not be fetched: map tasks must run again.
	FetchFault
	// MissingFault says that no holder of a block answered: the batch waits, visibly.
	MissingFault
	// FencedFault says that the executor knows a newer authority: the sender must stop.
	FencedFault
	// MismatchFault says that the executor's program is another one (build id, fingerprint or lineage).
	MismatchFault
	// LostFault says that the executor did not answer or is going away.
	LostFault
	// StateFault says that the executor does not hold the state that the task goes on from.
	StateFault
	// SizeFault says that a launch's rows are over the limit of its CollectOrder: the action that wants them gets it as
	// its error.
	SizeFault
)

// TaskError is a failed task's reason.
type TaskError struct {
	Fault    Fault
	Text     string
	Operator string            // UserFault: the operator at fault, if known
	At       string            // UserFault: file:line of user code, if known
	Shuffle  dataset.ShuffleID // FetchFault
	MapParts []int             // FetchFault: map partitions that could not be fetched
	Holder   id.Session        // FetchFault: who should have had them
	Block    id.Block          // MissingFault
	Stream   id.Stream         // StateFault
	Part     int               // StateFault: partition of Stream
}

// Held is a partition of keyed state that an executor holds, in one version.
type Held struct {
	Stream  id.Stream
	Part    int
	Version Version
}

// Error gives the text, and the operator and place where known.
func (e *TaskError) Error() string {
	s := e.Text
	if e.Operator != "" {
		s = e.Operator + ": " + s
	}
	if e.At != "" {
		s += " (at " + e.At + ")"
	}
	return s
}

// Fetch asks an executor for the buckets that its map tasks made for one reducer.
type Fetch struct {
	Authority id.Authority
	App       id.App
	Time      id.Time // of the batch that the map tasks ran for
	Shuffle   dataset.ShuffleID
	Reducer   int
	MapParts  []int
}

// BlockData is a block on its way to a store.
type BlockData struct {
	ID      id.Block
	Records int64
	CRC     uint32
	Data    []byte
}
