package fsm

import (
	"iter"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/statetracker"
	"github.com/raftstream/raftstream/tracker"
)

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
	StoresVersion(id.App) uint64 // rises with every change of the stores of the application's blocks
	PiecesVersion() uint64       // the same of pieces of checkpoints
	Block(id.Block) (*blocktracker.Block, bool)
	Piece(id.Block) (*statetracker.Piece, bool)
	Queued(id.App, id.Stream) iter.Seq[*blocktracker.Block]
	Cleanable(a id.App, upTo id.Time) bool                     // a batch up to there has blocks that are not cleaned
	Direct(id.App, id.Time, id.Stream) (connector.Plan, bool)  // what a batch was planned to read of a direct stream
	PlanErr(id.App, id.Stream, connector.Plan) error           // why a plan could not be taken
	Mark(id.App, id.Stream) string                             // up to where a direct source is cleaned, in its own words
	SourceWarning(id.App, id.Stream) string                    // of the last plan of a direct source
	Checkpoint(id.App) (*statetracker.Checkpoint, bool)        // the committed checkpoint of keyed state
	Pieces(id.App) iter.Seq[*statetracker.Piece]               // of it, in the order of the chain
	PieceInstances(id.App) iter.Seq[*blocktracker.Instance]    // offices under which pieces were made, as instances
	Kept(a id.App, after uint64) iter.Seq[*blocktracker.Block] // blocks that may be read yet, after a place (Seq)
	Room(a *App, nowMS int64) int64                            // how many batches may be allocated now
	Events(a id.App, after uint64) iter.Seq[Event]             // of an application, 0 for everything, after an index
}

var _ Viewer = View{}

// View is a consistent, immutable picture of the ledger at one applied index. Copying it is cheap, and any number of
// goroutines may read it while the Machine goes on. The zero View is an empty ledger.
type View struct{ s *state }

func (v View) state() *state {
	if v.s == nil {
		return newState()
	}
	return v.s
}

// Index is the last applied index.
func (v View) Index() uint64 { return v.state().index }

// Cluster is the cluster's id, "" before it is named.
func (v View) Cluster() string { return v.state().cluster }

// Leadership is the current epoch; its Epoch is 0 before the first.
func (v View) Leadership() Leadership { return v.state().leader }

// Session gives an open session.
func (v View) Session(n id.Session) (*tracker.Session, bool) { return v.state().tracker.Session(n) }

// SessionOf gives the open session of a store.
func (v View) SessionOf(n id.Store) (*tracker.Session, bool) { return v.state().tracker.SessionOf(n) }

// Sessions lists the open sessions in order of id.
func (v View) Sessions() iter.Seq[*tracker.Session] { return v.state().tracker.Sessions() }

// App gives an application, also one that has ended and is still remembered.
func (v View) App(n id.App) (*App, bool) { return v.state().app(n) }

// AppNamed gives the newest application of a name.
func (v View) AppNamed(name string) (*App, bool) {
	s := v.state()
	n, ok := s.names.Get(name)
	if !ok {
		return nil, false
	}
	return s.app(n)
}

// Apps lists the applications in order of id.
func (v View) Apps() iter.Seq[*App] {
	return func(yield func(*App) bool) {
		v.state().apps.Scan(func(_ id.App, a *App) bool { return yield(a) })
	}
}

// Receiver gives the receiver of an input stream.
func (v View) Receiver(a id.App, s id.Stream) (*tracker.Receiver, bool) {
	return v.state().tracker.Receiver(a, s)
}

// Receivers lists an application's receivers in order of stream; none after its end.
func (v View) Receivers(a id.App) iter.Seq[*tracker.Receiver] { return v.state().tracker.Receivers(a) }

// Instances lists an application's receiver instances in order of stream and id.
func (v View) Instances(a id.App) iter.Seq[*blocktracker.Instance] {
	return v.state().blocks.Instances(a)
}

// Positions lists the partitions of a stream with their last committed position, in order of partition.
func (v View) Positions(a id.App, s id.Stream) iter.Seq2[string, uint64] {
	return v.state().blocks.Positions(a, s)
}

// Batch gives a batch that is kept.
func (v View) Batch(a id.App, t id.Time) (*Batch, bool) { return v.state().batch(a, t) }

// Batches lists an application's kept batches with a later time than after, in order of time.
func (v View) Batches(a id.App, after id.Time) iter.Seq[*Batch] {
	return func(yield func(*Batch) bool) {
		if after == maxTime {
			return
		}
		v.state().batches.Ascend(&Batch{App: a, Time: after + 1}, func(b *Batch) bool {
			return b.App == a && yield(b)
		})
	}
}

