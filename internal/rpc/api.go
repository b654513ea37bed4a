package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Ledger is what the API needs of the replicated state machine on this node.
type Ledger interface {
	// View is what is applied here; it may be old.
	View() fsm.View
	// Changed is closed when more than the index is applied here.
	Changed(after uint64) <-chan struct{}
	// Linearizable contains everything acknowledged before the call; id.ErrNotLeader unless this node leads.
	Linearizable(ctx context.Context) (fsm.View, error)
	// Propose proposes under this node's leadership and returns when the command is applied here. id.ErrNotLeader
	// and id.ErrOverloaded say that it was not proposed; any other error that the outcome is unknown.
	Propose(ctx context.Context, c fsm.Command) (fsm.Result, error)
}

// Pusher takes records for a receiver of this process.
type Pusher interface {
	// Push hands p to the receiver, or fails: job.ErrNoReceiver when it does not run here. p.Reply tells the fate of
	// what was handed over; it is not called after an error.
	Push(ctx context.Context, app id.App, stream id.Stream, p connector.Push) error
}

// API is what the public API is served from. Nil fields are parts that this node does not have.
type API struct {
	Name    string // of this node
	Addr    string // its rpc address
	Version string
	Commit  string
	Build   string // build id of its binary, recorded with what is submitted here

	Ledger   Ledger            // nil without the driver role: calls that need it are redirected
	Leader   func() string     // rpc address of the leading driver as known here, "" for none
	Members  func() Membership // from gossip and Raft
	Servers  Servers           // nil without the driver role
	Programs dataset.Builder   // of this node's binary
	Pushes   Pusher            // nil without the executor role
	// Rate is how many records per second an input stream takes in at most at present, as the leading driver knows it, 0
	// for no limit; nil: what its graph says.
	Rate func(*fsm.App, id.Stream) int64
	// CheckBucket says what is wrong with a checkpoint URL; nil: applications with one are refused.
	CheckBucket func(url string) error
	Cluster     func() string    // cluster id, "" until known
	Now         func() time.Time // nil: time.Now
	Logger      *slog.Logger     // nil: none
}

// apiServer serves an API; applications and members are its gRPC faces.
type apiServer struct {
	*API
	server *Server
}

type applications struct {
	raftstreamv1.UnimplementedApplicationsServer
	*apiServer
}

type members struct {
	raftstreamv1.UnimplementedClusterServer
	*apiServer
}

func (a *apiServer) nowMS() int64 {
	if a.Now != nil {
		return a.Now().UnixMilli()
	}
	return time.Now().UnixMilli()
}

const (
	// retryProposal is the wait before a proposal with unknown outcome is made again.
	retryProposal = 20 * time.Millisecond
	// retryOverload and retryReceiver are what clients are told to wait.
	retryOverload = 100 * time.Millisecond
	retryReceiver = 100 * time.Millisecond
)

// problem makes the status of a refused or failed call.
func problem(c codes.Code, p *raftstreamv1.Problem, format string, args ...any) error {
	for _, s := range []*string{&p.Thing, &p.Got, &p.Expected, &p.Addr} {
		*s = text(*s)
	}
	return withDetail(c, fmt.Sprintf(format, args...), p)
}

func invalid(thing, got, expected string) error {
	return problem(codes.InvalidArgument, &raftstreamv1.Problem{
		Kind: raftstreamv1.Problem_KIND_INVALID, Thing: thing, Got: got, Expected: expected,
	}, "%s is %q, expected %s", thing, got, expected)
}

func notFound(thing, got, expected string) error {
	return problem(codes.NotFound, &raftstreamv1.Problem{
		Kind: raftstreamv1.Problem_KIND_NOT_FOUND, Thing: thing, Got: got, Expected: expected,
	}, "no %s %q, expected %s", thing, got, expected)
}

func refused(thing, got, reason string) error {
	return problem(codes.FailedPrecondition, &raftstreamv1.Problem{
		Kind: raftstreamv1.Problem_KIND_REFUSED, Thing: thing, Got: got, Expected: reason,
	}, "%s %q: %s", thing, got, reason)
}

func overloaded(what string) error {
	return problem(codes.ResourceExhausted, &raftstreamv1.Problem{
		Kind: raftstreamv1.Problem_KIND_OVERLOADED, Thing: what, RetryMs: retryOverload.Milliseconds(),
	}, "%s: come again after %v", what, retryOverload)
}

