package control

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// errEnded ends the goroutines of a link.
var errEnded = errors.New("the link has ended")

// serve carries requests and orders over the link until it dies or ctx ends, and returns why.
func (c *Control) serve(ctx context.Context, link job.Link) error {
	c.setLinked(true)
	defer c.setLinked(false)
	ctx, cancel := context.WithCancelCause(ctx)
	var parts sync.WaitGroup
	run := func(f func() error) {
		parts.Go(func() { cancel(f()) })
	}
	run(func() error { return c.receive(ctx, link) })
	run(func() error { return c.sendControl(ctx, link) })
	run(func() error { return c.sendBlocks(ctx, link) })
	<-ctx.Done()
	_ = link.Close() // wakes Recv; the error of a link that is given up says nothing
	parts.Wait()
	cancel(errEnded)
	return context.Cause(ctx)
}

func (c *Control) setLinked(linked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linked = linked
}

// receive passes orders on.
func (c *Control) receive(ctx context.Context, link job.Link) error {
	for {
		m, err := link.Recv()
		if err != nil {
			return fmt.Errorf("receive an order: %w", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if c.current(m) {
			c.cfg.Handler.Order(m)
		}
	}
}

// current reports whether an order is of the highest leadership seen, and raises that.
func (c *Control) current(m job.ToExecutor) bool {
	e, ok := epochOf(m)
	if !ok {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e < c.epoch {
		c.log.Warn("order of an older leadership refused", "order", fmt.Sprintf("%T", m), "epoch", uint64(e), "highest", uint64(c.epoch))
		return false
	}
	c.epoch = e
	return true
}

// epochOf gives the leadership that an order cites. The table of sessions cites none: it has the index that it was read at.
func epochOf(m job.ToExecutor) (id.Epoch, bool) {
	switch m := m.(type) {
	case *job.StartReceiver:
		return m.Epoch, true
	case *job.StopReceiver:
		return m.Epoch, true
	case *job.SetRate:
		return m.Epoch, true
	case *job.PlanSources:
		return m.Epoch, true
	case *job.CopyBlocks:
		return m.Epoch, true
	case *job.Progress:
		return m.Epoch, true
	case *job.Batch:
		return m.Authority.Epoch, true
	}
	return 0, false
}

// sendControl sends the requests of the control lane, the session's inventory before all.
func (c *Control) sendControl(ctx context.Context, link job.Link) error {
	if c.inventory {
		if err := c.sendInventory(ctx, link); err != nil {
			return err
		}
		c.inventory = false
	}
	q := c.queues[job.ControlLane]
	for {
		head, err := q.head(ctx, 1)
		if err != nil {
			return err
		}
		reply, err := request(ctx, link, head[0].request)
		if err != nil {
			return err
		}
		q.answered(head, []answer{{reply: reply}})
	}
}

// request sends one request of the control lane and repeats it while the answer is Later.
func request(ctx context.Context, link job.Link, r job.ToDriver) (job.Reply, error) {
	for delay := minDelay; ; delay = min(delay*2, maxDelay) {
		reply, err := link.Request(ctx, job.ControlLane, r)
		if err != nil {
			return job.Reply{}, fmt.Errorf("request %T: %w", r, err)
		}
		if reply.Outcome != job.Later {
			return reply, nil
		}
		if !sleep(ctx, jitter(delay)) {
			return job.Reply{}, context.Cause(ctx)
		}
	}
}

// sendInventory says what the store holds, in parts. After a broken link it starts over.
func (c *Control) sendInventory(ctx context.Context, link job.Link) error {
	blocks := c.cfg.Handler.Inventory()
	for first := true; first || len(blocks) > 0; first = false {
		n := min(len(blocks), maxInventory)
		part := &job.Inventory{Blocks: blocks[:n], First: first, Last: n == len(blocks)}
		blocks = blocks[n:]
		reply, err := request(ctx, link, part)
		if err != nil {
			return err
		}
		if reply.Outcome == job.Refused {
			return fmt.Errorf("inventory was refused: %s", reply.Reason)
		}
		if len(reply.Delete) == 0 {
			continue
		}
		if err := c.cfg.Handler.Delete(reply.Delete); err != nil {
			return fmt.Errorf("delete %d blocks after the inventory: %w", len(reply.Delete), err)
		}
	}
	return nil
}

// sendBlocks sends the reports of the block lane, all that wait at a time in one request.
func (c *Control) sendBlocks(ctx context.Context, link job.Link) error {
	q := c.queues[job.BlockLane]
	for {
		head, err := q.head(ctx, maxBlocks)
		if err != nil {
			return err
		}
		r := &job.BlocksReport{Blocks: make([]job.BlockReport, len(head))}
		for i, e := range head {
			r.Blocks[i] = *e.block
		}
		reply, err := link.Request(ctx, job.BlockLane, r)
		if err != nil {
			return fmt.Errorf("report %d blocks: %w", len(head), err)
		}
		answers, err := blockAnswers(reply, len(head))
		if err != nil {
			return err
		}
		q.answered(head, answers)
	}
}

// blockAnswers gives every block its answer; an answer without blocks is that of all.
func blockAnswers(reply job.Reply, n int) ([]answer, error) {
	answers := make([]answer, n)
	switch {
	case len(reply.Blocks) == n:
		for i, b := range reply.Blocks {
			answers[i].block = b
		}
	case len(reply.Blocks) == 0 && reply.Outcome != job.Done:
		for i := range answers {
			answers[i].block = job.BlockReply{Outcome: reply.Outcome, Index: reply.Index, Reason: reply.Reason}
		}
	default:
		return nil, fmt.Errorf("report of %d blocks was answered for %d", n, len(reply.Blocks))
	}
	return answers, nil
}
