package blocktracker

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

const reader = id.App(9)

func direct(at id.Time, p connector.Plan) *Plan {
	return &Plan{App: reader, Time: at, Stream: 2, Plan: p}
}

func ranged(partition string, first, last uint64) connector.Part {
	return connector.Part{Records: 2, Bytes: 5, Ranges: []connector.Range{{Partition: partition, First: first, Last: last}}}
}

// Rule 12: a plan counts what it holds, moves positions, and is in the ledger until its batch is cleaned or given up; only
// a cleaned one moves the mark.
func TestPlansUntilTheyAreCleaned(t *testing.T) {
	s := NewState()
	s.OpenQueue(reader)
	take := func(at id.Time, p connector.Plan) (Input, bool) {
		t.Helper()
		if err := s.CheckPlan(direct(at, p)); err != nil {
			t.Fatal(err)
		}
		in, moved := s.TakePlan(direct(at, p), 1)
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		return in, moved
	}
	in, moved := take(1, connector.Plan{Parts: []connector.Part{ranged("f", 1, 4), ranged("f", 5, 5)}, Mark: "a"})
	if in != (Input{Blocks: 2, Records: 4, Bytes: 10}) || !moved {
		t.Fatalf("took %+v, moved %t", in, moved)
	}
	before := s.Copy()
	if _, moved = take(2, connector.Plan{Mark: "b"}); moved {
		t.Fatal("a plan without ranges moved a position")
	}
	take(3, connector.Plan{Parts: []connector.Part{{Records: 1}}, Mark: "c"})
	if n := len(slices.Collect(s.Plans())); n != 3 || !s.Cleanable(reader, 1) || s.Cleanable(reader, 0) {
		t.Fatalf("%d plans, expected 3, cleanable from batch 1 on", n)
	}
	s.DiscardBatch(reader, 3)
	s.Clean(reader, 2)
	if got := s.Source(reader, 2); got.Mark != "b" || got.Newest != "c" {
		t.Fatalf("source %+v, expected the mark of the last cleaned plan", got)
	}
	if q, _ := s.Queue(reader); q.PlanBytes != 0 || s.Cleanable(reader, 9) {
		t.Fatalf("queue %+v, expected no plan left", *q)
	}
	if n := len(slices.Collect(before.Plans())); n != 1 || before.Source(reader, 2).Mark != "" {
		t.Fatalf("the picture has changed: %d plans", n)
	}
	s.Drop(reader)
	if s.Len() != 0 {
		t.Fatalf("%d records are left", s.Len())
	}
}

// Rule 12: a batch that is not cleaned may wait for a file that has gone. When that is put back it is read for the batch,
// and must not be new besides: its position stays until the batch is cleaned.
func TestPositionsStayWhileABatchMayReadThePlan(t *testing.T) {
	s := NewState()
	s.OpenQueue(reader)
	take := func(at id.Time, p connector.Plan) (moved bool) {
		t.Helper()
		if err := s.CheckPlan(direct(at, p)); err != nil {
			t.Fatal(err)
		}
		_, moved = s.TakePlan(direct(at, p), 1)
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		return moved
	}
	forget := connector.Plan{Forget: []string{"f", "f", "none"}}
	take(1, connector.Plan{Parts: []connector.Part{ranged("f", 1, 4)}})
	if take(2, forget) {
		t.Fatal("a position that a waiting batch needs is forgotten")
	}
	var pe *connector.PositionError
	if err := s.CheckPlan(direct(3, connector.Plan{Parts: []connector.Part{ranged("f", 1, 4)}})); !errors.As(err, &pe) || pe.Want != 5 {
		t.Fatalf("what was put back for the waiting batch is taken again: %v", err)
	}
	s.Clean(reader, 2)
	if !take(3, forget) {
		t.Fatal("after cleaning the position is not forgotten")
	}
	take(4, connector.Plan{Parts: []connector.Part{ranged("f", 1, 4)}})
}

func TestPlansWithoutAQueueOrPosition(t *testing.T) {
	s := NewState()
	if err := s.CheckPlan(direct(1, connector.Plan{})); err == nil || !strings.Contains(err.Error(), "application 9 takes no input") {
		t.Fatalf("no queue: %v", err)
	}
	s.OpenQueue(reader)
	var pe *connector.PositionError
	if err := s.CheckPlan(direct(1, connector.Plan{Parts: []connector.Part{ranged("f", 3, 4)}})); !errors.As(err, &pe) || pe.Want != 1 {
		t.Fatalf("not from 1: %v", err)
	}
	q, _ := s.Queue(reader)
	full := *q
	full.PlanBytes = MaxPlannedBytes
	s.PutQueue(&full)
	if err := s.CheckPlan(direct(1, connector.Plan{Mark: "m"})); !errors.Is(err, ErrLimit) {
		t.Fatalf("beyond the limit: %v, expected ErrLimit", err)
	}
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "has plans of 0 bytes, counted 67108864") {
		t.Fatalf("a wrong count: %v", err)
	}
}

// held is what stores hold besides blocks.
type held struct {
	known  map[id.Block]bool
	struck []id.Block
}

func (h *held) Hold(n id.Block, _ id.Store) bool { return h.known[n] }
func (h *held) Gone(n id.Block) bool             { return n.Stream == 8 }
func (h *held) Strike(_ id.Session, _ id.Store, named func(id.Block) bool) {
	for n := range h.known {
		if !named(n) {
			h.struck = append(h.struck, n)
		}
	}
}

// Rule 5: an inventory in parts covers what is not a block too.
func TestInventoriesCoverWhatIsNotABlock(t *testing.T) {
	s := NewState()
	s.OpenQueue(reader)
	one, two, gone := id.Block{App: reader, Stream: 7, Number: 1}, id.Block{App: reader, Stream: 7, Number: 2}, id.Block{App: reader, Stream: 8}
	h := &held{known: map[id.Block]bool{one: true, two: true}}
	if got := s.Inventory(3, "A", []id.Block{one, gone}, true, false, h); !slices.Equal(got, []id.Block{gone}) {
		t.Fatalf("deletable %v, expected %v", got, gone)
	}
	if len(h.struck) != 0 {
		t.Fatalf("struck %v before the last part", h.struck)
	}
	s.Inventory(3, "A", nil, false, true, h)
	if !slices.Equal(h.struck, []id.Block{two}) {
		t.Fatalf("struck %v, expected %v, which no part named", h.struck, two)
	}
}
