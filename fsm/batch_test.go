package fsm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
)

// Invariants 2 and 3: batch times are gapless, an allocation never changes and takes every queued block. Rule 6: the
// partitions of an input are fixed by it. Rule 9: a run of empty batches is one command.
func TestAllocationIsGaplessAndNeverChanges(t *testing.T) {
	r := startRunning(t)
	r.done(r.add(r.block(1), r.block(2)))
	alloc := func(from, to id.Time) *BlocksAllocated {
		return &BlocksAllocated{App: r.app, From: from, To: to, NowMS: 5}
	}
	r.refused(alloc(10_000, 10_000), "batches from 10000 to 10000, expected from 11000 in steps of 1000")
	r.refused(alloc(12_000, 12_000), "batches from 12000 to 12000, expected from 11000 in steps of 1000")
	r.refused(alloc(11_000, 11_500), "batches from 11000 to 11500, expected from 11000 in steps of 1000")
	r.refused(alloc(11_000, 10_000), "batches from 11000 to 10000, expected at least one")
	last := alloc(11_000, 11_000)
	last.Last = true
	r.refused(last, "application 4 (wc) is not stopping: there is no last batch yet")
	at := r.done(alloc(11_000, 11_000))
	r.done(r.add(r.block(3)))
	if again := r.done(alloc(11_000, 11_000)); again != at {
		t.Fatalf("repeated allocation at %d, expected %d", again, at)
	}
	r.refused(alloc(11_000, 12_000), "batches from 11000 to 12000, expected from 12000 in steps of 1000")
	r.done(alloc(12_000, 15_000)) // downtime: the first batch takes all, the others are empty
	var got []string
	for b := range r.m.View().Batches(r.app, 0) {
		got = append(got, fmt.Sprint(b.Time, " ", b.Records, " ", len(r.m.View().Input(r.app, b.Time, 0))))
	}
	want := []string{"11000 20 2", "12000 10 1", "13000 0 0", "14000 0 0", "15000 0 0"}
	if !slices.Equal(got, want) {
		t.Fatalf("batches %q, expected %q", got, want)
	}
	in := r.m.View().Input(r.app, 11_000, 0)
	if in[0].ID != r.block(1).ID || in[0].Batch != 11_000 || in[1].ID != r.block(2).ID {
		t.Fatalf("input %+v, expected blocks 1 and 2 in order", in)
	}
}

// Rule 10: pending batches have a limit; ticks wait.
func TestPendingBatchesAreLimited(t *testing.T) {
	r := startRunning(t)
	r.limited(&BlocksAllocated{App: r.app, From: 11_000, To: 11_000 + 1024*1000},
		"application 4 (wc) has 0 pending batches and would get 1025 more, expected at most 1024")
	r.done(&BlocksAllocated{App: r.app, From: 11_000, To: 11_000 + 1023*1000})
	next := r.tick()
	r.limited(next, "application 4 (wc) has 1024 pending batches and would get 1 more, expected at most 1024")
	r.coordinator(r.a)
	r.done(r.complete())
	r.done(next)
}

// Invariant 4 and rules 1, 6: a batch completes once, in order of time, by the current office and attempt.
func TestCompletionIsFencedAndInOrder(t *testing.T) {
	r := startRunning(t)
	r.done(r.tick())
	r.done(r.tick())
	none := r.complete()
	r.refused(none, "batch 11000 of application 4 (wc): office 0 has ended")
	office := r.coordinator(r.a)
	first := r.complete()
	early := r.complete()
	early.Time = 12_000
	r.refused(early, "batch 12000 of application 4 (wc): batch 11000 must be completed first")
	early.Time = 13_000
	r.refused(early, "batch 13000 of application 4 (wc): it is not allocated")
	r.refused(&BatchCompleted{App: 99}, "no application 99")
	r.refused(&BatchFailed{App: 99}, "no application 99")
	next := r.coordinator(r.b)
	r.refused(first, fmt.Sprintf("batch 11000 of application 4 (wc): reported by office %d, expected %d", office, next))
	wrong := r.complete()
	wrong.Attempt--
	r.refused(wrong, fmt.Sprintf("batch 11000 of application 4 (wc): reported by attempt %d, expected %d", next-1, next))
	c := r.complete()
	at := r.done(c)
	if again := r.done(c); again != at {
		t.Fatalf("repeated completion at %d, expected %d", again, at)
	}
	r.refused(first, fmt.Sprintf("batch 11000 of application 4 (wc): it was completed by office %d, attempt %d, now reported by %d, %d",
		next, next, first.Office, first.Attempt))
	b, _ := r.m.View().Batch(r.app, 11_000)
	if b.State != Completed || b.Attempts != 2 || b.Tries != 1 || b.CompletedMS != 11_007 || b.Done != at {
		t.Fatalf("batch %+v, expected completed by its second attempt", *b)
	}
	if n := r.m.View().Attempt(r.app, 11_000); n != 0 {
		t.Fatalf("completed batch has attempt %d, expected none", n)
	}
}

