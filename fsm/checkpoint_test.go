package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
)

const stateStream = id.Stream(5)

// startKeyed is an application with keyed state of two partitions, stores A and B, and a coordinator in session a.
func startKeyed(t *testing.T) *running {
	t.Helper()
	l := startLedger(t)
	r := &running{ledger: l, a: l.session("A"), b: l.session("B")}
	c := submission("wc")
	c.States = []StateStream{{Stream: stateStream, SlideMS: 1000, Partitions: 2}}
	r.app = id.App(l.done(c))
	r.instance = r.receiver(r.a, 0)
	r.coordinator(r.a)
	return r
}

// batches allocates and completes n batches of one block each.
func (r *running) batches(n int) {
	r.t.Helper()
	for range n {
		number := uint64(1)
		if in, ok := r.m.View().s.blocks.Instance(r.app, 0, r.instance); ok {
			number = in.Last + 1
		}
		r.done(r.add(r.block(number)))
		r.done(r.tick())
		r.done(r.complete())
	}
}

// piece is one of part 0, on both stores, of the current office.
func (r *running) piece(number uint64) CheckpointPiece {
	return CheckpointPiece{
		ID:     id.Block{App: r.app, Stream: stateStream, Instance: id.Instance(r.state().Office), Number: number},
		Stream: stateStream, Rows: 3, Bytes: 100, CRC: 1, Stores: []id.Store{"A", "B"},
	}
}

// checkpoint is a full one of the last completed batch.
func (r *running) checkpoint(pieces ...CheckpointPiece) *StateCheckpointed {
	a := r.state()
	b, _ := r.m.View().Batch(r.app, a.Completed)
	c := &StateCheckpointed{App: r.app, Office: a.Office, Time: a.Completed, Full: true, Pieces: pieces, NowMS: 7000}
	if b != nil {
		c.Attempt = b.Attempt
	}
	return c
}

// Rule 7: a checkpoint is of a completed batch, as its winning attempt left the state, by the coordinator in office.
func TestCheckpointIsOfACompletedBatchByTheCurrentOffice(t *testing.T) {
	r := startKeyed(t)
	r.batches(2)
	what := func(at id.Time) string { return fmt.Sprintf("checkpoint of batch %d of application 4 (wc): ", at) }

	c := r.checkpoint(r.piece(1))
	c.Attempt--
	r.refused(c, what(12_000)+fmt.Sprintf("state of attempt %d, expected %d, which won the batch", c.Attempt, c.Attempt+1))
	c = r.checkpoint(r.piece(1))
	c.Time = 13_000
	r.refused(c, what(13_000)+"the batch is not completed, or forgotten; completed up to 12000")
	r.done(r.tick())
	r.refused(c, what(13_000)+"the batch is not completed, or forgotten; completed up to 12000")
	c = r.checkpoint(r.piece(1))
	c.Office--
	r.refused(c, what(12_000)+fmt.Sprintf("made in office %d, expected %d", c.Office, c.Office+1))
	p := r.piece(1)
	p.ID.Instance--
	r.refused(r.checkpoint(p), what(12_000)+fmt.Sprintf("piece 4-5-%d-1: it is not named by application 4, stream 5 and office %d",
		p.ID.Instance, r.state().Office))
	c = r.checkpoint(r.piece(1))
	c.Full, c.Since = false, 11_000
	r.refused(c, what(12_000)+"changes against a checkpoint, and none is committed: a full one is expected")
	r.refused(&StateCheckpointed{App: 99}, "no application 99")

	good := r.checkpoint(r.piece(1))
	at := r.done(good)
	r.done(r.complete())
	if again := r.done(good); again != at {
		t.Fatalf("repeated checkpoint at %d, expected %d", again, at)
	}
	r.done(&SessionClosed{Session: r.a})
	r.refused(r.checkpoint(r.piece(2)), what(13_000)+fmt.Sprintf("office %d has ended", r.state().Office))
	if again := r.done(good); again != at { // its reporter asks once more, and then it is over
		t.Fatalf("repeated checkpoint at %d, expected %d", again, at)
	}

	plain := startRunning(t)
	plain.coordinator(plain.a)
	plain.done(plain.tick())
	plain.done(plain.complete())
	plain.refused(plain.checkpoint(), "checkpoint of batch 11000 of application 4 (wc): it has no keyed state")
}

