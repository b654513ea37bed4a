// Package dataset is the untyped seam between typed operators and executors. The typed side (dstream over lineage)
// implements App, Dataset, Shuffle, Rows, Output and Receiver; the executor implements Task, Inlet and Sources.
//
// It promises one direction: typed code pulls through a Task, the engine never sees a record, only Rows and encoded
// bytes. It must hold no generic type, no algorithm and know nothing of the engine.
package dataset

import (
	"context"
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

// ID names a dataset: the stream and batch time that it belongs to, and its number among the datasets made for them.
// It is derived, never allocated: every process that builds the same graph derives the same.
type ID struct {
	Stream id.Stream
	Time   id.Time
	Sub    int32
}

// String gives the id as stream@time.sub.
func (d ID) String() string { return fmt.Sprintf("%d@%d.%d", d.Stream, d.Time, d.Sub) }

// ShuffleID names a shuffle: the dataset that reads it and its ordinal among that dataset's dependencies.
type ShuffleID struct {
	Of  ID
	Dep int
}

// String gives the id as stream@time.sub/dep.
func (s ShuffleID) String() string { return fmt.Sprintf("%v/%d", s.Of, s.Dep) }

// Dataset is a node of lineage: what the coordinator cuts into stages. Immutable; its methods may be called
// concurrently.
type Dataset interface {
	ID() ID
	Partitions() int
	Deps() []Dep
	// Collect runs the fused loop of partition part and returns at most limit rows (limit < 0: all of them).
	Collect(t Task, part, limit int) Rows
}

// Dep is a dependency of a dataset. Exactly one of Narrow and Shuffle is set.
type Dep struct {
	On      Dataset
	Narrow  func(part int) []int // partitions of On that part reads, in the same task
	Shuffle Shuffle
}

// Shuffle is a stage boundary. Map runs one map task: fused loop, combine, cut by key into one Rows per reducer.
type Shuffle interface {
	ID() ShuffleID
	Reducers() int
	Map(t Task, part int) []Rows
}

// Stateful is a Dataset whose partitions go on from keyed state: that of the same stream at Base. There is one in the
// lineage of a stream's time at most; lineage ends at its state. Its partition count never changes.
type Stateful interface {
	Dataset
	// Base is the time of the stream whose state this one goes on from; at or before zero time the state is empty.
	Base() id.Time
	// Initial makes a partition as it is at zero time: without rows, but for those that the user gives it then.
	Initial(part int) State
	// Blank makes a partition without rows, for images of checkpoints to be decoded into.
	Blank() State
}

// State is one partition of keyed state as of one time of its stream. The engine keeps it between batches. Between two
// calls of Install it may be read by any number of goroutines, and changes by none; Install, Decode and Forget exclude
// everything else. Iteration is in an order that depends on what was installed alone, also after Encode and Decode
// (rule 6).
type State interface {
	// Len is the number of rows.
	Len() int
	// Install makes the state that of time at. The delta was made over this state as it is.
	Install(d Delta, at id.Time)
	// Encode yields what changed after since (all rows, if full) in chunks that Decode takes, each of about size bytes
	// and never more than twice that unless a single row is. No change gives no chunk. It ends early when yield
	// returns false. Chunks are self-contained and belong to yield.
	Encode(since id.Time, full bool, size int, yield func(chunk []byte, rows int64) bool)
	// Decode applies a chunk, in the order in which Encode gave them; the rows then count as changed at time at.
	Decode(chunk []byte, at id.Time) error
	// Forget says that no Encode will ask for changes up to the time.
	Forget(upTo id.Time)
}

// Delta is what one batch changes of a State, and whatever else typed code wants to find again when the same dataset is
// read again in the same attempt. Immutable once it is returned.
type Delta interface {
	// Len is the number of rows that it changes, adds or removes.
	Len() int
}

// Rows is an opaque typed container: a bucket or a result. It is immutable once returned. Encode appends the encoding;
// it is called only when the rows leave the process.
type Rows interface {
	Len() int
	Encode(dst []byte) []byte
}

// Chunk carries Rows of this process, or their encoding by another one.
type Chunk struct {
	Rows  Rows
	Bytes []byte
}

// Batch says for which run typed code is working.
type Batch struct {
	App     id.App
	Time    id.Time
	Attempt id.Attempt
	Try     int // try of this task within the attempt, from 1; 0 where no task runs
}

// Task is all that typed code may ask of the executor while a task runs. One goroutine uses it.
// Its methods return no errors: on failure they unwind to the task's boundary (see Fail), so that no user loop or sink
// takes a broken sequence for a finished one.
type Task interface {
	Context() context.Context
	Batch() Batch
	// Block gives the bytes of the part'th block that stream s was allocated at time at. The bytes are never written
	// to or reused: views into them stay valid as long as they are referenced.
	Block(s id.Stream, at id.Time, part int) []byte
	// Buckets yields what every map task of the shuffle made for the reducer, in the order of map partitions.
	Buckets(s ShuffleID, reducer int) iter.Seq[Chunk]
	// Part gives the part'th part of what the direct stream s was planned to read at time at.
	Part(s id.Stream, at id.Time, part int) connector.Part
	// State gives a partition of d's keyed state at d.Base() and what d's time changes of it. advance makes the delta
	// from the state, which it must not change; it is called unless a task of the same attempt has made the delta here
	// before. Both are valid and unchanging until the task ends.
	State(d Stateful, part int, advance func(base State) Delta) (State, Delta)
	// Kept is where a partition of a persisted dataset is kept; spill lets it go to a file when memory is needed.
	Kept(d Dataset, part int, spill bool) Kept
	// Fail ends the task with err: it panics with a value that only the task's boundary recovers.
	Fail(err error)
}

// Kept is the place of one partition of a persisted dataset on this executor. It may lose what it holds at any time, and
// never holds anything else.
type Kept interface {
	// Chunks gives what Put was given for the partition, perhaps cut in other places; ok is false where that is not held.
	// Nobody may write to them; views into them stay valid as long as they are referenced.
	Chunks() (chunks [][]byte, ok bool)
	// Room is the most bytes that Put keeps.
	Room() int64
	// Put keeps all records of the partition, encoded one after the other. Chunks begin and end with whole records and are
	// never written to again.
	Put(chunks [][]byte)
}

// Sources tells how many blocks, or parts of a direct source, the ledger allocated to an input stream at a time: shapes
// only, never bytes.
type Sources interface {
	Partitions(s id.Stream, at id.Time) int
}

// Output is an output operation.
type Output interface {
	Name() string
	Stream() id.Stream
	// Run runs on an executor for one partition and returns a receipt for Commit: small, at most MaxReceipt bytes. It
	// may run several times, also at the same time on two executors, and must then have the same effect.
	Run(t Task, d Dataset, part int) []byte
	// Commit runs on the coordinator when every partition has run, with the receipts in partition order. It may run
	// again after a failure.
	Commit(ctx context.Context, b Batch, receipts [][]byte) error
}

// MaxReceipt bounds a receipt in bytes.
const MaxReceipt = 1 << 20

// Receiver is a connector.Receiver behind its codec.
type Receiver interface {
	Run(ctx context.Context, in Inlet) error
}

// Records is encoded records on their way into a block: the block's bytes are the concatenation of Bytes.
type Records struct {
	Bytes []byte
	Count int
	// Range is the positions of the records in a source that can send them again; Partition "" where it cannot.
	Range connector.Range
}

// Inlet is a connector.Inlet without the type: the executor's end of a running receiver. Add copies Bytes, keeps all
// of them in one block, and returns a receipt (nil for records without a range).
type Inlet interface {
	Add(ctx context.Context, r Records) (connector.Receipt, error)
	Position(partition string) uint64
	Pushes() <-chan connector.Push
}

// Direct is the planning side of a connector.DirectSource.
type Direct interface {
	Plan(ctx context.Context, r connector.PlanRequest) (connector.Plan, error)
}

// App is one graph, built in this process from (name, parameters, batch interval, partitions). Its methods may be
// called concurrently.
type App interface {
	Plan() *plan.Plan
	// Dataset gives the dataset of stream s at time at; ok is false where the stream yields none. An error fails the
	// batch (a missing parent of a union, say).
	Dataset(s id.Stream, at id.Time, in Sources) (d Dataset, ok bool, err error)
	Outputs() []Output
	// Receiver gives the receiver of an input stream; ok is false for a stream that has none.
	Receiver(s id.Stream) (r Receiver, ok bool)
	// Direct gives the direct source of an input stream; ok is false for a stream that has none.
	Direct(s id.Stream) (d Direct, ok bool)
	// Forget drops what is remembered of batches before the time.
	Forget(before id.Time)
	// Blame finds the operator and the file:line of user code among stack frames of a panic; "" where there is none.
	Blame(frames []uintptr) (operator, at string)
}

// Spec is what an App is built from. Two processes with equal specs and the same program build equal graphs.
type Spec struct {
	Name       string // as registered
	Params     []byte // JSON object
	BatchMS    int64
	ZeroTime   id.Time // first batch is at ZeroTime + one interval
	Partitions int     // default of shuffles
}

// Builder builds graphs from specs: the registry, as the engine sees it. Errors say what is wrong for the submitter.
type Builder interface {
	Build(s Spec) (App, error)
	// Params makes the JSON of parameters given as text, each decoded by the type of the program's field.
	Params(name string, values map[string]string) ([]byte, error)
	Names() []string
}
