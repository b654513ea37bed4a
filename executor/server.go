package executor

import (
	"context"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
)

// server answers other executors.
type server struct{ e *Executor }

// Server gives what answers the executor's peers, and itself.
func (e *Executor) Server() job.Server { return server{e} }

// Launch implements job.Server.
func (s server) Launch(ctx context.Context, l *job.Launch) (*job.LaunchResult, error) {
	return s.e.tasks.Launch(ctx, l)
}

// Fetch implements job.Server.
func (s server) Fetch(ctx context.Context, f *job.Fetch, each func(mapPart int, bucket []byte) error) error {
	return s.e.buckets.Serve(ctx, f, each)
}

// Put implements job.Server.
func (s server) Put(ctx context.Context, b job.BlockData) error {
	err := s.e.cfg.Blocks.Put(ctx, b)
	if err == nil {
		failpoint.Hit(failpoint.BlockCopied)
	}
	return err
}

// States implements job.Server.
func (s server) States(_ context.Context, app id.App) ([]job.Held, error) {
	return s.e.states.Held(app), nil
}

// Get implements job.Server.
func (s server) Get(_ context.Context, b id.Block) (job.BlockData, error) {
	return s.e.cfg.Blocks.Get(b)
}
