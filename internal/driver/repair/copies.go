package repair

import (
	"slices"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// copiesEach bounds the copies that are on their way to one executor.
	copiesEach = 16
	// bytesEach bounds their bytes; a single one may be larger.
	bytesEach = 64 << 20
	// patience is how long a copy may take. Then it is as if it had not been ordered.
	patience = time.Minute
)

// copies are those that were ordered and are not in the ledger yet. One goroutine uses it.
type copies struct {
	to map[id.Session]*load
}

// load is what is on its way to one executor.
type load struct {
	store      id.Store
	connection uint64 // that it was ordered on
	blocks     map[id.Block]copied
	bytes      int64
}

type copied struct {
	bytes int64
	since time.Time
}

func newCopies() *copies { return &copies{to: make(map[id.Session]*load)} }

func (c *copies) len() (n int) {
	for _, l := range c.to {
		n += len(l.blocks)
	}
	return n
}

// settle takes off what is in the ledger, what is not needed any more, and what will not come: its connection is gone
// or its time is over (late). It gives how many blocks have got all that was ordered of them.
func (c *copies) settle(v fsm.View, conns driver.Connections, now time.Time) (whole int, late bool) {
	for session, l := range c.to {
		conn, ok := conns.Of(session)
		gone := !ok || conn.Number() != l.connection
		for n, b := range l.blocks {
			stores, _, known := copiesOf(v, n)
			made := slices.Contains(stores, l.store)
			over := now.Sub(b.since) >= patience
			if known && !made && !gone && !over {
				continue
			}
			delete(l.blocks, n)
			l.bytes -= b.bytes
			switch {
			case (made || !known) && c.ordered(n) == 0:
				whole++
			case over:
				late = true
			}
		}
		if len(l.blocks) == 0 {
			delete(c.to, session)
		}
	}
	return whole, late
}

// next gives when the time of the oldest copy is over.
func (c *copies) next(now time.Time) (left time.Duration) {
	left = driver.Idle
	for _, l := range c.to {
		for _, b := range l.blocks {
			left = min(left, patience-now.Sub(b.since))
		}
	}
	return left
}

// ordered counts the copies of a block that are on their way.
func (c *copies) ordered(n id.Block) (count int) {
	for _, l := range c.to {
		if _, ok := l.blocks[n]; ok {
			count++
		}
	}
	return count
}

// at counts what is on its way to an executor.
func (c *copies) at(p place) int {
	if l, ok := c.to[p.session]; ok {
		return len(l.blocks)
	}
	return 0
}

// add notes that a block is ordered; false: there is no room for it at present.
func (c *copies) add(p place, b *job.Block, now time.Time) bool {
	l, ok := c.to[p.session]
	if ok && (len(l.blocks) == copiesEach || l.bytes+b.Bytes > bytesEach) {
		return false
	}
	if !ok {
		l = &load{store: p.store, connection: p.connection, blocks: make(map[id.Block]copied)}
		c.to[p.session] = l
	}
	l.blocks[b.ID] = copied{b.Bytes, now}
	l.bytes += b.Bytes
	return true
}

// copiesOf gives the stores that hold a block or piece, and how to read it; false when it is not in the ledger.
func copiesOf(v fsm.View, n id.Block) (stores []id.Store, b job.Block, known bool) {
	if b, ok := v.Block(n); ok {
		return b.Stores, job.Block{ID: n, Records: b.Records, Bytes: b.Bytes, CRC: b.CRC}, true
	}
	if p, ok := v.Piece(n); ok {
		return p.Stores, job.Block{ID: n, Records: p.Rows, Bytes: p.Bytes, CRC: p.CRC}, true
	}
	return nil, job.Block{}, false
}
