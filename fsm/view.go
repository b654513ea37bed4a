package fsm

import (
	"iter"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// AppState is where an application's life stands.
type AppState uint8

const (
	// Running allocates batches. Next: Stopping, Failed, Stopped.
	Running AppState = iota + 1
	// Stopping drains: receivers stop, the last batch is allocated, batches complete. Next: Stopped, Failed.
	Stopping
	// Failed has a failed batch; nothing is allocated. Next: Running (or Stopping) by resume, Stopped by stop.
	Failed
	// Stopped is the end.
	Stopped
)

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
	State       AppState
	Draining    bool // Stopping, or Failed while stopping
	LastGiven   bool // the last allocation is made: no block is added any more
	SubmittedMS int64
	StoppedMS   int64
	ZeroTime    id.Time
	Allocated   id.Time // last batch time allocated; ZeroTime at first
	Completed   id.Time // every batch up to here is completed; ZeroTime at first
	Cleaned     id.Time // every batch up to here is cleaned; ZeroTime at first
	Pending     int     // batches allocated and not completed
	Received    int64   // records of committed blocks
	Processed   int64   // records of completed batches
	Discarded   int64   // acknowledged records that stop --now or resume --accept-loss gave up
	Queued      int64   // records not allocated yet
	QueuedBytes int64
	Office      id.Office
	Coordinator id.Session // that holds the office, 0 for none
	Resumed     uint64     // index of the last resumption
	AcceptLoss  bool       // the failed batch was resumed with --accept-loss
	Error       string     // of the failed batch
}

// Interval gives t, moved by n batch intervals.
func (a *App) Interval(t id.Time, n int64) id.Time { return t + id.Time(n*a.BatchMS) }

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
	Attempts           int
	Tries              int
	Error              string
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

// Viewer lists what a View answers; View implements it.
type Viewer interface {
	Index() uint64 // last applied index
	Cluster() string
	Leadership() Leadership

	Session(id.Session) (*tracker.Session, bool)
	SessionOf(id.Store) (*tracker.Session, bool)
	Sessions() iter.Seq[*tracker.Session]

	App(id.App) (*App, bool)
	AppNamed(name string) (*App, bool) // the newest of that name
	Apps() iter.Seq[*App]              // in order of id

	Receiver(id.App, id.Stream) (*tracker.Receiver, bool)
	Receivers(id.App) iter.Seq[*tracker.Receiver]
	Instances(id.App) iter.Seq[*blocktracker.Instance]
	Positions(id.App, id.Stream) iter.Seq2[string, uint64] // partition, last position

	Batch(id.App, id.Time) (*Batch, bool)
	Batches(a id.App, after id.Time) iter.Seq[*Batch] // kept ones with a later time, in order
	Attempt(id.App, id.Time) id.Attempt               // the newest right to run the batch, 0 for none
	Input(id.App, id.Time, id.Stream) []*blocktracker.Block
	Queued(id.App, id.Stream) iter.Seq[*blocktracker.Block]
}

var _ Viewer = View{}