// elsewhere says that another node leads.
func (a *apiServer) elsewhere() error {
	addr := ""
	if a.Leader != nil {
		addr = a.Leader()
	}
	if addr == a.Addr {
		addr = "" // this node is about to lead: there is nobody else to ask yet
	}
	p := &raftstreamv1.Problem{Kind: raftstreamv1.Problem_KIND_NOT_LEADER, Thing: "node", Got: a.Name, Addr: addr}
	if addr == "" {
		return problem(codes.Unavailable, p, "node %s does not lead and knows no leader", a.Name)
	}
	return problem(codes.Unavailable, p, "node %s does not lead, %s does", a.Name, addr)
}

// unknown says that a change may or may not have taken effect.
func (a *apiServer) unknown(err error) error {
	return problem(codes.Unavailable, &raftstreamv1.Problem{
		Kind: raftstreamv1.Problem_KIND_UNKNOWN_OUTCOME, Thing: "node", Got: a.Name,
	}, "node %s does not know the outcome, repeat the call: %v", a.Name, err)
}

// view gives the ledger as it is now, or as this node has it.
func (a *apiServer) view(ctx context.Context, stale bool) (fsm.View, error) {
	if a.Ledger == nil {
		return fsm.View{}, a.elsewhere()
	}
	if stale {
		return a.Ledger.View(), nil
	}
	v, err := a.Ledger.Linearizable(ctx)
	switch {
	case err == nil:
		return v, nil
	case errors.Is(err, id.ErrOverloaded):
		return v, overloaded("queue of reads is full")
	case ctx.Err() != nil:
		return v, status.FromContextError(ctx.Err()).Err()
	}
	// Not leading, or leadership was lost while it was being confirmed: another node may answer.
	return v, a.elsewhere()
}

// propose commits c. A proposal with unknown outcome is made again while this node leads: commands are idempotent by
// their natural keys.
func (a *apiServer) propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	if a.Ledger == nil {
		return fsm.Result{}, a.elsewhere()
	}
	var doubt error
	for {
		r, err := a.Ledger.Propose(ctx, c)
		switch {
		case err == nil && r.Stale && doubt == nil:
			return r, a.elsewhere() // this node's leadership was over: the refusal is no verdict
		case err == nil && r.Stale:
			return r, a.unknown(doubt)
		case err == nil && r.Outcome == fsm.Limited:
			return r, overloaded(r.Reason)
		case err == nil:
			return r, nil
		case doubt == nil && errors.Is(err, id.ErrNotLeader):
			return r, a.elsewhere()
		case doubt == nil && errors.Is(err, id.ErrOverloaded):
			return r, overloaded(err.Error())
		case errors.Is(err, id.ErrTooLarge):
			return r, invalid("request", "too large", "one that fits into a command: "+err.Error())
		case errors.Is(err, id.ErrNotLeader), ctx.Err() != nil:
			return r, a.unknown(errors.Join(doubt, err))
		}
		doubt = err
		t := time.NewTimer(retryProposal)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return r, a.unknown(doubt)
		}
	}
}

// find gives the application that a request names.
func find(v fsm.Viewer, name string, number uint64) (*fsm.App, error) {
	if number == 0 {
		if name == "" {
			return nil, invalid("name", name, "the name or id of an application")
		}
		app, ok := v.AppNamed(name)
		if !ok {
			return nil, notFound("application", name, "the name of one that was submitted")
		}
		return app, nil
	}
	app, ok := v.App(id.App(number))
	if !ok {
		return nil, notFound("application", fmt.Sprint(number), "the id of one that was submitted")
	}
	if name != "" && name != app.Name {
		return nil, invalid("name", name, fmt.Sprintf("%q, the name of application %d", app.Name, number))
	}
	return app, nil
}

// GetVersion tells what this node runs.
func (m members) GetVersion(context.Context, *raftstreamv1.GetVersionRequest) (*raftstreamv1.GetVersionReply, error) {
	r := &raftstreamv1.GetVersionReply{Version: m.Version, Commit: m.Commit, GoVersion: runtime.Version(), Node: m.Name}
	if m.Cluster != nil {
		r.Cluster = m.Cluster()
	}
	if m.Programs != nil {
		r.Programs = m.Programs.Names()
	}
	return r, nil
}

// GetLedger tells where this node's copy of the ledger stands.
func (m members) GetLedger(context.Context, *raftstreamv1.GetLedgerRequest) (*raftstreamv1.GetLedgerReply, error) {
	if m.Ledger == nil {
		return nil, refused("node", m.Name, "it has no copy of the ledger, expected the driver role")
	}
	v := m.Ledger.View()
	return &raftstreamv1.GetLedgerReply{Node: m.Name, AppliedIndex: v.Index(), StateHash: fmt.Sprintf("%x", v.Hash())}, nil
}
