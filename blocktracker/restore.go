package blocktracker

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/id"
)

// PutQueue puts a new or restored queue.
func (s *State) PutQueue(q *Queue) { s.queues.Set(q.App, q) }

// PutBlock puts a restored block. Batch of it is not kept.
func (s *State) PutBlock(b *Block) { s.putBlock(b) }

// PutSpan puts a restored span.
func (s *State) PutSpan(v *Span) { s.spans.Set(v) }

// PutNamed puts a restored part of an inventory.
func (s *State) PutNamed(v Named) { s.named.Set(v) }

// Check verifies what must hold among all records; it takes time in proportion to their number. Tests and restoring
// call it.
func (s *State) Check() error {
	if err := s.checkQueues(); err != nil {
		return err
	}
	if a, b := s.blocks.Len(), s.arrivals.Len(); a != b {
		return fmt.Errorf("%d blocks by id, %d by arrival", a, b)
	}
	if a, b := s.positions.Len(), s.ages.Len(); a != b {
		return fmt.Errorf("%d positions, %d by age", a, b)
	}
	if err := s.checkPlans(); err != nil {
		return err
	}
	for b := range s.Blocks() {
		q, ok := s.queues.Get(b.ID.App)
		if !ok || b.Seq == 0 || b.Seq > q.Added {
			return fmt.Errorf("block %v: arrival %d is not in its application's queue", b.ID, b.Seq)
		}
		in, ok := s.Instance(b.ID.App, b.ID.Stream, b.ID.Instance)
		if !ok || b.ID.Number > in.Last || b.ID.Number <= in.Cleaned {
			return fmt.Errorf("block %v: its instance %+v does not hold it", b.ID, in)
		}
	}
	sum := 0
	s.tallies.Scan(func(t tally) bool { sum += t.positions; return t.positions <= MaxPositions })
	if sum != s.positions.Len() {
		return fmt.Errorf("%d positions, %d counted per stream", s.positions.Len(), sum)
	}
	return nil
}

// checkPlans verifies that what plans weigh is counted.
func (s *State) checkPlans() error {
	sums := map[id.App]int64{}
	for p := range s.Plans() {
		if _, ok := s.queues.Get(p.App); !ok {
			return fmt.Errorf("plan of batch %d of application %d, which takes no input", p.Time, p.App)
		}
		sums[p.App] += int64(p.Plan.Size())
	}
	for q := range s.Queues() {
		if sums[q.App] != q.PlanBytes {
			return fmt.Errorf("application %d has plans of %d bytes, counted %d", q.App, sums[q.App], q.PlanBytes)
		}
	}
	return nil
}

func (s *State) checkQueues() error {
	for q := range s.Queues() {
		waiting, live := Input{}, 0
		for b := range s.run(q.App, 1, q.Added) {
			live++
			if b.Seq > q.Allocated {
				waiting.add(b)
			}
		}
		if waiting.Records != q.Records || waiting.Bytes != q.Bytes || live != q.Live {
			return fmt.Errorf("queue of application %d: counts %+v, found %+v waiting and %d live", q.App, *q, waiting, live)
		}
		if uint64(waiting.Blocks) != q.Added-q.Allocated {
			return fmt.Errorf("queue of application %d: %d blocks wait, expected %d", q.App, waiting.Blocks, q.Added-q.Allocated)
		}
	}
	return s.checkSpans()
}

// checkSpans is invariant 2: a block is in one batch at most, and its batches follow each other in order of arrival.
func (s *State) checkSpans() error {
	var prev *Span
	for sp := range s.Spans() {
		q, ok := s.queues.Get(sp.App)
		if !ok || sp.First > sp.Last || sp.Last > q.Allocated {
			return fmt.Errorf("batch %d of application %d: span %d to %d is not in its queue", sp.Time, sp.App, sp.First, sp.Last)
		}
		if prev != nil && prev.App == sp.App && prev.Last >= sp.First {
			return fmt.Errorf("application %d: batches %d and %d overlap", sp.App, prev.Time, sp.Time)
		}
		prev = sp
	}
	return nil
}