// Rule 7 and invariant 8: nothing is cleaned that a rebuild from the committed checkpoint would read, and the winning
// attempts of the batches that it computes again are kept however many they are.
func TestCleaningStopsAtWhatARebuildReads(t *testing.T) {
	r := startKeyed(t)
	r.batches(3)
	clean := func(to id.Time) *BatchesCleaned { return &BatchesCleaned{App: r.app, UpTo: to} }
	r.refused(clean(11_000), "application 4 (wc) is to be cleaned up to 11000, expected at most 10000: its state is checkpointed up to 10000, remembers 1000 ms")
	r.done(r.checkpoint(r.piece(1)))
	r.done(r.tick())
	r.done(r.complete())
	r.done(r.tick())
	r.done(r.complete())
	r.refused(clean(14_000), "application 4 (wc) is to be cleaned up to 14000, expected at most 13000: its state is checkpointed up to 13000, remembers 1000 ms")
	r.done(clean(13_000))
	for range MaxKeptBatches + 10 {
		r.entry(r.tick())
		r.entry(r.complete())
	}
	n := 0
	for b := range r.m.View().Batches(r.app, 13_000) {
		if n++; b.State != Completed || b.Attempt == 0 {
			t.Fatalf("batch %+v, expected its winning attempt", *b)
		}
	}
	if n != MaxKeptBatches+12 {
		t.Fatalf("%d batches after the checkpoint are kept, expected %d", n, MaxKeptBatches+12)
	}
	r.done(r.checkpoint(r.piece(2)))
	r.done(clean(r.state().Completed - 1000))
}

// Rule 7: with a remember duration of several batches, the first batch after the checkpoint reads them again.
func TestCleaningLeavesWhatARebuildRemembers(t *testing.T) {
	l := startLedger(t)
	r := &running{ledger: l, a: l.session("A"), b: l.session("B")}
	c := submission("wc")
	c.RememberMS = 3000
	c.States = []StateStream{{Stream: stateStream, SlideMS: 2000, Partitions: 2}}
	r.app = id.App(l.done(c))
	r.instance = r.receiver(r.a, 0)
	r.coordinator(r.a)
	r.batches(6)
	r.done(r.checkpoint(r.piece(1))) // of 16000: the batch of 17000 reads from 15000 on
	r.batches(6)
	r.refused(&BatchesCleaned{App: r.app, UpTo: 15_000}, "application 4 (wc) is to be cleaned up to 15000, expected at most 14000: its state is checkpointed up to 16000, remembers 3000 ms")
	r.done(&BatchesCleaned{App: r.app, UpTo: 14_000})
}

// Rule 5: pieces have their copies, an inventory says where they really are, copies are noted, and what is not needed
// any more may be deleted.
func TestPiecesHaveCopiesAsBlocksDo(t *testing.T) {
	r := startKeyed(t)
	r.batches(1)
	few := r.piece(1)
	few.Stores = few.Stores[:1]
	r.refused(r.checkpoint(few), "checkpoint of batch 11000 of application 4 (wc): piece "+few.ID.String()+
		": copies on 1 stores with an open session (of 1 named), expected 2")
	r.done(r.checkpoint(r.piece(1), r.piece(2)))
	stores := func() (out []string) {
		for p := range r.m.View().Pieces(r.app) {
			out = append(out, fmt.Sprintf("%d%v", p.ID.Number, p.Stores))
		}
		return out
	}
	expect := func(want ...string) {
		t.Helper()
		if got := stores(); !slices.Equal(got, want) {
			t.Fatalf("pieces %v, expected %v", got, want)
		}
	}
	c := r.session("C")
	r.refused(&BlocksCopied{Session: 99, Blocks: []id.Block{r.piece(1).ID}}, "session 99 is not open")
	r.done(&BlocksCopied{Session: c, Blocks: []id.Block{r.piece(1).ID, r.piece(9).ID, {App: 99}, r.block(1).ID}})
	r.done(&BlocksCopied{Session: c, Blocks: []id.Block{r.piece(1).ID}})
	expect("1[A B C]", "2[A B]")
	if b := slices.Collect(r.m.View().Kept(r.app, 0)); len(b) != 1 || !slices.Equal(b[0].Stores, []id.Store{"A", "B", "C"}) {
		t.Fatalf("blocks that may be read: %+v, expected block 1 on A, B and C", b)
	}
	b := r.reopen("B", r.b)
	orphan := r.piece(7) // not committed, and its office goes on
	got := r.apply(&InventoryReported{Session: b, Blocks: []id.Block{r.piece(2).ID, orphan.ID}, First: true, Last: true})
	if len(got.Missing) != 0 {
		t.Fatalf("deletable %v, expected nothing", got.Missing)
	}
	expect("1[A C]", "2[A B]")
	r.done(&InventoryReported{Session: b, Blocks: []id.Block{r.piece(1).ID}})
	expect("1[A C B]", "2[A B]")
	old := []id.Block{r.piece(1).ID, r.piece(2).ID, orphan.ID}
	r.coordinator(b)
	got = r.apply(&InventoryReported{Session: b, Blocks: old})
	if !slices.Equal(got.Missing, old[2:]) {
		t.Fatalf("deletable %v, expected the orphan of the office that is over", got.Missing)
	}
	r.batches(1)
	r.done(r.checkpoint(r.piece(1)))
	got = r.apply(&InventoryReported{Session: b, Blocks: append(old, r.piece(1).ID, r.piece(2).ID)})
	if !slices.Equal(got.Missing, old) {
		t.Fatalf("deletable %v, expected all of the old chain, and of the new office nothing", got.Missing)
	}
}

