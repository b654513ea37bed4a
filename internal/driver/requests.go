package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// answer answers a request: what asks is answered from the view, what reports is proposed.
func (c *conn) answer(ctx context.Context, r job.ToDriver) (job.Reply, error) {
	switch r := r.(type) {
	case *job.HistoryRequest:
		return c.read(r.App, func(v fsm.View, a *fsm.App, reply *job.Reply) { reply.History = HistoryOf(v, a, r) })
	case *job.PositionsRequest:
		return c.read(r.App, func(v fsm.View, a *fsm.App, reply *job.Reply) { reply.Positions = PositionsOf(v, a.ID, r.Stream) })
	case *job.SourcesPlanned:
		return c.read(r.App, func(_ fsm.View, a *fsm.App, reply *job.Reply) {
			if !c.hub.plan(c, a, r) {
				reply.Outcome, reply.Reason = job.Refused, fmt.Sprintf("office %d, expected %d", r.Office, a.Office)
			}
		})
	}
	return c.propose(ctx, r)
}

// read answers from the view, if this node still leads: what it has applied is then all that this executor has been told.
func (c *conn) read(n id.App, fill func(v fsm.View, a *fsm.App, reply *job.Reply)) (job.Reply, error) {
	if !c.tenure.raft.IsLeader(c.tenure.term) {
		return job.Reply{}, id.ErrNotLeader
	}
	v := c.tenure.View()
	reply := job.Reply{Outcome: job.Done, Index: v.Index()}
	a, ok := v.App(n)
	switch {
	case !ok:
		reply.Outcome, reply.Reason = job.Refused, fmt.Sprintf("no application %d", n)
	case !a.Live():
		reply.Outcome, reply.Reason = job.Refused, fmt.Sprintf("application %d (%s) is over", a.ID, a.Name)
	default:
		fill(v, a, &reply)
	}
	return reply, nil
}

// propose proposes what a request reports and makes the reply of the result.
func (c *conn) propose(ctx context.Context, r job.ToDriver) (job.Reply, error) {
	command, err := CommandOf(r, c.welcome.Session, time.Now().UnixMilli())
	if err != nil {
		return job.Reply{}, err
	}
	result, err := c.tenure.Propose(ctx, command)
	switch {
	case errors.Is(err, id.ErrOverloaded):
		return ReplyTo(r, fsm.Result{Outcome: fsm.Limited, Reason: id.ErrOverloaded.Error()})
	case errors.Is(err, id.ErrTooLarge):
		return c.tooLarge(ctx, r, err)
	case err != nil:
		return job.Reply{}, err
	}
	v := c.tenure.View()
	if result.Outcome == fsm.Refused {
		// A refusal for want of a session is none of the request: parts of it may have taken effect before. The
		// executor must learn that its session is over, and it does by dialling again.
		if _, open := v.Session(c.welcome.Session); !open {
			c.Close()
			return job.Reply{}, fmt.Errorf("%w: session %d is over", ErrClosed, c.welcome.Session)
		}
	}
	reply, err := ReplyTo(r, result)
	if started, ok := r.(*job.ReceiverStarted); ok && err == nil && reply.Outcome == job.Done {
		reply.Positions = PositionsOf(v, started.App, started.Stream)
	}
	return reply, err
}

// tooLarge answers a request that no entry can hold: a report of many blocks is made in halves, in order; anything else
// is refused, because it would not become smaller by being repeated.
func (c *conn) tooLarge(ctx context.Context, r job.ToDriver, cause error) (job.Reply, error) {
	report, ok := r.(*job.BlocksReport)
	if !ok || len(report.Blocks) < 2 {
		return ReplyTo(r, fsm.Result{Outcome: fsm.Refused, Reason: cause.Error()})
	}
	half := len(report.Blocks) / 2
	first, err := c.answer(ctx, &job.BlocksReport{Blocks: report.Blocks[:half]})
	if err != nil {
		return job.Reply{}, err
	}
	second, err := c.answer(ctx, &job.BlocksReport{Blocks: report.Blocks[half:]})
	if err != nil {
		return job.Reply{}, err
	}
	return job.Reply{Outcome: job.Done, Blocks: append(first.Blocks, second.Blocks...)}, nil
}

