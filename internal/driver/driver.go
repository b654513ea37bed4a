// Package driver owns leadership as a scope: barrier, Epoch entry, start the duties, revoke. A duty compares a view of
// the ledger with reality and acts or proposes; each is a package below this one and knows no other duty. The driver
// promises that nothing of a leadership runs after it is lost; it must not know DStreams.
//
// Three things make it up: Driver runs the leaderships of this node one after the other; Hub is where executors are
// connected to a leadership; Turns is the loop that every duty consists of.
package driver

import (
	"context"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// Raft replicates the ledger. raftnode.Node is one.
type Raft interface {
	// Leadership gives the latest change; older ones that nobody took are dropped. It is closed with raft.
	Leadership() <-chan id.Leadership
	// IsLeader reports whether this node leads in the term.
	IsLeader(term uint64) bool
	// Leader gives the node that leads as far as this one knows, "" for none.
	Leader() (node, addr string)
	// Barrier returns when everything committed before is applied here.
	Barrier(ctx context.Context) error
	// Propose returns when the command is applied here. id.ErrNotLeader and id.ErrOverloaded say that it was not
	// proposed; any other error that the outcome is unknown.
	Propose(ctx context.Context, term uint64, c fsm.Command) (fsm.Result, error)
	View() fsm.View
	Changed(after uint64) <-chan struct{}
}

// Ledger is the replicated state machine, bound to one leadership: proposals carry its term.
type Ledger interface {
	// Epoch is the leadership. Orders cite it; the view's may already be another one's.
	Epoch() id.Epoch
	// View is immutable, of one applied index.
	View() fsm.View
	// Changed is closed when the applied index is above after.
	Changed(after uint64) <-chan struct{}
	// Propose returns when the command is applied here. An error means that the outcome is unknown, unless it is
	// id.ErrNotLeader or id.ErrOverloaded: then the command was never proposed.
	Propose(ctx context.Context, c fsm.Command) (fsm.Result, error)
}

// Duty is one of the leading driver's tasks. Run returns when ctx ends (nil or ctx's error), or with an error that
// ends the leadership. It has no memory that matters: started at any moment on any view it does the right thing.
type Duty interface {
	Name() string
	Run(ctx context.Context, l Ledger) error
}

// Connection is the control stream of an executor, as duties see it.
type Connection interface {
	// Number is unique in this process: a reconnected executor has a higher one.
	Number() uint64
	Session() id.Session
	// Send queues an order. False: the queue is full or the connection gone; the connection is then closed, and what
	// was sent on it must be taken as unsent.
	Send(m job.ToExecutor) bool
	// Room is how many orders the queue takes at present. Who has many to send looks at it first.
	Room() int
	// Close ends the connection: its session is over. The executor dials again and gets a new one.
	Close()
}

// Loss is why a session has no connection.
type Loss struct {
	Since time.Time // when it was lost, or when this leadership began
	Gone  bool      // the executor is known to be dead or was silent for long enough: there is nothing to wait for
}

// Connections are the executors that are connected to this leadership.
type Connections interface {
	// All lists them in order of session.
	All() []Connection
	// Of gives the connection of a session.
	Of(s id.Session) (Connection, bool)
	// Lost says what is known of a session without connection.
	Lost(s id.Session) Loss
	// Planned gives the newest plan of an application's direct streams that its coordinator made.
	Planned(a id.App) (*job.SourcesPlanned, bool)
	// Changed is closed at the next connect, disconnect or plan.
	Changed() <-chan struct{}
}