// Rule 1: the grant of the office names the office that it replaces.
func TestOfficeIsGrantedOncePerOfficeReplaced(t *testing.T) {
	r := startRunning(t)
	assign := func(s id.Session, prev id.Office) *CoordinatorAssigned {
		return &CoordinatorAssigned{App: r.app, Session: s, Prev: prev}
	}
	r.refused(assign(99, 0), "session 99 is not open")
	first := r.done(assign(r.a, 0))
	if again := r.done(assign(r.a, 0)); again != first {
		t.Fatalf("repeated grant: office %d, expected %d", again, first)
	}
	lost := fmt.Sprintf("application 4 (wc): office 0 is to be replaced, the last one is %d", first)
	r.refused(assign(r.b, 0), lost)
	r.done(&SessionClosed{Session: r.a})
	r.refused(assign(r.a, 0), lost)
	if second := r.done(assign(r.b, id.Office(first))); second <= first {
		t.Fatalf("second office %d, expected a higher one than %d", second, first)
	}
}

// Invariant 8: nothing is freed that a later batch can need.
func TestCleaningKeepsWhatIsRemembered(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.a)
	for n := range uint64(3) {
		r.done(r.add(r.block(n + 1)))
		r.done(r.tick())
	}
	r.done(r.complete())
	r.done(r.complete())
	clean := func(to id.Time) *BatchesCleaned { return &BatchesCleaned{App: r.app, UpTo: to} }
	r.refused(clean(12_000), "application 4 (wc) is to be cleaned up to 12000, expected at most 11000: completed up to 12000, remembers 1000 ms")
	r.refused(&BatchesCleaned{App: 99}, "no application 99")
	r.done(clean(10_999)) // before the first batch time: nothing to do
	r.done(clean(11_000))
	r.done(clean(11_000))
	if a := r.state(); a.Cleaned != 11_000 {
		t.Fatalf("cleaned up to %d, expected 11000", a.Cleaned)
	}
	v := r.m.View()
	if n := len(v.Input(r.app, 11_000, 0)); n != 0 {
		t.Fatalf("cleaned batch has %d blocks, expected none", n)
	}
	if n := len(v.Input(r.app, 12_000, 0)); n != 1 {
		t.Fatalf("remembered batch has %d blocks, expected 1", n)
	}
	for in := range v.Instances(r.app) {
		if in.Cleaned != 1 || in.Last != 3 {
			t.Fatalf("instance %+v, expected block 1 cleaned of 3", *in)
		}
	}
	r.done(r.add(r.block(1))) // cleaned and repeated: it was taken
	if b, ok := v.Batch(r.app, 11_000); !ok || b.State != Completed {
		t.Fatal("the cleaned batch is not kept for display")
	}
}

func TestCompletedBatchesAreKeptUpToTheLimit(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.a)
	for range MaxKeptBatches + 50 {
		r.entry(r.tick())
		r.entry(r.complete())
	}
	a := r.state()
	kept := func() int { return len(slices.Collect(r.m.View().Batches(r.app, 0))) }
	if kept() != MaxKeptBatches+50 {
		t.Fatalf("%d batches are kept before cleaning, expected all", kept())
	}
	r.done(&BatchesCleaned{App: r.app, UpTo: a.Completed - 1000})
	if kept() != MaxKeptBatches {
		t.Fatalf("%d batches are kept, expected %d", kept(), MaxKeptBatches)
	}
	r.done(&ApplicationStopped{App: r.app, Now: true})
	r.done(&ApplicationEnded{App: r.app})
	if kept() != MaxKeptEnded {
		t.Fatalf("%d batches are kept after the end, expected %d", kept(), MaxKeptEnded)
	}
}

// A hundred thousand blocks are one allocation, one completion, one cleaning.
func TestHundredThousandBlocksInOneAllocation(t *testing.T) {
	const n = 100_000
	r := startRunning(t)
	r.coordinator(r.a)
	for from := uint64(1); from <= n; from += 10_000 {
		var blocks []AddedBlock
		for i := range uint64(10_000) {
			blocks = append(blocks, r.block(from+i))
		}
		r.done(r.add(blocks...))
	}
	r.done(r.tick())
	if got := len(r.m.View().Input(r.app, 11_000, 0)); got != n {
		t.Fatalf("%d blocks, expected %d", got, n)
	}
	r.done(r.tick())
	r.done(r.complete())
	r.done(r.complete())
	r.done(&BatchesCleaned{App: r.app, UpTo: 11_000})
	if a := r.state(); a.Processed != 10*n {
		t.Fatalf("%d records processed, expected %d", a.Processed, 10*n)
	}
	if blocks := slices.Collect(r.m.View().s.blocks.Blocks()); len(blocks) != 0 {
		t.Fatalf("%d blocks are left, expected none", len(blocks))
	}
}