// CommandOf makes the command of what a request reports; it came under a session. Questions have none.
func CommandOf(r job.ToDriver, s id.Session, nowMS int64) (fsm.Command, error) {
	switch r := r.(type) {
	case *job.BlocksReport:
		blocks := make([]fsm.AddedBlock, len(r.Blocks))
		for i, b := range r.Blocks {
			blocks[i] = fsm.AddedBlock{ID: b.ID, Records: b.Records, Bytes: b.Bytes, CRC: b.CRC, Stores: b.Stores, Ranges: b.Ranges}
		}
		return &fsm.BlocksAdded{Session: s, Blocks: blocks, NowMS: nowMS}, nil
	case *job.ReceiverStarted:
		return &fsm.ReceiverRegistered{App: r.App, Stream: r.Stream, Instance: r.Instance, Session: s, NowMS: nowMS}, nil
	case *job.ReceiverStopped:
		return &fsm.ReceiverDeregistered{App: r.App, Stream: r.Stream, Instance: r.Instance, Message: r.Message, Error: r.Error, NowMS: nowMS}, nil
	case *job.ReceiverFailed:
		return &fsm.ReceiverFailed{App: r.App, Stream: r.Stream, Instance: r.Instance, Error: r.Error, NowMS: nowMS}, nil
	case *job.Inventory:
		return &fsm.InventoryReported{Session: s, Blocks: r.Blocks, First: r.First, Last: r.Last}, nil
	case *job.BatchReport:
		return batchCommand(r, nowMS), nil
	case *job.CheckpointReport:
		return checkpointCommand(r, nowMS), nil
	case *job.BlocksCopied:
		return &fsm.BlocksCopied{Session: s, Blocks: r.Blocks}, nil
	}
	return nil, fmt.Errorf("request of unknown type %T", r)
}

func batchCommand(r *job.BatchReport, nowMS int64) fsm.Command {
	if r.Error != "" {
		return &fsm.BatchFailed{
			App: r.App, Time: r.Time, Office: r.Authority.Office, Attempt: r.Authority.Attempt, Error: r.Error,
			StartedMS: r.StartedMS, EndedMS: r.EndedMS, Tries: r.Tries, NowMS: nowMS,
		}
	}
	return &fsm.BatchCompleted{
		App: r.App, Time: r.Time, Office: r.Authority.Office, Attempt: r.Authority.Attempt,
		StartedMS: r.StartedMS, EndedMS: r.EndedMS, Tries: r.Tries, Lost: r.Lost, LostBlocks: r.LostBlocks, NowMS: nowMS,
	}
}

func checkpointCommand(r *job.CheckpointReport, nowMS int64) fsm.Command {
	c := &fsm.StateCheckpointed{
		App: r.App, Office: r.Authority.Office, Time: r.Version.Time, Attempt: r.Version.Attempt, Full: r.Full, Since: r.Since,
		Pieces: make([]fsm.CheckpointPiece, len(r.Pieces)), NowMS: nowMS,
	}
	for i, p := range r.Pieces {
		c.Pieces[i] = fsm.CheckpointPiece{
			ID: p.Block.ID, Stream: p.Stream, Part: p.Part, Rows: p.Block.Records, Bytes: p.Block.Bytes, CRC: p.Block.CRC,
			Stores: p.Block.Stores,
		}
	}
	return c
}

// ReplyTo makes the reply of a result. A report of blocks is answered block by block; where it failed as a whole, every
// block has that fate.
func ReplyTo(r job.ToDriver, result fsm.Result) (job.Reply, error) {
	reply := job.Reply{Outcome: outcome(result.Outcome), Index: result.Index, Reason: result.Reason, Delete: result.Missing}
	report, ok := r.(*job.BlocksReport)
	if !ok {
		return reply, nil
	}
	reply.Blocks = make([]job.BlockReply, len(report.Blocks))
	if len(result.Blocks) == 0 && result.Outcome != fsm.Done {
		for i := range reply.Blocks {
			reply.Blocks[i] = job.BlockReply{Outcome: reply.Outcome, Reason: reply.Reason}
		}
		return reply, nil
	}
	if len(result.Blocks) != len(report.Blocks) {
		return job.Reply{}, fmt.Errorf("%d results for %d reported blocks", len(result.Blocks), len(report.Blocks))
	}
	for i, b := range result.Blocks {
		reply.Blocks[i] = job.BlockReply{Outcome: outcome(b.Outcome), Index: b.Index, Reason: b.Reason}
	}
	reply.Outcome, reply.Reason = job.Done, ""
	return reply, nil
}

func outcome(o fsm.Outcome) job.Outcome {
	switch o {
	case fsm.Done:
		return job.Done
	case fsm.Limited:
		return job.Later
	}
	return job.Refused
}
