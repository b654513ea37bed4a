package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

// Defaults and limits of a submission.
const (
	defaultBatchMS     = 1000
	defaultBlockMS     = 200
	defaultReplication = 2
	nameMax            = 128
	batchesDefault     = 100
	// slotsWait is how long a submission without partitions waits for an executor, if its deadline is not before.
	slotsWait = 5 * time.Second
)

// Submit builds the plan here, on the node that leads, and commits the submission. Its request id is the natural key.
func (a applications) Submit(ctx context.Context, r *raftstreamv1.SubmitRequest) (*raftstreamv1.SubmitReply, error) {
	if err := complete(r); err != nil {
		return nil, err
	}
	if err := a.checkBucket(r.GetCheckpointUrl()); err != nil {
		return nil, err
	}
	v, err := a.view(ctx, false)
	if err != nil {
		return nil, err
	}
	c, err := a.submission(ctx, v, r)
	if err != nil {
		return nil, err
	}
	res, err := a.propose(ctx, c)
	if err != nil {
		return nil, err
	}
	if res.Outcome != fsm.Done {
		if app, ok := a.Ledger.View().AppNamed(c.Name); ok && app.Live() {
			return nil, problem(codes.AlreadyExists, &raftstreamv1.Problem{
				Kind: raftstreamv1.Problem_KIND_TAKEN, Thing: "name", Got: c.Name, Expected: res.Reason, AppId: uint64(app.ID),
			}, "name %q: %s", c.Name, res.Reason)
		}
		return nil, refused("submission", c.Name, res.Reason)
	}
	return &raftstreamv1.SubmitReply{RaftIndex: res.Index, Id: res.Index, Name: c.Name}, nil
}

// checkBucket refuses a checkpoint URL that no executor could make anything of. Whether they reach the bucket is seen at
// the first checkpoint: this node may have neither the credentials nor the mount.
func (a applications) checkBucket(url string) error {
	if url == "" {
		return nil
	}
	if a.CheckBucket == nil {
		return invalid("checkpoint URL", url, "none: this node knows no buckets")
	}
	if err := a.CheckBucket(url); err != nil {
		return problem(codes.InvalidArgument, &raftstreamv1.Problem{
			Kind: raftstreamv1.Problem_KIND_INVALID, Thing: "checkpoint URL", Expected: text(err.Error()),
		}, "checkpoint URL: %v", err)
	}
	return nil
}

// complete checks a submission and fills in its defaults.
func complete(r *raftstreamv1.SubmitRequest) error {
	if r.GetName() == "" {
		r.Name = r.GetProgram()
	}
	for _, n := range []struct{ thing, value string }{
		{"request id", r.GetRequestId()}, {"program", r.GetProgram()}, {"name", r.GetName()},
	} {
		if n.value == "" || len(n.value) > nameMax || strings.ContainsFunc(n.value, func(c rune) bool { return !unicode.IsGraphic(c) }) {
			return invalid(n.thing, n.value, fmt.Sprintf("1 to %d bytes of visible text", nameMax))
		}
	}
	if r.BatchMs == 0 {
		r.BatchMs = defaultBatchMS
	}
	if r.BlockMs == 0 {
		r.BlockMs = defaultBlockMS
	}
	if r.Replication == 0 {
		r.Replication = defaultReplication
	}
	for _, n := range []struct {
		thing            string
		value, low, high int64
		unit             string
	}{
		{"batch interval", r.BatchMs, fsm.MinIntervalMS, fsm.MaxBatchMS, "ms"},
		{"block interval", r.BlockMs, fsm.MinIntervalMS, fsm.MaxBatchMS, "ms"},
		{"partitions", int64(r.Partitions), 0, fsm.MaxPartitions, ""},
		{"replication", int64(r.Replication), 1, fsm.MaxFactor, ""},
	} {
		if n.value < n.low || n.value > n.high {
			return invalid(n.thing, fmt.Sprint(n.value, n.unit), fmt.Sprintf("%d%s to %d%s", n.low, n.unit, n.high, n.unit))
		}
	}
	return nil
}

