package job

import (
	"context"

	"github.com/raftstream/raftstream/internal/id"
)

// Lane separates requests that must not wait for each other.
type Lane uint8

const (
	// ControlLane carries everything but blocks.
	ControlLane Lane = iota
	// BlockLane carries BlocksReport, which may be told to come again later.
	BlockLane
	// Lanes counts them.
	Lanes
)

// Link is an open control stream to the leading driver. Request blocks for the reply; one call per lane at a time.
// Recv is called by one goroutine. After an error of either the link is dead: close it and dial again. Requests
// without a reply are unknown and must be repeated.
type Link interface {
	Welcome() Welcome
	Request(ctx context.Context, lane Lane, r ToDriver) (Reply, error)
	Recv() (ToExecutor, error)
	Close() error
}

// CauseCloser is a Link that is told why its carrier closes it. ErrPeerDead: the executor's process is gone; ErrSilent: it
// has been silent for long enough. Its session may be ended at once. Any other cause, or Close: the stream is lost, and
// silence decides (rule 3).
type CauseCloser interface {
	CloseCause(cause error) error
}

// Dialer opens control streams. Dial finds the node that leads now, or fails; it does not retry. A node that does not
// lead answers ErrNotLeader, as a *NotLeaderError where it may know who does.
type Dialer interface {
	Dial(ctx context.Context, h Hello) (Link, error)
}

// Executors is how executors are reached by each other. Errors mean that the outcome is unknown; what an executor
// answers is in the results. A call to the process's own address does not leave it.
type Executors interface {
	// Launch runs tasks and returns when all of them have ended.
	Launch(ctx context.Context, to Peer, l *Launch) (*LaunchResult, error)
	// Fetch calls each with the encoded bucket of every map partition asked for, in the order of f.MapParts. The
	// bytes belong to each. A holder without one of them answers with a *TaskError of class FetchFault.
	Fetch(ctx context.Context, to Peer, f *Fetch, each func(mapPart int, bucket []byte) error) error
	// Put stores a copy of a block; on return it is synced.
	Put(ctx context.Context, to Peer, b BlockData) error
	// Get reads a block. ErrNoBlock says that the store does not hold it.
	Get(ctx context.Context, to Peer, b id.Block) (BlockData, error)
	// States lists the partitions of the application's keyed state that an executor holds, one entry per version.
	States(ctx context.Context, to Peer, app id.App) ([]Held, error)
}

// Server is what one executor answers its peers with: the other end of Executors.
type Server interface {
	Launch(ctx context.Context, l *Launch) (*LaunchResult, error)
	Fetch(ctx context.Context, f *Fetch, each func(mapPart int, bucket []byte) error) error
	Put(ctx context.Context, b BlockData) error
	Get(ctx context.Context, b id.Block) (BlockData, error)
	States(ctx context.Context, app id.App) ([]Held, error)
}
