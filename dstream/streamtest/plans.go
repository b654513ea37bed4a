package streamtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
)

// plan puts what a batch reads of direct streams into its allocation, as the coordinator plans it (rule 12). A source
// that cannot be planned fails the batch: a test wants to know.
func (cl *cluster) plan(c fsm.Command) error {
	allocated, ok := c.(*fsm.BlocksAllocated)
	if !ok || len(cl.received()) == len(cl.graph.Plan().Inputs) {
		return nil
	}
	a, _ := cl.ledger.view().App(cl.app)
	order := &job.PlanSources{
		Epoch: cl.ledger.epoch, Office: a.Office, App: driver.AppOf(a), Time: allocated.From, Planned: a.Planned,
	}
	if err := cl.driver.sendTo(a.Coordinator, order); err != nil {
		return err
	}
	for {
		select {
		case got := <-cl.driver.planned:
			if got.Time != order.Time || got.Office != order.Office || got.Planned != order.Planned {
				continue // of an order before it
			}
			return taken(allocated, got.Plans)
		case <-cl.ctx.Done():
			return context.Cause(cl.ctx)
		}
	}
}

// taken puts plans into an allocation, but for those of nothing.
func taken(c *fsm.BlocksAllocated, plans []job.StreamPlan) error {
	for _, p := range plans {
		if p.Error != "" {
			return fmt.Errorf("direct stream %d: %w", p.Stream, errors.New(p.Error))
		}
		if len(p.Plan.Parts)+len(p.Plan.Forget) > 0 {
			c.Direct = append(c.Direct, fsm.StreamPlan{Stream: p.Stream, Plan: p.Plan})
		}
	}
	return nil
}

// take hands on what the coordinator planned.
func (d *leader) take(ctx context.Context, p *job.SourcesPlanned) error {
	select {
	case d.planned <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
