package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
)

// AppState is where an application's life stands.
type AppState uint8

const (
	// Running allocates batches. Next: Stopping, Failed, Stopped.
	Running AppState = iota + 1
	// Stopping drains: receivers stop, the last batch is allocated, batches complete. Next: Stopped, Failed.
	Stopping
	// Failed has a failed batch; nothing is allocated. Next: Running (or Stopping) by resume, Stopping by stop --now.
	Failed
	// Stopped is the end.
	Stopped
)

// String gives the state as the command line shows it.
func (s AppState) String() string {
	switch s {
	case Running:
		return "running"
	case Stopping:
		return "stopping"
	case Failed:
		return "failed"
	case Stopped:
		return "stopped"
	}
	return "unknown"
}

// App is an application. Immutable.
type App struct {
	ID          id.App
	Name        string
	Program     string
	Params      []byte
	BatchMS     int64
	BlockMS     int64
	Partitions  int
	Factor      int
	Fingerprint string
	Build       string
	RememberMS  int64
	Inputs      []InputStream
	States      []StateStream
	// CheckpointURL names the bucket of checkpoints, empty for none: their pieces are then on stores, as blocks are.
	CheckpointURL string
	Planned       uint64 // index of the last allocation with a plan of a direct stream, 0 for none
	State         AppState
	Draining      bool // Stopping, or Failed while stopping
	LastGiven     bool // the last allocation is made: no block is added any more
	SubmittedMS   int64
	StoppedMS     int64
	ZeroTime      id.Time
	Allocated     id.Time // last batch time allocated; ZeroTime at first
	Completed     id.Time // every batch up to here is completed; ZeroTime at first
	Cleaned       id.Time // every batch up to here is cleaned; ZeroTime at first
	Pending       int     // batches allocated and not completed
	PendingRecs   int64   // records of those
	Received      int64   // records of committed blocks and of plans of direct streams
	Processed     int64   // records of completed batches
	Discarded     int64   // acknowledged records that stop --now or resume --accept-loss gave up
	Queued        int64   // records not allocated yet
	QueuedBytes   int64
	Office        id.Office
	PrevOffice    id.Office  // the one before Office, 0 for none
	Coordinator   id.Session // that holds the office, 0 for none
	Resumed       uint64     // index of the last resumption
	PrevResumed   uint64     // the one before Resumed, 0 for none
	ResumedLoss   bool       // the last resumption accepted loss
	AcceptLoss    bool       // the oldest pending batch may run without missing input (resume --accept-loss)
	Error         string     // of the failed batch
	AtOnce        bool       // stopped at once: a batch that fails is given up
	StopIndex     uint64     // index of the first stop, 0 before
	EndIndex      uint64     // index of the end, 0 before
	Broken        bool       // an invariant was found broken (rule 15): it can be stopped at once and nothing else
}

// Interval gives t, moved by n batch intervals.
func (a *App) Interval(t id.Time, n int64) id.Time { return t + id.Time(n*a.BatchMS) }

// Live reports whether the application has not ended: its name is in use.
func (a *App) Live() bool { return a.State != Stopped }

// BatchState is where a batch's life stands.
type BatchState uint8

const (
	// Allocated has its input fixed. Next: Completed, Failed.
	Allocated BatchState = iota + 1
	// BatchFailedState failed; a resumption makes it Allocated again.
	BatchFailedState
	// Completed is done for good.
	Completed
)

// String gives the state as the command line shows it.
func (s BatchState) String() string {
	switch s {
	case Allocated:
		return "allocated"
	case BatchFailedState:
		return "failed"
	case Completed:
		return "completed"
	}
	return "unknown"
}

// Batch is a batch that the ledger still keeps. Immutable.
type Batch struct {
	App                id.App
	Time               id.Time
	State              BatchState
	Index              uint64 // of the allocation
	Records            int64
	Bytes              int64
	AllocatedMS        int64
	StartedMS, EndedMS int64 // of the run that completed or failed it
	CompletedMS        int64 // when the completion was proposed
	Attempts           int   // times that the right to run it was granted while it was the oldest pending one
	Tries              int
	Error              string
	Office             id.Office  // of the run that completed or failed it
	Attempt            id.Attempt // of the run that completed or failed it
	Done               uint64     // index of its completion or failure
}

// Leadership is the current epoch.
type Leadership struct {
	Epoch  id.Epoch
	Term   uint64
	Leader string
	Name   string
	Addr   string
	NowMS  int64
}
