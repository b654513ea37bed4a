package fsm

import (
	"errors"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// BlocksAdded adds stored blocks to the queues of their streams; each is taken or refused by itself. Natural key of
// each: its id (rules 4, 5, 10).
type BlocksAdded struct {
	Session id.Session // that reports
	Blocks  []AddedBlock
	NowMS   int64
}

// AddedBlock is one block of BlocksAdded.
type AddedBlock struct {
	ID      id.Block
	Records int64
	Bytes   int64
	CRC     uint32
	Stores  []id.Store
	Ranges  []connector.Range
}

// Kind gives the command's number.
func (*BlocksAdded) Kind() Kind { return KindBlocksAdded }

func blocksAddedRow() row {
	return newRow("BlocksAdded", blocksAddedToPB, blocksAddedFromPB, applyBlocksAdded)
}

func blocksAddedToPB(c *BlocksAdded) *ledgerpb.BlocksAdded {
	m := &ledgerpb.BlocksAdded{Session: uint64(c.Session), NowMs: c.NowMS}
	for _, b := range c.Blocks {
		m.Blocks = append(m.Blocks, &ledgerpb.AddedBlock{
			Id: blockIDToPB(b.ID), Records: b.Records, Bytes: b.Bytes, Crc: b.CRC,
			Stores: storesToPB(b.Stores), Ranges: rangesToPB(b.Ranges),
		})
	}
	return m
}

func blocksAddedFromPB(m *ledgerpb.BlocksAdded) *BlocksAdded {
	c := &BlocksAdded{Session: id.Session(m.GetSession()), NowMS: m.GetNowMs()}
	for _, b := range m.GetBlocks() {
		c.Blocks = append(c.Blocks, AddedBlock{
			ID: blockIDFromPB(b.GetId()), Records: b.GetRecords(), Bytes: b.GetBytes(), CRC: b.GetCrc(),
			Stores: storesFromPB(b.GetStores()), Ranges: rangesFromPB(b.GetRanges()),
		})
	}
	return c
}

// applyBlocksAdded answers Done when every block is taken; else the first reason, and each block's in Blocks.
func applyBlocksAdded(t *tx, c *BlocksAdded) Result {
	r := t.done()
	r.Blocks = make([]BlockResult, 0, len(c.Blocks))
	_, open := t.tracker.Session(c.Session)
	for i := range c.Blocks {
		b := BlockResult{Outcome: Refused, Reason: refuse("session %d is not open", c.Session).Reason}
		if open {
			b = t.addBlock(c, &c.Blocks[i])
		}
		if b.Outcome != Done && r.Outcome == Done {
			r.Outcome, r.Reason, r.Index = b.Outcome, b.Reason, 0
		}
		r.Blocks = append(r.Blocks, b)
	}
	return r
}

func (t *tx) addBlock(c *BlocksAdded, b *AddedBlock) BlockResult {
	a, refused := t.live(b.ID.App)
	if a == nil {
		return BlockResult{Outcome: refused.Outcome, Reason: refused.Reason}
	}
	rec, ok := t.tracker.Receiver(b.ID.App, b.ID.Stream)
	if !ok {
		return BlockResult{Outcome: Refused, Reason: refuse("block %v: stream %d has no receiver", b.ID, b.ID.Stream).Reason}
	}
	index, err := t.blocks.Add(
		&blocktracker.Block{ID: b.ID, Records: b.Records, Bytes: b.Bytes, CRC: b.CRC, Stores: b.Stores, Ranges: b.Ranges},
		blocktracker.Report{
			Session: c.Session, Current: rec.Instance, Required: min(a.Factor, t.tracker.Open()),
			Open:  func(s id.Store) bool { _, ok := t.tracker.SessionOf(s); return ok },
			NowMS: c.NowMS,
		}, t.index)
	switch {
	case errors.Is(err, blocktracker.ErrLimit):
		return BlockResult{Outcome: Limited, Reason: err.Error()}
	case err != nil:
		return BlockResult{Outcome: Refused, Reason: err.Error()}
	case index == t.index:
		t.requeue(a)
	}
	return BlockResult{Outcome: Done, Index: index}
}

// requeue copies the queue's counts to the application after blocks were added.
func (t *tx) requeue(a *App) {
	q, ok := t.blocks.Queue(a.ID)
	if !ok {
		return
	}
	v := *a
	v.Received += q.Records - a.Queued
	v.Queued, v.QueuedBytes = q.Records, q.Bytes
	t.set(&v)
}
