// Package driver owns leadership as a scope: barrier, Epoch entry, start the duties, revoke. A duty compares a view of
// the ledger with reality and acts or proposes; each is a package below this one and knows no other duty. The driver
// promises that nothing of a leadership runs after it is lost; it must not know DStreams.
package driver

import (
	"context"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// Ledger is the replicated state machine, bound to one leadership: proposals carry its term.
type Ledger interface {
	// View is immutable, of one applied index.
	View() fsm.View
	// Changed is closed when the applied index is above after.
	Changed(after uint64) <-chan struct{}
	// Propose returns when the command is applied here. An error means that the outcome is unknown, unless it is
	// ErrNotLeader or ErrOverloaded of package raftnode: then the command was never proposed.
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
}

// Connections are the executors that are connected to this leadership.
type Connections interface {
	// All lists them in order of session.
	All() []Connection
	// Of gives the connection of a session.
	Of(s id.Session) (Connection, bool)
	// Changed is closed at the next connect or disconnect.
	Changed() <-chan struct{}
}
