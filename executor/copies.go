package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// maxCopyOrders bounds the orders to copy that wait. What is beyond is dropped: the driver orders again what has
	// too few copies.
	maxCopyOrders = 16
	// copyTimeout bounds the copying of one block.
	copyTimeout = 10 * time.Second
	// copyReport is how long the report of a copy waits for others of its order: one block that nobody gives in time
	// must not make the driver order the rest again.
	copyReport = 5 * time.Second
)

// copies stores copies of blocks and of pieces of checkpoints that have too few (rules 5 and 7), one at a time: repair
// must not get in the way of receivers and tasks.
type copies struct {
	e *Executor

	mu      sync.Mutex
	session context.CancelCauseFunc // of the worker's context; nil while there is no session
	orders  chan *job.CopyBlocks
	done    chan struct{} // closed when the worker has ended; nil without one
	blocks  int           // ordered and not yet settled
}

func newCopies(e *Executor) *copies { return &copies{e: e} }

// open takes orders from now on.
func (c *copies) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithCancelCause(context.Background()) // ended by stop
	c.session, c.orders, c.done = cancel, make(chan *job.CopyBlocks, maxCopyOrders), make(chan struct{})
	go c.work(ctx, c.orders, c.done) // joined by stop
}

// stop gives up what is being copied and waits for the worker.
func (c *copies) stop(ctx context.Context) error {
	c.mu.Lock()
	cancel, done := c.session, c.done
	c.session, c.orders = nil, nil
	c.mu.Unlock()
	if done == nil {
		return nil
	}
	if cancel != nil {
		cancel(errors.New("the executor's session is over"))
	}
	if err := join(ctx, done); err != nil {
		return fmt.Errorf("copying of blocks did not stop: %w", err)
	}
	return nil
}

// order takes an order, or drops it where too many wait.
func (c *copies) order(m *job.CopyBlocks) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil || len(m.Blocks) == 0 {
		return
	}
	select {
	case c.orders <- m:
		c.blocks += len(m.Blocks)
	default:
		c.e.log.Warn("order to copy blocks dropped: too many wait", "blocks", len(m.Blocks), "orders", len(c.orders))
	}
}

// waiting counts the blocks that are ordered and not yet settled.
func (c *copies) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks
}

func (c *copies) settle(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks -= n
}

func (c *copies) work(ctx context.Context, orders <-chan *job.CopyBlocks, done chan<- struct{}) {
	defer close(done)
	for {
		select {
		case m := <-orders:
			c.copyAll(ctx, m)
			c.settle(len(m.Blocks))
		case <-ctx.Done():
			for { // nobody sends any more
				select {
				case m := <-orders:
					c.settle(len(m.Blocks))
				default:
					return
				}
			}
		}
	}
}

// copyAll copies what it can of an order and tells the driver.
func (c *copies) copyAll(ctx context.Context, m *job.CopyBlocks) {
	var made []id.Block
	began := time.Now()
	for i := range m.Blocks {
		if ctx.Err() != nil {
			return
		}
		if err := c.copyOne(ctx, &m.Blocks[i]); err != nil {
			c.e.log.Warn("block not copied", "block", m.Blocks[i].ID.String(), "error", err)
		} else {
			made = append(made, m.Blocks[i].ID)
		}
		if time.Since(began) > copyReport {
			c.report(ctx, made)
			made, began = nil, time.Now()
		}
	}
	c.report(ctx, made)
}

func (c *copies) report(ctx context.Context, made []id.Block) {
	if len(made) == 0 {
		return
	}
	reply, err := c.e.control.Request(ctx, &job.BlocksCopied{Blocks: made})
	switch {
	case err != nil: // the inventory of the next session tells
		c.e.log.Info("copies not reported", "blocks", len(made), "error", err)
	case reply.Outcome != job.Done:
		c.e.log.Info("copies not wanted", "blocks", len(made), "reason", reply.Reason)
	default:
		c.e.log.Info("blocks copied", "blocks", len(made))
	}
}

// copyOne gets a block from a holder, checked against the order, and stores it; on return it is synced here.
func (c *copies) copyOne(ctx context.Context, b *job.Block) error {
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	data, err := c.e.reader.Read(ctx, b)
	if err != nil {
		return err
	}
	return c.e.cfg.Blocks.Put(ctx, job.BlockData{ID: b.ID, Records: b.Records, CRC: b.CRC, Data: data})
}
