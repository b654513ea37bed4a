package receiver

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// block is a block on its way: filled by Add, cut, stored, reported.
type block struct {
	number  uint64 // from 1, given when it is cut
	data    []byte
	records int64
	ranges  []connector.Range
	place   map[string]int // of a partition in ranges
	fate    *fate

	stored chan struct{} // closed when stores or err is known
	stores []id.Store
	err    error
}

// fate is the receipt that all records of a block share.
type fate struct {
	done  chan struct{}
	index uint64
	err   error
}

var _ connector.Receipt = (*fate)(nil)

// Done is closed when the fate is known.
func (f *fate) Done() <-chan struct{} { return f.done }

// Result gives the index at which the block was committed, or why it was not.
func (f *fate) Result() (uint64, error) { return f.index, f.err }

func (f *fate) settle(index uint64, err error) {
	f.index, f.err = index, err
	close(f.done)
}

// generator cuts what a receiver stores into blocks (Spark: BlockGenerator): at every interval, and when the block is
// full. Cut blocks wait in a bounded queue; while that is full a full block stays where it is and Add waits.
type generator struct {
	blockBytes int
	queue      chan *block   // closed after the last block
	full       chan struct{} // asks for a cut before the interval is over
	closed     chan struct{} // closed by close

	mu        sync.Mutex
	current   *block
	cutNow    bool          // an Add waits for the current block to be cut
	room      chan struct{} // closed and replaced at each cut, and when positions were forgotten
	last      uint64        // number of the last block cut
	positions map[string]position
	crowded   chan struct{} // asks for positions to be forgotten: there are positionsMax
	reason    error         // why it is closed, nil while it is open
}

// position is where a source partition stands.
type position struct {
	last      uint64 // stored or being stored
	committed uint64
}

func newGenerator(blockBytes int) *generator {
	return &generator{
		blockBytes: blockBytes,
		queue:      make(chan *block, queueMax),
		full:       make(chan struct{}, 1),
		closed:     make(chan struct{}),
		current:    newBlock(0),
		room:       make(chan struct{}),
		positions:  map[string]position{},
		crowded:    make(chan struct{}, 1),
	}
}

func newBlock(capacity int) *block {
	b := &block{place: map[string]int{}, fate: &fate{done: make(chan struct{})}}
	if capacity > 0 {
		b.data = make([]byte, 0, capacity)
	}
	return b
}

// start sets the positions that earlier instances reached.
func (g *generator) start(reached []connector.Range) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range reached {
		g.reach(r)
	}
}

// reach takes a committed position over. The lock is held.
func (g *generator) reach(r connector.Range) {
	p := g.positions[r.Partition]
	g.positions[r.Partition] = position{last: max(p.last, r.Last), committed: max(p.committed, r.Last)}
}

// committed says that a block is.
func (g *generator) committed(b *block) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range b.ranges {
		g.reach(r)
	}
}

// idle gives the positions of which nothing is on its way.
func (g *generator) idle() map[string]uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[string]uint64{}
	for name, p := range g.positions {
		if p.last == p.committed {
			all[name] = p.last
		}
	}
	return all
}

// forget drops what was idle, has not moved since, and is not among the positions that the ledger had after that: the
// ledger has forgotten it. What is dropped here is unknown there too, so that nothing can be taken at a wrong position.
func (g *generator) forget(idle map[string]uint64, ledger []connector.Range) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range ledger {
		delete(idle, r.Partition)
	}
	for name, last := range idle {
		if g.positions[name].last == last {
			delete(g.positions, name)
		}
	}
	g.makeRoom()
}

// makeRoom wakes every Add that waits for room. The lock is held.
func (g *generator) makeRoom() {
	close(g.room)
	g.room = make(chan struct{})
}

// position gives the highest position stored or being stored.
func (g *generator) position(partition string) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.positions[partition].last
}

// add puts records into the current block; all of them come into one. It waits while there is no room.
func (g *generator) add(ctx context.Context, r dataset.Records) (*fate, error) {
	for {
		f, room, err := g.tryAdd(r)
		if f != nil || err != nil {
			return f, err
		}
		select {
		case g.full <- struct{}{}:
		default:
		}
		select {
		case <-room:
		case <-g.closed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryAdd adds the records, or gives what is closed when there may be room for them.
func (g *generator) tryAdd(r dataset.Records) (f *fate, room <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason != nil {
		return nil, nil, g.reason
	}
	name := r.Range.Partition
	p, met := g.positions[name]
	if want := p.last + 1; name != "" && r.Range.First != want {
		return nil, nil, &connector.PositionError{Partition: name, Got: r.Range.First, Want: want}
	}
	if name != "" && !met && len(g.positions) >= positionsMax {
		select {
		case g.crowded <- struct{}{}:
		default:
		}
		return nil, g.room, nil
	}
	b := g.current
	at, known := b.place[name]
	if b.records > 0 && (len(b.data)+len(r.Bytes) > g.blockBytes || name != "" && !known && len(b.ranges) == partitionsMax) {
		g.cutNow = true
		return nil, g.room, nil
	}
	b.data = append(b.data, r.Bytes...)
	b.records += int64(r.Count)
	if name != "" {
		g.positions[name] = position{last: r.Range.Last, committed: p.committed}
		if known {
			b.ranges[at].Last = r.Range.Last
		} else {
			b.place[name] = len(b.ranges)
			b.ranges = append(b.ranges, r.Range)
		}
	}
	return b.fate, nil, nil
}

// run cuts until the generator is closed, then cuts the rest and closes the queue.
func (g *generator) run(interval time.Duration) {
	defer close(g.queue)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.emit(false)
		case <-g.full:
			g.emit(true)
		case <-g.closed:
			g.emit(false)
			return
		}
	}
}

// emit cuts the current block and hands it on, which waits while the queue is full.
func (g *generator) emit(onlyFull bool) {
	if b := g.cut(onlyFull); b != nil {
		g.queue <- b
	}
}

// cut takes the current block out; nil where it is empty, or not full although only a full one was asked for.
func (g *generator) cut(onlyFull bool) *block {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.current
	if b.records == 0 || onlyFull && !g.cutNow {
		return nil
	}
	g.last++
	b.number = g.last
	if cap(b.data) > 2*len(b.data) { // it stays in the block cache, which counts what it holds and not what it could
		b.data = slices.Clone(b.data)
	}
	g.current = newBlock(min(len(b.data)+len(b.data)/8, g.blockBytes))
	g.cutNow = false
	g.makeRoom()
	return b
}

// giveBack makes the positions of a block that was not taken free again.
func (g *generator) giveBack(b *block) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range b.ranges {
		p := g.positions[r.Partition]
		g.positions[r.Partition] = position{last: min(p.last, r.First-1), committed: p.committed}
	}
}

// close ends the generator: nothing more is added, for that reason. Only the first call counts.
func (g *generator) close(reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason == nil {
		g.reason = reason
		close(g.closed)
	}
}
