package blocktracker

import (
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// Report says what Add must know besides the block.
type Report struct {
	Session  id.Session  // that reports
	Current  id.Instance // of the stream's receiver
	Required int         // copies (rule 5)
	Open     func(id.Store) bool
	NowMS    int64
}

// Add commits a block: it takes the next place in its application's order of arrival. Seq and Index of b are set by
// it; Index is the entry's. It returns the index at which the block was committed, now or earlier (natural key: the
// block's id). An error is a refusal: the block has not been taken, and nothing has changed.
//
// Rule 4: a block is taken from an instance that is registered and not closed, in order of its number, and every range
// of positions starts where the committed ones end. From an instance that is not the current one, only blocks without
// ranges are taken: what its source can send again, it sends to the current instance.
func (s *State) Add(b *Block, r Report, index uint64) (uint64, error) {
	q, ok := s.queues.Get(b.ID.App)
	if !ok {
		return 0, fmt.Errorf("block %v: application %d takes no blocks", b.ID, b.ID.App)
	}
	in, ok := s.Instance(b.ID.App, b.ID.Stream, b.ID.Instance)
	if !ok {
		return 0, fmt.Errorf("block %v: no receiver instance %d of stream %d", b.ID, b.ID.Instance, b.ID.Stream)
	}
	if b.ID.Number <= in.Last && b.ID.Number > 0 {
		return s.again(b, index)
	}
	if err := in.takes(b, r); err != nil {
		return 0, fmt.Errorf("block %v: %w", b.ID, err)
	}
	if err := checkCopies(b.Stores, r); err != nil {
		return 0, fmt.Errorf("block %v: %w", b.ID, err)
	}
	if err := q.takes(b); err != nil {
		return 0, fmt.Errorf("block %v: %w", b.ID, err)
	}
	if err := s.checkRanges(b, r.NowMS); err != nil {
		return 0, fmt.Errorf("block %v: %w", b.ID, err)
	}
	for _, g := range b.Ranges {
		s.setPosition(b.ID.App, b.ID.Stream, g.Partition, g.Last, r.NowMS)
	}
	next := *in
	next.Last = b.ID.Number
	s.instances.Set(&next)
	s.enqueue(q, b, index)
	return index, nil
}

func (s *State) enqueue(q *Queue, b *Block, index uint64) {
	n := *q
	n.Added++
	n.Live++
	n.Records += b.Records
	n.Bytes += b.Bytes
	s.queues.Set(n.App, &n)
	v := *b
	v.Seq, v.Index, v.Batch = n.Added, index, 0
	s.putBlock(&v)
}

func (s *State) putBlock(b *Block) {
	s.blocks.Set(b)
	s.arrivals.Set(b)
}

// again answers a block whose number is known.
func (s *State) again(b *Block, index uint64) (uint64, error) {
	known, ok := s.Block(b.ID)
	if !ok {
		return index, nil // cleaned already: the entry that committed it is not remembered
	}
	if !slices.Equal(known.Ranges, b.Ranges) {
		return 0, fmt.Errorf("block %v: committed with the ranges %v, reported with %v", b.ID, known.Ranges, b.Ranges)
	}
	if known.CRC != b.CRC || known.Bytes != b.Bytes || known.Records != b.Records {
		return 0, fmt.Errorf("block %v: committed with %d records, %d bytes, CRC %08x, reported with %d, %d, %08x",
			b.ID, known.Records, known.Bytes, known.CRC, b.Records, b.Bytes, b.CRC)
	}
	return known.Index, nil
}

// takes checks a block with a number that is not known against its instance.
func (in *Instance) takes(b *Block, r Report) error {
	switch {
	case in.Closed:
		return fmt.Errorf("instance %d is closed after block %d", in.ID, in.Last)
	case in.Session != r.Session:
		return fmt.Errorf("reported by session %d, instance %d belongs to session %d", r.Session, in.ID, in.Session)
	case in.Registered == 0:
		return fmt.Errorf("instance %d has not registered", in.ID)
	case in.ID != r.Current && len(b.Ranges) > 0:
		return fmt.Errorf("instance %d is replaced by %d, which takes what the source can send again", in.ID, r.Current)
	case b.ID.Number == 0:
		return fmt.Errorf("number 0, expected %d", in.Last+1)
	case b.ID.Number != in.Last+1:
		return fmt.Errorf("%w: number %d, expected %d", ErrLimit, b.ID.Number, in.Last+1)
	}
	return b.checkSize()
}

// checkSize keeps one block from being more than the ledger can count, allocate or remember.
func (b *Block) checkSize() error {
	switch {
	case b.Records < 0 || b.Records > MaxBlockRecords:
		return fmt.Errorf("%d records, expected 0 to %d", b.Records, MaxBlockRecords)
	case b.Bytes < 0 || b.Bytes > MaxBatchBytes:
		return fmt.Errorf("%d bytes, expected 0 to %d", b.Bytes, MaxBatchBytes)
	case len(b.Stores) > MaxBlockStores:
		return fmt.Errorf("%d stores, expected at most %d", len(b.Stores), MaxBlockStores)
	case len(b.Ranges) > MaxPositions:
		return fmt.Errorf("%d ranges, expected at most %d", len(b.Ranges), MaxPositions)
	}
	for _, g := range b.Ranges {
		if g.Partition == "" || len(g.Partition) > MaxPartitionName {
			return fmt.Errorf("partition name of %d bytes, expected 1 to %d", len(g.Partition), MaxPartitionName)
		}
	}
	return nil
}

// checkCopies is rule 5. Too few copies is not for ever: a store may open a session again, or its block is copied to
// another one and reported with that.
func checkCopies(stores []id.Store, r Report) error {
	open := 0
	for i, st := range stores {
		if slices.Contains(stores[:i], st) {
			return fmt.Errorf("store %s is named twice", st)
		}
		if r.Open(st) {
			open++
		}
	}
	if open < r.Required {
		return fmt.Errorf("%w: copies on %d stores with an open session (of %d named), expected %d",
			ErrLimit, open, len(stores), r.Required)
	}
	return nil
}

func (q *Queue) takes(b *Block) error {
	switch {
	case q.Bytes+b.Bytes > MaxQueuedBytes:
		return fmt.Errorf("%w: %d bytes wait for a batch, expected at most %d", ErrLimit, q.Bytes, MaxQueuedBytes)
	case q.Live >= MaxBlocks:
		return fmt.Errorf("%w: %d blocks are not cleaned, expected at most %d", ErrLimit, q.Live, MaxBlocks)
	}
	return nil
}

// checkRanges is rule 4's last part. It may forget positions that nobody used for long, never one that matters to b.
func (s *State) checkRanges(b *Block, nowMS int64) error {
	if len(b.Ranges) == 0 {
		return nil
	}
	fresh := 0
	raised := make(map[string]uint64, len(b.Ranges))
	for _, g := range b.Ranges {
		high, known := raised[g.Partition]
		if !known {
			p, ok := s.position(b.ID.App, b.ID.Stream, g.Partition)
			if ok {
				high = p.Last
			} else {
				fresh++
			}
		}
		if g.Last < g.First {
			return fmt.Errorf("partition %q: range %d to %d is empty", g.Partition, g.First, g.Last)
		}
		if g.First != high+1 {
			return &connector.PositionError{Partition: g.Partition, Got: g.First, Want: high + 1}
		}
		raised[g.Partition] = g.Last
	}
	return s.makeRoom(b, raised, fresh, nowMS)
}
