package executor

import (
	"context"
	"fmt"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/coordinator"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// coordination is what the coordinator works with: requests to the driver are repeated by the control stream until one
// answers, so that none of them fails but for the end of ctx or of the session.
func (e *Executor) coordination() coordinator.Config {
	return coordinator.Config{
		Build: e.cfg.Build, Graph: e.graphs.get, Guard: guard, Executors: e.cfg.Executors, Self: e.peers.Self, Peers: e.peers.current,
		Report: func(ctx context.Context, r *job.BatchReport) (job.Reply, error) { return e.control.Request(ctx, r) },
		Checkpoint: func(ctx context.Context, r *job.CheckpointReport) (job.Reply, error) {
			return e.control.Request(ctx, r)
		},
		History: e.history, Positions: e.positions, Planned: e.planned, Logger: e.log,
	}
}

// history gives what keyed state is computed from again for the batch at before.
func (e *Executor) history(ctx context.Context, app id.App, before id.Time) (*job.History, error) {
	return job.CollectHistory(ctx, func(ctx context.Context, from id.Time) (*job.History, error) {
		reply, err := e.ask(ctx, &job.HistoryRequest{App: app, Before: before, From: from})
		if err == nil && reply.History == nil {
			err = fmt.Errorf("the driver answered without a history of application %d", app)
		}
		return reply.History, err
	})
}

func (e *Executor) positions(ctx context.Context, app id.App, stream id.Stream) ([]connector.Range, error) {
	reply, err := e.ask(ctx, &job.PositionsRequest{App: app, Stream: stream})
	return reply.Positions, err
}

func (e *Executor) planned(ctx context.Context, p *job.SourcesPlanned) error {
	_, err := e.ask(ctx, p)
	return err
}

// ask makes a request that has an answer or is refused.
func (e *Executor) ask(ctx context.Context, r job.ToDriver) (job.Reply, error) {
	reply, err := e.control.Request(ctx, r)
	if err == nil && reply.Outcome != job.Done {
		err = fmt.Errorf("request %T is refused: %s", r, reply.Reason)
	}
	return reply, err
}