// submission builds the program's graph and makes the command of it.
func (a *apiServer) submission(ctx context.Context, v fsm.View, r *raftstreamv1.SubmitRequest) (*fsm.ApplicationSubmitted, error) {
	names := a.Programs.Names()
	if !slices.Contains(names, r.GetProgram()) {
		return nil, notFound("program", r.GetProgram(), "one that is registered: "+strings.Join(names, ", "))
	}
	params, err := a.params(r)
	if err != nil {
		return nil, err
	}
	if r.GetPartitions() == 0 {
		if r.Partitions, err = a.slots(ctx, v); err != nil {
			return nil, err
		}
	}
	now := a.nowMS()
	c := &fsm.ApplicationSubmitted{
		RequestID: r.GetRequestId(), Name: r.GetName(), Program: r.GetProgram(), Params: params, BatchMS: r.GetBatchMs(),
		BlockMS: r.GetBlockMs(), Partitions: int(r.GetPartitions()), Factor: int(r.GetReplication()), Build: a.Build, NowMS: now,
		CheckpointURL: r.GetCheckpointUrl(),
	}
	p, err := a.plan(dataset.Spec{
		Name: c.Program, Params: params, BatchMS: c.BatchMS, ZeroTime: id.Time(now - now%c.BatchMS), Partitions: c.Partitions,
	})
	if err != nil {
		return nil, badProgram(c.Program, string(params), err)
	}
	c.Fingerprint, c.RememberMS = p.Fingerprint(), p.RememberMS
	for _, in := range p.Inputs {
		c.Inputs = append(c.Inputs, fsm.InputStream{
			Stream: in.Stream, Source: in.Source, Receiver: in.Receiver, Pushed: in.Pushed, Preferred: in.Preferred,
			Rate: in.MaxRate,
		})
	}
	for _, s := range p.States {
		c.States = append(c.States, fsm.StateStream{Stream: s.Stream, SlideMS: s.SlideMS, Partitions: s.Partitions})
	}
	return c, nil
}

// plan builds the graph. The program is user code: a panic of it is the submitter's to know.
func (a *apiServer) plan(s dataset.Spec) (p *plan.Plan, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("program %q panicked while its graph was built: %v", s.Name, r)
		}
	}()
	app, err := a.Programs.Build(s)
	if err != nil {
		return nil, err
	}
	return app.Plan(), nil
}

// badProgram says in the program's own words why it cannot be built.
func badProgram(program, params string, err error) error {
	return problem(codes.InvalidArgument, &raftstreamv1.Problem{
		Kind: raftstreamv1.Problem_KIND_INVALID, Thing: "parameters of program " + program, Got: shorten(params), Expected: err.Error(),
	}, "%v", err)
}

