package blocks

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftstream/raftstream/wal"
)

// slackSegments is how many segments the log may have beyond twice what its blocks need before any is compacted.
const slackSegments = 4

// compact moves the blocks of the segment that holds fewest to the end of the log, so that it is deleted, if the log is
// far larger than its blocks. Without it one application that stands still would pin a segment with each of its blocks,
// and with them, in time, the whole disk (invariant 9). It moves one segment a call.
//
// A block is synced at its new place before the old one is released: a crash in between leaves it twice, and Open takes
// the later one.
func (s *Store) compact() error {
	entries := s.sparse()
	for _, e := range entries {
		err := s.move(e)
		if errors.Is(err, wal.ErrReserve) {
			return nil // no room: segments go when their blocks do
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sparse gives the blocks of the sealed segment that is worth to be compacted, none if there is none.
func (s *Store) sparse() (entries []*entry) {
	log := s.log.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	if log.Bytes <= slackSegments*s.cfg.SegmentBytes+2*s.bytes {
		return nil
	}
	worst, least := uint64(0), s.cfg.SegmentBytes/2
	for segment, bytes := range s.live {
		if segment < log.Active && bytes < least {
			worst, least = segment, bytes
		}
	}
	for _, runs := range s.apps {
		for _, in := range runs {
			for _, e := range in.blocks {
				if e.held && e.pos.Segment == worst {
					entries = append(entries, e)
				}
			}
		}
	}
	return entries
}

// move appends a block again and releases its old place.
func (s *Store) move(e *entry) error {
	from, held := s.place(e)
	if !held {
		return nil
	}
	d, err := s.load(e, from)
	if err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	to, err := s.log.Append(context.Background(), appendHeader(make([]byte, 0, recordHeader), &d), d.Data)
	if err != nil {
		return fmt.Errorf("compact: move block %v: %w", e.id, err)
	}
	s.mu.Lock()
	free := to
	if s.lookup(e.id) == e { // not dropped meanwhile
		s.count(e, -1)
		free, e.pos = e.pos, to
		s.count(e, +1)
	}
	s.mu.Unlock()
	return s.release([]wal.Position{free})
}

// place gives where a block is in the log now; false: it is not held any more.
func (s *Store) place(e *entry) (wal.Position, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.pos, s.lookup(e.id) == e
}