// reopen ends a store's session and opens its next one.
func (r *running) reopen(store string, was id.Session) id.Session {
	r.t.Helper()
	r.done(&SessionClosed{Session: was})
	return id.Session(r.done(&SessionOpened{
		Store: id.Store(store), Generation: 2, Name: "n" + store, Addr: "127.0.0.1:1", Slots: 2, Build: "b", NowMS: 1000,
	}))
}

// Rule 7: what executors hear of the offices frees exactly what is not in the chain, and nothing that may yet be.
func TestExecutorsHearWhichPiecesAreNeeded(t *testing.T) {
	r := startKeyed(t)
	first := r.state().Office
	r.batches(1)
	r.done(r.checkpoint(r.piece(10), r.piece(11)))
	needless := func(office id.Office, number uint64) bool { // as executors decide
		for in := range r.m.View().PieceInstances(r.app) {
			if in.ID == id.Instance(office) && in.Stream == stateStream {
				return number <= in.Cleaned || in.Closed && number > in.Last
			}
		}
		t.Fatalf("office %d is not known", office)
		return false
	}
	expect := func(office id.Office, want string) {
		t.Helper()
		got := ""
		for _, n := range []uint64{9, 10, 11, 12} {
			if needless(office, n) {
				got += fmt.Sprint(" ", n)
			}
		}
		if strings.TrimSpace(got) != want {
			t.Fatalf("of office %d not needed:%s, expected %s", office, got, want)
		}
	}
	expect(first, "9")
	second := r.coordinator(r.b)
	expect(first, "9 12")
	expect(second, "")
	r.batches(1)
	c := r.checkpoint(r.piece(11))
	c.Full, c.Since = false, 11_000
	r.done(c)
	expect(first, "9 12")
	expect(second, "9 10")
	r.done(&SessionClosed{Session: r.b})
	expect(second, "9 10 12")
	third := r.coordinator(r.a)
	r.batches1(r.a)
	r.done(r.checkpoint(r.pieceOn("A", 12)))
	expect(first, "9 10 11 12")
	expect(second, "9 10 11 12")
	expect(third, "9 10 11")
}

// batches1 is batches with store A alone.
func (r *running) batches1(s id.Session) {
	r.t.Helper()
	r.done(r.tick())
	r.done(r.complete())
}

func (r *running) pieceOn(store id.Store, number uint64) CheckpointPiece {
	p := r.piece(number)
	p.Stores = []id.Store{store}
	return p
}

