package job

import (
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// Hello opens a control stream: an executor presents itself to the leading driver.
type Hello struct {
	Store      id.Store
	Generation uint64     // of this start of the process: higher than at every earlier start of the store
	Session    id.Session // the session that it works under, 0 for none yet
	Name       string
	Addr       string
	Slots      int
	Build      string
	Cluster    string // cluster id stamped into its store, "" for none yet
}

// Welcome answers Hello. A session other than the one in Hello means that the old one is over: receivers and tasks
// stop before anything else is done.
type Welcome struct {
	Session id.Session
	Epoch   id.Epoch
	Cluster string
}

// ToDriver is a request of an executor: one of the types below. Requests of one lane are answered in order, one at a
// time, and repeated to whoever leads until they are.
type ToDriver interface{ toDriver() }

// BlocksReport says that blocks are stored. Reports of one instance are in order of their number.
type BlocksReport struct{ Blocks []BlockReport }

// BlockReport is one block that is synced on every store named.
type BlockReport struct {
	ID      id.Block
	Records int64
	Bytes   int64
	CRC     uint32
	Stores  []id.Store
	Ranges  []connector.Range // what it holds of sources that can send again, by partition
}

// ReceiverStarted asks to become the current instance's run; the answer carries the positions to start from.
type ReceiverStarted struct {
	App      id.App
	Stream   id.Stream
	Instance id.Instance
}

// ReceiverStopped says that the instance is over on this executor and adds nothing more.
type ReceiverStopped struct {
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Message  string // why
	Error    string // not empty: it failed for good here
}

// ReceiverFailed says that a run of the receiver failed; the executor starts it again with back-off.
type ReceiverFailed struct {
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Error    string
}

// Inventory says which blocks a store holds, in parts; the answer names those that may be deleted.
type Inventory struct {
	Blocks []id.Block
	First  bool // the first part
	Last   bool // the last part: what no part named is not held
}

// CheckpointReport says that keyed state is checkpointed: the pieces are synced on the stores that they name.
type CheckpointReport struct {
	App       id.App
	Authority id.Authority // of the coordinator; Attempt is not used
	Version   Version      // of all state streams of the application: that after the batch at Time
	Full      bool         // the pieces are images; else changes against the committed checkpoint at Since
	Since     id.Time
	Pieces    []Piece // of all partitions of all state streams; one without changes has none
}

// HistoryRequest asks for what keyed state is computed from again: Reply.History.
type HistoryRequest struct {
	App    id.App
	Before id.Time // the batch that needs it
	From   id.Time // History.Next of the page before, 0 for the first page
}

// PositionsRequest asks for the positions of a direct source: Reply.Positions.
type PositionsRequest struct {
	App    id.App
	Stream id.Stream
}

// SourcesPlanned answers PlanSources.
type SourcesPlanned struct {
	App     id.App
	Time    id.Time
	Office  id.Office
	Planned uint64 // of the order
	Plans   []StreamPlan
}

// StreamPlan is the plan of one direct stream.
type StreamPlan struct {
	Stream id.Stream
	Plan   connector.Plan
	Error  string // not empty: the source could not be planned, and Plan is empty
}

// BlocksCopied says that blocks, or pieces of checkpoints, are synced on the session's store: answers CopyBlocks.
type BlocksCopied struct{ Blocks []id.Block }

func (*BlocksReport) toDriver()     {}
func (*CheckpointReport) toDriver() {}
func (*HistoryRequest) toDriver()   {}
func (*PositionsRequest) toDriver() {}
func (*SourcesPlanned) toDriver()   {}
func (*BlocksCopied) toDriver()     {}
func (*ReceiverStarted) toDriver()  {}
func (*ReceiverStopped) toDriver()  {}
func (*ReceiverFailed) toDriver()   {}
func (*Inventory) toDriver()        {}
func (*BatchReport) toDriver()      {}

// Outcome is done or refused. An outcome that is unknown is no answer at all: the request is repeated.
type Outcome uint8

const (
	// Done says that the request took effect, now or when it was made before.
	Done Outcome = iota + 1
	// Refused says that it has no effect and will have none.
	Refused
	// Later says that a limit is reached: repeat the request after a while.
	Later
)

// Reply answers one request.
type Reply struct {
	Outcome   Outcome
	Index     uint64            // Raft index at which it took effect
	Reason    string            // Refused, Later
	Blocks    []BlockReply      // BlocksReport: one per block
	Positions []connector.Range // ReceiverStarted, PositionsRequest: last position of every partition of the stream (First is 0)
	History   *History          // HistoryRequest
	Delete    []id.Block        // Inventory
}

// BlockReply is the fate of one reported block.
type BlockReply struct {
	Outcome Outcome
	Index   uint64
	Reason  string
}

// History is what an application's keyed state is computed from again: its checkpoint, the completed batches after it
// and their inputs, with those of the earlier times that these batches read.
type History struct {
	Checkpoint Checkpoint
	Batches    []Version // completed after the checkpoint and before the batch that asks, in order of time
	Inputs     []Input   // those without blocks and parts are left out
	Next       id.Time   // not 0: there is more, ask again from there (CollectHistory does); only the driver reads it
}

// ToExecutor is an order or notice of the leading driver: one of the types below. They may be repeated.
type ToExecutor interface{ toExecutor() }

// Peers is the table of open sessions.
type Peers struct {
	Index uint64 // applied index that it was read at; a lower one is ignored
	Peers []Peer
}

// StartReceiver orders to run an instance of a receiver, if it is not running.
type StartReceiver struct {
	Epoch    id.Epoch
	App      App
	Stream   id.Stream
	Instance id.Instance
	Rate     int64 // records per second, 0 for no limit
}

// StopReceiver orders to stop an instance: drain what it holds, report it, then say ReceiverStopped.
type StopReceiver struct {
	Epoch    id.Epoch
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Discard  bool // do not drain: the application was stopped at once
}

// SetRate limits what a receiver instance takes in (Spark: UpdateReceiverRateLimit).
type SetRate struct {
	Epoch    id.Epoch
	App      id.App
	Stream   id.Stream
	Instance id.Instance
	Rate     int64 // records per second, 0 for no limit
}

// PlanSources orders the coordinator to plan what the batch at Time reads of the application's direct streams.
type PlanSources struct {
	Epoch   id.Epoch
	Office  id.Office
	App     App
	Time    id.Time
	Planned uint64 // index of the last allocation with a plan: positions read at an older one are stale
	Limits  []SourceLimit
}

// SourceLimit bounds what a batch reads of a direct stream.
type SourceLimit struct {
	Stream  id.Stream
	Records int64 // more than 0
}

// CopyBlocks orders to store copies of blocks or pieces of checkpoints that have too few (rules 5 and 7), then to say
// BlocksCopied. Blocks that nobody gives are left out.
type CopyBlocks struct {
	Epoch  id.Epoch
	Blocks []Block
}

// Progress tells where an application stands. It is what frees buckets, blocks and logs.
type Progress struct {
	Epoch     id.Epoch
	App       id.App
	Completed id.Time // every batch up to here is completed
	Cleaned   id.Time // nothing will ever read a batch up to here
	Ended     bool    // the application is over: nothing of it is needed
	// Checkpointed is the time of the committed checkpoint of keyed state: no older state is needed.
	Checkpointed id.Time
	Instances    []InstanceProgress
	// CheckpointURL names the bucket that the pieces of checkpoints are in, and Sweeper the session whose executor deletes
	// from it what is not needed, 0 for nobody. Several that do so at a time do no harm: what this says stays true.
	CheckpointURL string
	Sweeper       id.Session
}

// InstanceProgress says which blocks of a receiver instance, or pieces of checkpoints made in a coordinator's office,
// are not needed any more.
type InstanceProgress struct {
	Stream   id.Stream
	Instance id.Instance
	Cleaned  uint64 // blocks up to this number are cleaned
	Last     uint64 // highest number that the ledger has
	Closed   bool   // it will never have a higher one: blocks above Last are orphans
}

func (*SetRate) toExecutor()       {}
func (*PlanSources) toExecutor()   {}
func (*CopyBlocks) toExecutor()    {}
func (*Peers) toExecutor()         {}
func (*StartReceiver) toExecutor() {}
func (*StopReceiver) toExecutor()  {}
func (*Batch) toExecutor()         {}
func (*Progress) toExecutor()      {}
