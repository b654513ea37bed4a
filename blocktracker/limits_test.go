package blocktracker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// Rule 10: a block at a limit is taken, one beyond it is refused for good: it would not become smaller.
func TestBlocksAtTheirLimits(t *testing.T) {
	for name, c := range map[string]struct {
		most int
		set  func(b *Block, n int)
	}{
		"bytes":   {MaxBatchBytes, func(b *Block, n int) { b.Bytes = int64(n) }},
		"records": {MaxBlockRecords, func(b *Block, n int) { b.Records = int64(n) }},
		"stores": {MaxBlockStores, func(b *Block, n int) {
			for i := range n {
				b.Stores = append(b.Stores, id.Store(fmt.Sprint(i)))
			}
		}},
		"ranges": {MaxPositions, func(b *Block, n int) {
			for i := range n {
				b.Ranges = append(b.Ranges, connector.Range{Partition: fmt.Sprint(i), First: 1, Last: 1})
			}
		}},
		"partition name": {MaxPartitionName, func(b *Block, n int) {
			b.Ranges = []connector.Range{{Partition: strings.Repeat("p", n), First: 1, Last: 1}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			over, most := block(1, 1), block(1, 1)
			c.set(over, c.most+1)
			if _, err := f.try(over); err == nil || errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), fmt.Sprint(c.most)) {
				t.Errorf("%d: %v, expected a refusal for good that names %d", c.most+1, err, c.most)
			}
			c.set(most, c.most)
			f.add(most)
		})
	}
}

// Rule 10: the bytes and the blocks of an application that wait or are not cleaned have a limit; the next one is taken
// when there is room again.
func TestQueueAtItsLimits(t *testing.T) {
	for name, c := range map[string]struct {
		fill func(q *Queue) // so that one block of ten bytes fits
	}{
		"bytes":  {func(q *Queue) { q.Bytes = MaxQueuedBytes - 10 }},
		"blocks": {func(q *Queue) { q.Live = MaxBlocks - 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			q, _ := f.Queue(app)
			full := *q
			c.fill(&full)
			f.PutQueue(&full)
			if _, err := f.try(block(1, 1)); err != nil {
				t.Fatalf("the block that reaches the limit: %v", err)
			}
			if _, err := f.try(block(1, 2)); !errors.Is(err, ErrLimit) {
				t.Errorf("the block beyond it: %v, expected a refusal by the limit", err)
			}
			room, _ := f.Queue(app)
			less := *room
			less.Bytes, less.Live = 0, 1
			f.PutQueue(&less)
			if _, err := f.try(block(1, 2)); err != nil {
				t.Errorf("the same one, with room: %v", err)
			}
		})
	}
}
