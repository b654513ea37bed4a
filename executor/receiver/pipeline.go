package receiver

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pipeline stores cut blocks, several at a time, and reports them in order. When ctx ends it fails everything that is
// still on its way, without delay.
type pipeline struct {
	cfg   *Config
	gen   *generator
	abort context.CancelCauseFunc // of ctx
	// settled is called for each committed block.
	settled func(b *block)
	// waits is told why the ledger makes the instance wait, "" when it goes on.
	waits func(reason string)
}

// run ends when the generator's queue is closed and every block has its fate.
func (p *pipeline) run(ctx context.Context) {
	reports := make(chan *block, storersMax)
	go p.store(ctx, reports)
	for b := range reports {
		<-b.stored
		if err := p.report(ctx, b); err != nil {
			p.gen.giveBack(b)
			b.fate.settle(0, err)
		}
	}
}

// store stores the blocks of the queue, storersMax at a time, and hands them on in order.
func (p *pipeline) store(ctx context.Context, reports chan<- *block) {
	defer close(reports)
	slots := make(chan struct{}, storersMax)
	for b := range p.gen.queue {
		b.stored = make(chan struct{})
		slots <- struct{}{} // given back when a block is stored, or ctx ends
		go func() {         // joined by run, which waits for stored
			b.stores, b.err = p.put(ctx, b, nil)
			<-slots
			close(b.stored)
		}()
		reports <- b
	}
}

func (p *pipeline) blockID(b *block) id.Block {
	return id.Block{App: p.cfg.App.ID, Stream: p.cfg.Stream, Instance: p.cfg.Instance, Number: b.number}
}

// put stores a block, again and again until it is stored or ctx ends: a block left out would be a gap in the numbers.
func (p *pipeline) put(ctx context.Context, b *block, have []id.Store) ([]id.Store, error) {
	d := job.BlockData{ID: p.blockID(b), Records: b.records, CRC: crc32.Checksum(b.data, castagnoli), Data: b.data}
	for wait := repeatMin; ; wait = min(2*wait, repeatMax) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		stores, err := p.cfg.Store(ctx, d, p.cfg.App.Factor, have)
		if err == nil {
			return stores, nil
		}
		if ctx.Err() == nil {
			p.cfg.Logger.Warn("store a block", slog.Uint64("number", b.number), slog.Any("error", err))
		}
		sleep(ctx, wait)
	}
}

// report has the ledger add a stored block and settles its receipts. An error is why the block is not taken.
func (p *pipeline) report(ctx context.Context, b *block) error {
	if b.err != nil {
		return b.err
	}
	defer p.waits("")
	for wait := repeatMin; ; wait = min(2*wait, repeatMax) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		failpoint.Hit(failpoint.BlockReport)
		reply, err := p.cfg.Report(ctx, job.BlockReport{
			ID: p.blockID(b), Records: b.records, Bytes: int64(len(b.data)), CRC: crc32.Checksum(b.data, castagnoli),
			Stores: b.stores, Ranges: b.ranges,
		})
		if err != nil {
			sleep(ctx, wait)
			continue
		}
		switch reply.Outcome {
		case job.Done:
			failpoint.Hit(failpoint.BlockCommitted)
			p.settled(b)
			b.fate.settle(reply.Index, nil)
			return nil
		case job.Later:
			if err := p.later(ctx, b, reply.Reason, wait); err != nil {
				return err
			}
		default:
			err := &RefusedError{What: fmt.Sprintf("block %v", p.blockID(b)), Reason: reply.Reason}
			p.abort(err)
			return err
		}
	}
}

// later waits before the report is repeated, and stores the block again where stores that held it are gone.
func (p *pipeline) later(ctx context.Context, b *block, reason string, wait time.Duration) error {
	p.waits(reason)
	if !sleep(ctx, wait) {
		return context.Cause(ctx)
	}
	stores, err := p.put(ctx, b, b.stores)
	if err != nil {
		return err
	}
	b.stores = stores
	return nil
}
