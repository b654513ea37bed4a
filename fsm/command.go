package fsm

import (
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// Kind numbers the commands. Numbers are append-only: a retired one is never used again.
type Kind uint16

// Command is one of the plain structs below.
type Command interface{ Kind() Kind }

// Kinds of commands.
const (
	KindEpoch Kind = iota + 1
	KindClusterNamed
	KindSessionOpened
	KindSessionClosed
	KindInventoryReported
	KindApplicationSubmitted
	KindApplicationStopped
	KindApplicationEnded
	KindApplicationResumed
	KindReceiverScheduled
	KindReceiverRegistered
	KindReceiverDeregistered
	KindReceiverFailed
	KindBlocksAdded
	KindBlocksAllocated
	KindCoordinatorAssigned
	KindBatchCompleted
	KindBatchFailed
	KindBatchesCleaned
)

// Outcome is done or refused; it is part of the state machine's answer, equal on every node.
type Outcome uint8

const (
	// Done says that the command took effect, now or when it was applied before.
	Done Outcome = iota + 1
	// Refused says that it had no effect.
	Refused
	// Limited is a refusal by a limit: the same command may be taken later.
	Limited
)

// Result answers a command.
type Result struct {
	Outcome Outcome
	Index   uint64        // at which it took effect: that of the first time for a repeated command
	Reason  string        // Refused, Limited: what was expected, and what was found
	Blocks  []BlockResult // BlocksAdded: one per block
	Missing []id.Block    // InventoryReported: held by the store, unknown to the ledger, of closed instances: deletable
}

// BlockResult is the fate of one block of BlocksAdded.
type BlockResult struct {
	Outcome Outcome
	Index   uint64
	Reason  string
}

// Epoch opens a leadership: its term, and who leads. Envelopes of any other term are refused from here on.
type Epoch struct {
	Term   uint64
	Leader string // raft id
	Name   string // node name
	Addr   string // rpc address
	NowMS  int64
}

// ClusterNamed stamps the cluster's id, once.
type ClusterNamed struct{ Cluster string }

// SessionOpened opens a session of an executor and ends the store's older ones. Natural key: (Store, Generation).
type SessionOpened struct {
	Store      id.Store
	Generation uint64
	Name       string
	Addr       string
	Slots      int
	Build      string
	NowMS      int64
}

// SessionClosed ends a session: its receiver instances are closed, its offices end.
type SessionClosed struct {
	Session id.Session
	Reason  string
	NowMS   int64
}

// InventoryReported says which blocks a session's store holds; with Last, what no part since First named is not held.
type InventoryReported struct {
	Session     id.Session
	Blocks      []id.Block
	First, Last bool
}

// ApplicationSubmitted submits an application. Natural key: RequestID if not empty. Result.Index is its id.
type ApplicationSubmitted struct {
	RequestID   string
	Name        string
	Program     string // name under which it is registered in the binary
	Params      []byte // JSON object
	BatchMS     int64
	BlockMS     int64
	Partitions  int
	Factor      int
	Fingerprint string
	Build       string
	RememberMS  int64
	Inputs      []InputStream
	NowMS       int64 // the application's zero time is the last multiple of the batch interval up to here
}

// InputStream is an input stream as submitted.
type InputStream struct {
	Stream    id.Stream
	Source    string
	Receiver  bool
	Pushed    bool
	Preferred string
}

// ApplicationStopped asks to stop: gracefully (draining: receivers stop, what is received is processed), or at once
// (Now: after the running batch; the result's reason says how many acknowledged records are discarded).
type ApplicationStopped struct {
	App   id.App
	Now   bool
	NowMS int64
}

// ApplicationEnded is the last step of a stop: every batch is completed, no receiver is left.
type ApplicationEnded struct {
	App   id.App
	NowMS int64
}

// ApplicationResumed lets a failed application run its failed batch again and go on.
type ApplicationResumed struct {
	App        id.App
	AcceptLoss bool
	NowMS      int64
}

// ReceiverScheduled grants a new instance of a receiver to a session. Result.Index is the instance. Prev is the
// instance that the proposer saw (0 for none): natural key (App, Stream, Prev).
type ReceiverScheduled struct {
	App     id.App
	Stream  id.Stream
	Session id.Session
	Prev    id.Instance
	NowMS   int64
}

// ReceiverRegistered says that the instance runs.
type ReceiverRegistered struct {
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Session  id.Session
	NowMS    int64
}

// ReceiverDeregistered closes an instance.
type ReceiverDeregistered struct {
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Message  string
	Error    string
	NowMS    int64
}

// ReceiverFailed records an error of a running receiver.
type ReceiverFailed struct {
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Error    string
	NowMS    int64
}

// BlocksAdded adds stored blocks to the queues of their streams. Natural key of each: its id.
type BlocksAdded struct {
	Session id.Session // that reports
	Blocks  []AddedBlock
	NowMS   int64
}

// AddedBlock is one block of BlocksAdded.
type AddedBlock struct {
	ID      id.Block
	Records int64
	Bytes   int64
	CRC     uint32
	Stores  []id.Store
	Ranges  []connector.Range
}

// BlocksAllocated fixes what belongs to batch From: every block queued then, up to the limits. Batches after From, up
// to To, are empty. From must be the application's next batch time. Natural key: (App, From, To).
type BlocksAllocated struct {
	App      id.App
	From, To id.Time
	Last     bool // the application is draining: no block is added and no batch allocated after this
	NowMS    int64
}

// CoordinatorAssigned grants the office of coordinator to a session. Result.Index is the office. Prev is the office
// that the proposer saw: natural key (App, Prev).
type CoordinatorAssigned struct {
	App     id.App
	Session id.Session
	Prev    id.Office
	NowMS   int64
}

// BatchCompleted is a batch's one point of completion.
type BatchCompleted struct {
	App                id.App
	Time               id.Time
	Office             id.Office
	Attempt            id.Attempt
	StartedMS, EndedMS int64
	Tries              int
	Lost               int64 // records given up by resume --accept-loss
	NowMS              int64
}

// BatchFailed fails a batch and with it the application, until it is resumed or stopped.
type BatchFailed struct {
	App                id.App
	Time               id.Time
	Office             id.Office
	Attempt            id.Attempt
	Error              string
	StartedMS, EndedMS int64
	Tries              int
	NowMS              int64
}

// BatchesCleaned forgets batches up to UpTo: their blocks are not needed by any later batch.
type BatchesCleaned struct {
	App  id.App
	UpTo id.Time
}

// Kind gives the command's number.
func (*Epoch) Kind() Kind { return KindEpoch }

// Kind gives the command's number.
func (*ClusterNamed) Kind() Kind { return KindClusterNamed }

// Kind gives the command's number.
func (*SessionOpened) Kind() Kind { return KindSessionOpened }

// Kind gives the command's number.
func (*SessionClosed) Kind() Kind { return KindSessionClosed }

// Kind gives the command's number.
func (*InventoryReported) Kind() Kind { return KindInventoryReported }

// Kind gives the command's number.
func (*ApplicationSubmitted) Kind() Kind { return KindApplicationSubmitted }

// Kind gives the command's number.
func (*ApplicationStopped) Kind() Kind { return KindApplicationStopped }

// Kind gives the command's number.
func (*ApplicationEnded) Kind() Kind { return KindApplicationEnded }

// Kind gives the command's number.
func (*ApplicationResumed) Kind() Kind { return KindApplicationResumed }

// Kind gives the command's number.
func (*ReceiverScheduled) Kind() Kind { return KindReceiverScheduled }

// Kind gives the command's number.
func (*ReceiverRegistered) Kind() Kind { return KindReceiverRegistered }

// Kind gives the command's number.
func (*ReceiverDeregistered) Kind() Kind { return KindReceiverDeregistered }

// Kind gives the command's number.
func (*ReceiverFailed) Kind() Kind { return KindReceiverFailed }

// Kind gives the command's number.
func (*BlocksAdded) Kind() Kind { return KindBlocksAdded }

// Kind gives the command's number.
func (*BlocksAllocated) Kind() Kind { return KindBlocksAllocated }

// Kind gives the command's number.
func (*CoordinatorAssigned) Kind() Kind { return KindCoordinatorAssigned }

// Kind gives the command's number.
func (*BatchCompleted) Kind() Kind { return KindBatchCompleted }

// Kind gives the command's number.
func (*BatchFailed) Kind() Kind { return KindBatchFailed }

// Kind gives the command's number.
func (*BatchesCleaned) Kind() Kind { return KindBatchesCleaned }
