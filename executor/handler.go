package executor

import (
	"context"
	"fmt"

	"github.com/raftstream/raftstream/executor/control"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// handler is the executor as its control stream sees it.
type handler Executor

var _ control.Handler = (*handler)(nil)

// Session implements control.Handler: the work of the old session stops before the new one begins (rule 3). User code
// that does not end in time is left behind: nothing that it does counts any more.
func (h *handler) Session(ctx context.Context, s id.Session) error {
	e := (*Executor)(h)
	if old := e.peers.Self(); old != 0 {
		e.log.Warn("session is over; its receivers, batches and tasks stop", "old", uint64(old), "new", uint64(s))
	}
	if err := e.stop(ctx); err != nil {
		e.log.Error("work of the old session did not end in time and is left behind", "error", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e.session.Store(uint64(s))
	e.tasks.Open(s)
	e.batches.Open()
	e.receivers.open()
	e.copies.open()
	return nil
}

// Inventory implements control.Handler.
func (h *handler) Inventory() []id.Block { return h.cfg.Blocks.Inventory() }

// Delete implements control.Handler.
func (h *handler) Delete(blocks []id.Block) error { return h.cfg.Blocks.Delete(blocks) }

// Order implements control.Handler.
func (h *handler) Order(m job.ToExecutor) {
	e := (*Executor)(h)
	switch m := m.(type) {
	case *job.Peers:
		e.greet(e.peers.set(m))
	case *job.StartReceiver:
		e.receivers.start(m)
	case *job.StopReceiver:
		e.receivers.order(m)
	case *job.SetRate:
		e.receivers.rate(m)
	case *job.Batch:
		e.batches.Order(m)
	case *job.PlanSources:
		e.batches.Plan(m)
	case *job.CopyBlocks:
		e.copies.order(m)
	case *job.Progress:
		e.advance(m)
	default:
		e.log.Error("order of unknown type", "type", fmt.Sprintf("%T", m))
	}
}

// advance draws the conclusions of progress. Tasks are canceled before their buckets are dropped, so that no late one
// brings them back; what the disk has to do is done elsewhere.
func (e *Executor) advance(p *job.Progress) {
	if p.Ended {
		e.batches.Ended(p.App)
		e.tasks.Ended(p.App)
		e.buckets.Ended(p.App)
		e.receivers.ended(p.App)
	} else {
		e.batches.Completed(p.App, p.Completed)
		e.tasks.Completed(p.App, p.Completed)
		e.buckets.Completed(p.App, p.Completed)
	}
	e.states.Progress(p)
	e.pieces.Progress(p, p.Sweeper != 0 && p.Sweeper == e.peers.Self())
	select {
	case e.progress <- p:
	case <-e.stopping:
	}
}

// clean frees what progress made needless: blocks on disk, kept partitions and what graphs remember.
func (e *Executor) clean(ctx context.Context) {
	for {
		select {
		case p := <-e.progress:
			if err := e.cfg.Blocks.Progress(p); err != nil {
				e.log.Error("blocks could not be dropped", "app", uint64(p.App), "error", err)
			}
			e.kept.Progress(p)
			if p.Ended {
				e.graphs.ended(p.App)
			} else {
				e.graphs.cleaned(p.App, p.Cleaned)
			}
		case <-ctx.Done():
			return
		}
	}
}

// greet says which new peers run another binary: work that looks lopsided has its reason there.
func (e *Executor) greet(fresh []job.Peer) {
	for _, p := range fresh {
		if p.Build != e.cfg.Build {
			e.log.Warn("executor runs another build: batches coordinated here do not use it", "executor", p.Name, "build", p.Build, "expected", e.cfg.Build)
		}
	}
}
