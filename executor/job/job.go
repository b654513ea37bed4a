// Package job owns the messages among driver, coordinator and executors, as plain structs, and the interfaces by which
// they are carried. It is engine internals, without compatibility promise. It promises that everything here can cross
// a process boundary; it must not know how (internal/rpc and streamtest carry it) nor what the ledger looks like.
package job

import (
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
}

// Block is an allocated block and the stores that hold a copy.
type Block struct {
	ID      id.Block
	Records int64
	Bytes   int64
	CRC     uint32 // CRC32C of its bytes
	Stores  []id.Store
}

// Input is what an input stream was allocated for a batch time: partition i of the stream's dataset is Blocks[i].
type Input struct {
	Stream id.Stream
	Time   id.Time
	Blocks []Block
}

// Batch is the order to run a batch; the driver gives it to the coordinator.
type Batch struct {
	Authority id.Authority
	App       App
	Time      id.Time
	Inputs    []Input // of this batch time, and of the earlier ones that the graph remembers
	// AcceptLoss lets the batch run without blocks that no open session's store holds (resume --accept-loss).
	AcceptLoss bool
}

// BatchReport says that a batch is completed or failed; the coordinator sends it to the driver until it is acknowledged.
type BatchReport struct {
	App                id.App
	Time               id.Time
	Authority          id.Authority
	StartedMS, EndedMS int64  // wall clock of the coordinator
	Records            int64  // of the inputs of this batch time
	Tries              int    // most tries that a task needed
	Lost               int64  // records that were left out because no open session holds them (Batch.AcceptLoss)
	Error              string // not empty: the batch failed for good
}

// Kind is what a launch makes of its partitions.
type Kind uint8

const (
	// MapTasks runs the map side of Launch.Shuffle.
	MapTasks Kind = iota + 1
	// OutputTasks runs output operation Launch.Output.
	OutputTasks
)

// MapOutput says which executor holds the buckets of each map partition of a shuffle.
type MapOutput struct {
	Shuffle dataset.ShuffleID
	Holders []id.Session // by map partition
}

// Launch is the order to run tasks of one stage on one executor.
type Launch struct {
	Authority  id.Authority
	App        App
	Time       id.Time
	Kind       Kind
	Dataset    dataset.ID        // whose partitions are computed: the output's dataset, or the one below the shuffle
	Shuffle    dataset.ShuffleID // MapTasks
	Output     int               // index of the output operation whose lineage this stage belongs to
	Parts      []int
	Try        int // from 1
	Inputs     []Input
	MapOutputs []MapOutput // of the shuffles that these tasks read
	Lineage    uint64      // hash of the output's lineage as the coordinator has it
}

// LaunchResult has one TaskResult per partition, in the order of Launch.Parts.
type LaunchResult struct {
	Tasks []TaskResult
}

// TaskResult is the outcome of one task.
type TaskResult struct {
	Part    int
	Receipt []byte // OutputTasks: for dataset.Output.Commit
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