// Rules 7 and 11: a failed application keeps its checkpoint, and so does a stop until the end; then it is free.
func TestCheckpointIsKeptUntilTheEnd(t *testing.T) {
	r := startKeyed(t)
	r.batches(1)
	r.done(r.checkpoint(r.piece(1)))
	has := func(want bool) {
		t.Helper()
		_, ok := r.m.View().Checkpoint(r.app)
		if n := len(slices.Collect(r.m.View().Pieces(r.app))); ok != want || (n > 0) != want {
			t.Fatalf("checkpoint %t of %d pieces, expected %t", ok, n, want)
		}
	}
	r.done(r.tick())
	c := r.complete()
	r.done(&BatchFailed{App: r.app, Time: c.Time, Office: c.Office, Attempt: c.Attempt, Error: "boom"})
	has(true)
	r.done(&ApplicationStopped{App: r.app, Now: true})
	has(true)
	r.done(&ApplicationEnded{App: r.app})
	has(false)
	if n := len(slices.Collect(r.m.View().PieceInstances(r.app))); n != 0 {
		t.Fatalf("%d offices are left", n)
	}
	r.refused(r.checkpoint(), "application 4 (wc) has ended")
}

// Rule 10: batches that wait for a checkpoint have a limit. Beyond it one goes through now and then, because a checkpoint
// is tried after a batch.
func TestBatchesWithoutCheckpointAreLimited(t *testing.T) {
	r := startKeyed(t)
	for n := range MaxUncheckpointed / 1000 {
		from := r.state().Interval(r.state().Allocated, 1)
		r.done(&BlocksAllocated{App: r.app, From: from, To: r.state().Interval(from, 999), NowMS: int64(n)})
		for range 1000 {
			commands := []Command{r.complete()}
			r.index++
			data, err := Encode(r.term, commands...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.m.Apply(r.index, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	a := r.state()
	if a.Completed != a.Interval(a.ZeroTime, MaxUncheckpointed) {
		t.Fatalf("completed up to %d", a.Completed)
	}
	b, _ := r.m.View().Batch(r.app, a.Completed)
	next := r.tick()
	next.NowMS = b.CompletedMS + UncheckpointedMS - 1
	r.limited(next, "application 4 (wc) would have 10001 batches after its checkpoint of 10000, expected at most 10000")
	if n := r.m.View().Room(a, next.NowMS); n != 0 {
		t.Fatalf("room for %d, expected none", n)
	}
	next.NowMS++
	two := *next
	two.To += 1000
	r.limited(&two, "application 4 (wc) would have 10002 batches after its checkpoint of 10000, expected at most 10000")
	r.done(next)
	r.limited(r.tick(), "application 4 (wc) would have 10002 batches after its checkpoint of 10000, expected at most 10000")
	r.done(r.complete())
	r.done(r.checkpoint(r.piece(1)))
	if n := r.m.View().Room(r.state(), 0); n != MaxPending {
		t.Fatalf("room for %d, expected %d", n, MaxPending)
	}
	r.done(r.tick())
}

// Rules 7 and 8: blocks that a batch gave up are left out by everybody who computes it again, and need no copies.
func TestLostBlocksStayOut(t *testing.T) {
	r := startKeyed(t)
	r.done(r.add(r.block(1), r.block(2)))
	r.done(r.tick())
	r.done(r.add(r.block(3)))
	lose := func(blocks ...id.Block) *BatchCompleted {
		c := r.complete()
		c.Lost, c.LostBlocks = 10, blocks
		return c
	}
	r.refused(lose(r.block(1).ID), "batch 11000 of application 4 (wc): 10 of 20 records lost, accepting loss is false")
	c := lose(r.block(1).ID)
	c.Lost = 0
	r.refused(c, "batch 11000 of application 4 (wc): 0 of 20 records lost, accepting loss is false")
	r.done(&ApplicationResumed{App: r.app, AcceptLoss: true})
	r.refused(lose(r.block(3).ID), fmt.Sprintf("batch 11000 of application 4 (wc): lost block %v is not allocated to a batch up to 11000", r.block(3).ID))
	r.refused(lose(r.block(9).ID), fmt.Sprintf("batch 11000 of application 4 (wc): lost block %v is not allocated to a batch up to 11000", r.block(9).ID))
	stores := r.m.View().StoresVersion(r.app)
	r.done(lose(r.block(1).ID))
	v := r.m.View()
	if v.StoresVersion(r.app) == stores {
		t.Fatal("nobody hears that the order of the next batch, which may have been given, names a block less")
	}
	if in := v.Input(r.app, 11_000, 0); len(in) != 1 || in[0].ID != r.block(2).ID {
		t.Fatalf("input %+v, expected block 2 alone", in)
	}
	var kept []uint64
	for b := range v.Kept(r.app, 0) {
		kept = append(kept, b.ID.Number)
	}
	if !slices.Equal(kept, []uint64{2, 3}) {
		t.Fatalf("blocks that may be read: %v, expected 2 and 3", kept)
	}
	for b := range v.Kept(r.app, 2) {
		kept = append(kept, b.Seq)
	}
	if !slices.Equal(kept, []uint64{2, 3, 3}) {
		t.Fatalf("after the second: %v, expected the third", kept[2:])
	}
	if a := r.state(); a.Processed != 10 || a.Discarded != 10 {
		t.Fatalf("%d processed, %d discarded, expected 10 each", a.Processed, a.Discarded)
	}
}

// Rule 5: the stores of a block are bounded; one that has no session makes room for a new copy.
// A checkpoint whose commit took long may overtake the batch that computes state again from the one before: blocks that
// it gave up may be cleaned when it reports. A refusal would be the end of it, because nobody orders it again.
func TestBlocksThatAreCleanedMayBeGivenUp(t *testing.T) {
	r := startKeyed(t)
	r.batches(3)
	r.done(r.checkpoint(r.piece(1)))
	r.done(&BatchesCleaned{App: r.app, UpTo: 12_000})
	r.done(r.tick())
	r.done(&ApplicationResumed{App: r.app, AcceptLoss: true})
	c := r.complete()
	c.LostBlocks = []id.Block{r.block(4).ID}
	r.refused(c, fmt.Sprintf("batch 14000 of application 4 (wc): lost block %v is not allocated to a batch up to 14000", r.block(4).ID))
	c.LostBlocks = []id.Block{r.block(1).ID, r.block(3).ID}
	r.done(c)
}

func TestStoresOfABlockAtTheirLimit(t *testing.T) {
	r := startRunning(t)
	b := r.block(1)
	for n := range 62 {
		b.Stores = append(b.Stores, id.Store(fmt.Sprint("gone", n)))
	}
	r.done(r.add(b))
	c := r.session("C")
	r.done(&BlocksCopied{Session: c, Blocks: []id.Block{b.ID}})
	got, _ := r.m.View().s.blocks.Block(b.ID)
	if len(got.Stores) != 64 || slices.Contains(got.Stores, "gone0") || !slices.Contains(got.Stores, "C") {
		t.Fatalf("stores %v, expected 64 with C and without gone0", got.Stores)
	}
	r.refused(&BlocksCopied{Session: c, Blocks: make([]id.Block, MaxInventoryPart+1)},
		"number of copied blocks is 100001, expected 0 to 100000")
}

// Rule 15: a broken invariant of keyed state fails its application.
func TestBrokenStateFailsItsApplication(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		damage     func(r *running)
	}{
		{"cleaned too far", "broken invariant: cleaned up to 12000, a rebuild of its state reads what is after 11000", func(r *running) {
			a := *r.state()
			a.Cleaned = 12_000
			r.m.s.putApp(&a)
		}},
		{"another attempt", "broken invariant: a checkpoint of batch 11000 by attempt 77, it is completed by ", func(r *running) {
			c, _ := r.m.View().Checkpoint(r.app)
			v := *c
			v.Attempt = 77
			r.m.s.states.PutCheckpoint(&v)
		}},
		{"of the future", "broken invariant: a checkpoint of batch 99000, completed up to 12000", func(r *running) {
			c, _ := r.m.View().Checkpoint(r.app)
			v := *c
			v.Time = 99_000
			r.m.s.states.PutCheckpoint(&v)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startKeyed(t)
			r.batches(1)
			r.done(r.checkpoint(r.piece(1)))
			r.batches(1)
			tt.damage(r)
			r.done(r.tick())
			if a := r.state(); !a.Broken || !strings.HasPrefix(a.Error, tt.want) {
				t.Fatalf("broken %t, %q, expected %q", a.Broken, a.Error, tt.want)
			}
			last := Event{}
			for e := range r.m.View().Events(r.app, 0) {
				last = e
			}
			if last.Kind != EventApplicationFailed || last.Text != r.state().Error || last.TimeMS == 0 {
				t.Fatalf("last event %+v, expected the failure", last)
			}
		})
	}
}