// Attempt gives the newest right to run a pending batch (rule 1): the index of its allocation, of the coordinator's
// office or of the last resumption, whichever is highest. 0 for a batch that is not pending.
func (v View) Attempt(n id.App, t id.Time) id.Attempt {
	s := v.state()
	a, ok := s.app(n)
	if !ok {
		return 0
	}
	b, ok := s.batch(n, t)
	if !ok {
		return 0
	}
	return s.attempt(a, b)
}

// Input lists what a batch was allocated of a stream, in order: partition i of the stream's dataset is block i. None
// when the batch is cleaned.
func (v View) Input(a id.App, t id.Time, s id.Stream) []*blocktracker.Block {
	return v.state().blocks.Input(a, t, s)
}

// StoresVersion rises with every change of the stores of a block of the application, and when one is given up. Compare only
// what one node gave without a restart in between.
func (v View) StoresVersion(a id.App) uint64 { return v.state().blocks.Moves(a) }

// PiecesVersion rises with every change of the stores of a piece of a checkpoint. Compare only what one node gave
// without a restart in between.
func (v View) PiecesVersion() uint64 { return v.state().states.Moves() }

// Block gives a block that is not cleaned.
func (v View) Block(n id.Block) (*blocktracker.Block, bool) { return v.state().blocks.Block(n) }

// Piece gives a piece of a committed checkpoint.
func (v View) Piece(n id.Block) (*statetracker.Piece, bool) { return v.state().states.Piece(n) }

// Queued lists the blocks of a stream that wait for a batch.
func (v View) Queued(a id.App, s id.Stream) iter.Seq[*blocktracker.Block] {
	return v.state().blocks.Queued(a, s)
}

// Cleanable reports whether cleaning the batches up to a time would free blocks.
func (v View) Cleanable(a id.App, upTo id.Time) bool { return v.state().blocks.Cleanable(a, upTo) }

// Kept lists an application's blocks that may be read yet, waiting or allocated, in order of arrival, from the one after
// the place after (Block.Seq). Those that were given up as lost are left out. These and Pieces are what must have its
// copies (rule 5).
func (v View) Kept(a id.App, after uint64) iter.Seq[*blocktracker.Block] {
	return v.state().blocks.Kept(a, after)
}

// Direct gives what a batch was planned to read of a direct stream; false when nothing was, or it is cleaned.
func (v View) Direct(a id.App, t id.Time, s id.Stream) (connector.Plan, bool) {
	p, ok := v.state().blocks.Plan(a, t, s)
	if !ok {
		return connector.Plan{}, false
	}
	return p.Plan, true
}

// PlanErr says why a plan of a direct stream could not be taken for the application's next batch, nil if it could
// (rule 12).
func (v View) PlanErr(a id.App, s id.Stream, p connector.Plan) error {
	return v.state().blocks.CheckPlan(&blocktracker.Plan{App: a, Stream: s, Plan: p})
}

// Mark gives the mark of the last cleaned plan of a direct stream that has one, "" for none.
func (v View) Mark(a id.App, s id.Stream) string { return v.state().blocks.Source(a, s).Mark }

// SourceWarning gives what the last plan of a direct stream warned of, "" for nothing.
func (v View) SourceWarning(a id.App, s id.Stream) string {
	return v.state().blocks.Source(a, s).Warning
}

// Checkpoint gives the committed checkpoint of an application's keyed state; false for none.
func (v View) Checkpoint(a id.App) (*statetracker.Checkpoint, bool) {
	return v.state().states.Checkpoint(a)
}

// Pieces lists the pieces of an application's checkpoint in the order of the chain.
func (v View) Pieces(a id.App) iter.Seq[*statetracker.Piece] { return v.state().states.Pieces(a) }

// PieceInstances lists the offices under which pieces were made, as if they were receiver instances, in order of stream
// and office: that is how executors know which pieces are needed. Those up to Cleaned are not; when the office is over
// (Closed), those above Last never will be.
func (v View) PieceInstances(n id.App) iter.Seq[*blocktracker.Instance] {
	return func(yield func(*blocktracker.Instance) bool) {
		s := v.state()
		a, ok := s.app(n)
		if !ok {
			return
		}
		for o := range s.states.Offices(n) {
			if !yield(&blocktracker.Instance{
				App: n, Stream: o.Stream, ID: id.Instance(o.ID), Last: o.Last, Cleaned: s.states.Cleaned(o), Closed: a.over(o.ID),
			}) {
				return
			}
		}
	}
}

// Check verifies what must hold among all records; tests and restoring call it.
func (v View) Check() error { return v.state().check() }