// slots is the default of partitions: as many tasks as run at a time. It is recorded for good, so that it waits while
// no executor has a session, as when the whole cluster has just started.
func (a *apiServer) slots(ctx context.Context, v fsm.View) (int32, error) {
	patience := slotsWait
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end)*3/4) // the answer must be there in time, too
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	for ; ; v = a.Ledger.View() {
		open, n := 0, 0
		for s := range v.Sessions() {
			open++
			n += s.Slots
		}
		if open > 0 {
			return int32(min(max(n, 1), fsm.MaxPartitions)), nil
		}
		select {
		case <-a.Ledger.Changed(v.Index()):
		case <-t.C:
			if _, err := a.view(ctx, false); err != nil {
				return 0, err // it does not lead any more: that is why it saw nobody
			}
			return 0, problem(codes.Unavailable, &raftstreamv1.Problem{
				Thing: "executors", Got: "no open session", Expected: "at least one, or the number of partitions",
			}, "no executor has a session, and the default of partitions is the sum of their slots: "+
				"come again when one has, or give the number of partitions")
		case <-ctx.Done():
			return 0, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// params puts the parameters given as JSON and as text together.
func (a *apiServer) params(r *raftstreamv1.SubmitRequest) ([]byte, error) {
	all := map[string]json.RawMessage{}
	if j := r.GetParamsJson(); j != "" {
		if err := json.Unmarshal([]byte(j), &all); err != nil || all == nil {
			return nil, invalid("params_json", shorten(j), "a JSON object")
		}
	}
	if len(r.GetParams()) > 0 {
		fromText, err := a.Programs.Params(r.GetProgram(), r.GetParams())
		if err != nil {
			return nil, badProgram(r.GetProgram(), fmt.Sprint(r.GetParams()), err)
		}
		if err := json.Unmarshal(fromText, &all); err != nil {
			return nil, fmt.Errorf("parameters of program %s: %w", r.GetProgram(), err)
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("parameters of program %s: %w", r.GetProgram(), err)
	}
	if len(out) > fsm.MaxParams {
		return nil, invalid("parameters", strconv.Itoa(len(out))+" bytes", strconv.Itoa(fsm.MaxParams)+" bytes at most")
	}
	return out, nil
}

func shorten(s string) string {
	if len(s) > 256 {
		return s[:256] + "..."
	}
	return s
}

// Stop commits that an application stops.
func (a applications) Stop(ctx context.Context, r *raftstreamv1.StopRequest) (*raftstreamv1.StopReply, error) {
	app, err := a.find(ctx, r.GetName(), r.GetId())
	if err != nil {
		return nil, err
	}
	res, err := a.propose(ctx, &fsm.ApplicationStopped{App: app.ID, Now: r.GetNow(), NowMS: a.nowMS()})
	if err != nil {
		return nil, err
	}
	if res.Outcome != fsm.Done {
		return nil, refused("application", app.Name, res.Reason)
	}
	return &raftstreamv1.StopReply{RaftIndex: res.Index, Id: uint64(app.ID), Message: text(res.Reason)}, nil
}

// Resume commits that a failed application goes on.
func (a applications) Resume(ctx context.Context, r *raftstreamv1.ResumeRequest) (*raftstreamv1.ResumeReply, error) {
	app, err := a.find(ctx, r.GetName(), r.GetId())
	if err != nil {
		return nil, err
	}
	prev := app.Resumed
	if r.AfterIndex != nil {
		prev = r.GetAfterIndex()
	}
	res, err := a.propose(ctx, &fsm.ApplicationResumed{
		App: app.ID, Prev: prev, AcceptLoss: r.GetAcceptLoss(), NowMS: a.nowMS(),
	})
	if err != nil {
		return nil, err
	}
	if res.Outcome != fsm.Done {
		return nil, refused("application", app.Name, res.Reason)
	}
	return &raftstreamv1.ResumeReply{RaftIndex: res.Index, Id: uint64(app.ID)}, nil
}

func (a *apiServer) find(ctx context.Context, name string, number uint64) (*fsm.App, error) {
	v, err := a.view(ctx, false)
	if err != nil {
		return nil, err
	}
	return find(v, name, number)
}

// GetApp shows an application.
func (a applications) GetApp(ctx context.Context, r *raftstreamv1.GetAppRequest) (*raftstreamv1.GetAppReply, error) {
	v, err := a.view(ctx, r.GetStale())
	if err != nil {
		return nil, err
	}
	app, err := find(v, r.GetName(), r.GetId())
	if err != nil {
		return nil, err
	}
	out := appView(v, app)
	out.UnderReplicated = underReplicated(v, app)
	return &raftstreamv1.GetAppReply{RaftIndex: v.Index(), App: out}, nil
}

// ListApps shows all applications in the order of their submission.
func (a applications) ListApps(ctx context.Context, r *raftstreamv1.ListAppsRequest) (*raftstreamv1.ListAppsReply, error) {
	v, err := a.view(ctx, r.GetStale())
	if err != nil {
		return nil, err
	}
	reply := &raftstreamv1.ListAppsReply{RaftIndex: v.Index()}
	for app := range v.Apps() {
		reply.Apps = append(reply.Apps, appView(v, app))
	}
	return reply, nil
}

func appView(v fsm.Viewer, a *fsm.App) *raftstreamv1.App {
	out := &raftstreamv1.App{
		Id: uint64(a.ID), Name: a.Name, Program: a.Program, ParamsJson: text(string(a.Params)), State: raftstreamv1.AppState(0),
		BatchMs: a.BatchMS, BlockMs: a.BlockMS, Partitions: int32(a.Partitions), Replication: int32(a.Factor), CheckpointUrl: a.CheckpointURL,
		Fingerprint: a.Fingerprint, SubmittedMs: a.SubmittedMS, StoppedMs: a.StoppedMS, ZeroTimeMs: int64(a.ZeroTime),
		LastAllocatedMs: int64(a.Allocated), LastCompletedMs: int64(a.Completed), PendingBatches: int64(a.Pending),
		RecordsReceived: a.Received, RecordsProcessed: a.Processed, RecordsDiscarded: a.Discarded, RecordsQueued: a.Queued,
		Error: text(a.Error), ResumedIndex: a.Resumed,
	}
	switch a.State {
	case fsm.Running:
		out.State = raftstreamv1.AppState_APP_STATE_RUNNING
	case fsm.Stopping:
		out.State = raftstreamv1.AppState_APP_STATE_STOPPING
	case fsm.Failed:
		out.State = raftstreamv1.AppState_APP_STATE_FAILED
	case fsm.Stopped:
		out.State = raftstreamv1.AppState_APP_STATE_STOPPED
	}
	if s, ok := v.Session(a.Coordinator); ok {
		out.Coordinator = s.Name
	}
	if c, ok := v.Checkpoint(a.ID); ok {
		out.CheckpointTimeMs, out.CheckpointBytes = int64(c.Time), c.FullBytes+c.ChangeBytes
	}
	return out
}

// underReplicated counts the blocks and pieces of a checkpoint that open sessions have fewer copies of than they should
// (rule 5). It walks over all of them: an application has a million at most (blocktracker.MaxBlocks).
func underReplicated(v fsm.View, a *fsm.App) (n int64) {
	open := map[id.Store]bool{}
	for s := range v.Sessions() {
		open[s.Store] = true
	}
	required := min(a.Factor, len(open))
	short := func(stores []id.Store) bool {
		copies := 0
		for _, s := range stores {
			if open[s] {
				copies++
			}
		}
		return copies < required
	}
	for b := range v.Kept(a.ID, 0) {
		if short(b.Stores) {
			n++
		}
	}
	for p := range v.Pieces(a.ID) {
		if a.CheckpointURL == "" && short(p.Stores) {
			n++
		}
	}
	return n
}
