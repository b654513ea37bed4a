package fsm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// notAdded reports one block that must not be taken.
func (r *running) notAdded(b AddedBlock, o Outcome, reason string) {
	r.t.Helper()
	r.notAddedBy(r.a, b, o, reason)
}

func (r *running) notAddedBy(s id.Session, b AddedBlock, o Outcome, reason string) {
	r.t.Helper()
	before := r.stateBytes()
	res := r.apply(&BlocksAdded{Session: s, Blocks: []AddedBlock{b}, NowMS: 3000})
	if len(res.Blocks) != 1 || res.Blocks[0].Outcome != o || res.Blocks[0].Reason != reason || res.Outcome != o {
		r.t.Fatalf("block %v: %+v, expected outcome %d, reason\n%q", b.ID, res, o, reason)
	}
	if !slices.Equal(before, r.stateBytes()) {
		r.t.Fatalf("block %v was not taken and changed the state", b.ID)
	}
}

// Rule 1: the grant of a receiver names the instance that it replaces.
func TestReceiverIsGrantedOncePerInstanceReplaced(t *testing.T) {
	l := startLedger(t)
	a, b := l.session("A"), l.session("B")
	app := id.App(l.done(submission("wc")))
	grant := func(s id.Session, prev id.Instance) *ReceiverScheduled {
		return &ReceiverScheduled{App: app, Session: s, Prev: prev, NowMS: 5}
	}
	l.refused(&ReceiverScheduled{App: 99}, "no application 99")
	l.refused(&ReceiverScheduled{App: app, Stream: 7}, "application 4 (wc) has no receiver of stream 7")
	l.refused(grant(99, 0), "session 99 is not open")
	first := id.Instance(l.done(grant(a, 0)))
	if again := l.done(grant(a, 0)); again != uint64(first) {
		t.Fatalf("repeated grant: instance %d, expected %d", again, first)
	}
	lost := fmt.Sprintf("receiver of stream 0 of application 4: instance 0 is to be replaced, the last one is %d", first)
	l.refused(grant(b, 0), lost)
	second := l.done(grant(b, first))
	want := tracker.Receiver{
		App: app, Source: "ingest", State: tracker.Scheduled, Instance: id.Instance(second), Prev: first, Session: b, Since: 5,
	}
	if got, _ := l.m.View().Receiver(app, 0); *got != want {
		t.Fatalf("receiver %+v, expected %+v", *got, want)
	}
}

func TestReceiverRegistersItsCurrentInstance(t *testing.T) {
	l := startLedger(t)
	a, b := l.session("A"), l.session("B")
	app := id.App(l.done(submission("wc")))
	first := id.Instance(l.done(&ReceiverScheduled{App: app, Session: a}))
	reg := func(s id.Session, n id.Instance) *ReceiverRegistered {
		return &ReceiverRegistered{App: app, Instance: n, Session: s, NowMS: 6}
	}
	l.refused(reg(a, 99), "application 4 (wc) has no receiver instance 99 of stream 0")
	l.refused(reg(b, first), fmt.Sprintf("instance %d belongs to session %d, not to %d", first, a, b))
	at := l.done(reg(a, first))
	if again := l.done(reg(a, first)); again != at {
		t.Fatalf("repeated registration at %d, expected %d", again, at)
	}
	if got, _ := l.m.View().Receiver(app, 0); got.State != tracker.Active || got.Since != 6 {
		t.Fatalf("receiver %+v, expected active since 6", *got)
	}
	second := id.Instance(l.done(&ReceiverScheduled{App: app, Session: b, Prev: first}))
	l.refused(reg(a, first), fmt.Sprintf("instance %d is replaced by %d", first, second))
	l.refused(&ReceiverFailed{App: app, Instance: first, Error: "x"},
		fmt.Sprintf("instance %d is not the current one, that is %d", first, second))
	l.refused(&ReceiverFailed{App: app, Stream: 5}, "application 4 has no receiver of stream 5")
	l.done(&ReceiverFailed{App: app, Instance: second, Error: "refused", NowMS: 7})
	l.refused(&ReceiverDeregistered{App: app, Instance: 99}, "application 4 has no receiver instance 99 of stream 0")
	l.done(&ReceiverDeregistered{App: app, Instance: second, Error: "gone", NowMS: 8})
	l.done(&ReceiverDeregistered{App: app, Instance: second, Error: "gone", NowMS: 9})
	l.refused(reg(b, second), fmt.Sprintf("instance %d is closed", second))
	got, _ := l.m.View().Receiver(app, 0)
	if got.State != tracker.Inactive || got.Errors != 2 || got.LastError != "gone" || got.ErrorMS != 8 || got.Since != 8 {
		t.Fatalf("receiver %+v, expected inactive after 2 errors", *got)
	}
}

// Rule 4: blocks come from a registered instance of the reporting session, in order, each once.
func TestBlocksAreTakenInOrderOfNumberOnce(t *testing.T) {
	r := startRunning(t)
	unknown, foreign := r.block(1), r.block(1)
	unknown.ID.Instance, foreign.ID.Stream = 99, 3
	r.notAdded(unknown, Refused, "block 4-0-99-1: no receiver instance 99 of stream 0")
	r.notAdded(foreign, Refused, "block 4-3-5-1: stream 3 has no receiver")
	r.notAdded(r.block(0), Refused, "block 4-0-5-0: number 0, expected 1")
	r.notAdded(r.block(2), Limited, "block 4-0-5-2: not now: number 2, expected 1")
	r.notAddedBy(99, r.block(1), Refused, "session 99 is not open")
	r.notAddedBy(r.b, r.block(1), Refused, fmt.Sprintf("block 4-0-5-1: reported by session %d, instance 5 belongs to session %d", r.b, r.a))
	at := r.done(r.add(r.block(1)))
	res := r.apply(r.add(r.block(1), r.block(2), r.block(4), r.block(3)))
	want := []BlockResult{
		{Outcome: Done, Index: at},
		{Outcome: Done, Index: r.index},
		{Outcome: Limited, Reason: "block 4-0-5-4: not now: number 4, expected 3"},
		{Outcome: Done, Index: r.index},
	}
	if !slices.Equal(res.Blocks, want) || res.Outcome != Limited || res.Reason != want[2].Reason {
		t.Fatalf("%+v, expected %+v", res, want)
	}
	other := r.block(2)
	other.CRC++
	r.notAdded(other, Refused, "block 4-0-5-2: committed with 10 records, 100 bytes, CRC 00000002, reported with 10, 100, 00000003")
	r.notAdded(r.block(2, connector.Range{Partition: "p", First: 1, Last: 5}), Refused,
		"block 4-0-5-2: committed with the ranges [], reported with [{p 1 5}]")
	if a := r.state(); a.Received != 30 || a.Queued != 30 || a.QueuedBytes != 300 {
		t.Fatalf("%+v, expected 30 records queued", a)
	}
}

// Rule 4: an instance starts from positions read after its registration.
func TestUnregisteredInstanceAddsNothing(t *testing.T) {
	r := startRunning(t)
	r.instance = id.Instance(r.done(&ReceiverScheduled{App: r.app, Session: r.a, Prev: r.instance}))
	r.notAdded(r.block(1), Refused, fmt.Sprintf("block %v: instance %d has not registered", r.block(1).ID, r.instance))
}

// Rule 4: an old instance may add what its source cannot send again, until it is closed.
func TestOldInstanceAddsOnlyWhatCannotBeSentAgain(t *testing.T) {
	r := startRunning(t)
	old := r.instance
	now := r.receiver(r.b, old)
	r.done(r.add(r.block(1)))
	r.notAdded(r.block(2, connector.Range{Partition: "p", First: 1, Last: 10}), Refused,
		fmt.Sprintf("block %v: instance %d is replaced by %d, which takes what the source can send again", r.block(2).ID, old, now))
	r.done(r.add(r.block(2)))
	r.done(&ReceiverDeregistered{App: r.app, Instance: old})
	r.notAdded(r.block(3), Refused, fmt.Sprintf("block %v: instance %d is closed after block 2", r.block(3).ID, old))
	r.done(r.add(r.block(2))) // it is known
	if rec, _ := r.m.View().Receiver(r.app, 0); rec.State != tracker.Active || rec.Instance != now {
		t.Fatalf("receiver %+v, expected instance %d active", *rec, now)
	}
}

// Rule 4: ranges start at the high-water mark, at 1 for an unknown producer.
func TestRangesStartWhereCommittedOnesEnd(t *testing.T) {
	r := startRunning(t)
	rg := func(p string, first, last uint64) connector.Range {
		return connector.Range{Partition: p, First: first, Last: last}
	}
	pre := "block " + r.block(1).ID.String() + ": "
	r.notAdded(r.block(1, rg("p", 2, 5)), Refused, pre+`partition "p": records start at position 2, expected 1`)
	r.notAdded(r.block(1, rg("p", 1, 0)), Refused, pre+`partition "p": range 1 to 0 is empty`)
	r.notAdded(r.block(1, rg("", 1, 2)), Refused, pre+"partition name of 0 bytes, expected 1 to 1024")
	r.notAdded(r.block(1, rg("p", 1, 3), rg("p", 3, 5)), Refused, pre+`partition "p": records start at position 3, expected 4`)
	r.done(r.add(r.block(1, rg("p", 1, 3), rg("q\xff", 1, 1), rg("p", 4, 5))))
	pre = "block " + r.block(2).ID.String() + ": "
	r.notAdded(r.block(2, rg("p", 5, 6)), Refused, pre+`partition "p": records start at position 5, expected 6`)
	r.notAdded(r.block(2, rg("p", 7, 8)), Refused, pre+`partition "p": records start at position 7, expected 6`)
	// A new instance goes on where the old one stands.
	r.instance = r.receiver(r.a, r.instance)
	r.done(r.add(r.block(1, rg("p", 6, 8))))
	got := map[string]uint64{}
	for p, last := range r.m.View().Positions(r.app, 0) {
		got[p] = last
	}
	if len(got) != 2 || got["p"] != 8 || got["q\xff"] != 1 {
		t.Fatalf("positions %v, expected p 8 and q 1", got)
	}
}

// Rule 5: copies are on distinct stores with an open session, min(factor, open sessions) of them.
func TestCopiesAreRequiredOnDistinctOpenStores(t *testing.T) {
	r := startRunning(t)
	b := r.block(1)
	pre := "block " + b.ID.String() + ": "
	b.Stores = []id.Store{"A"}
	r.notAdded(b, Limited, pre+"not now: copies on 1 stores with an open session (of 1 named), expected 2")
	b.Stores = []id.Store{"A", "A"}
	r.notAdded(b, Refused, pre+"store A is named twice")
	b.Stores = []id.Store{"A", "Z"}
	r.notAdded(b, Limited, pre+"not now: copies on 1 stores with an open session (of 2 named), expected 2")
	b.Stores = []id.Store{"A", "Z", "B"}
	r.done(r.add(b))
	r.done(&SessionClosed{Session: r.b})
	b = r.block(2)
	b.Stores = []id.Store{"A"}
	r.done(r.add(b)) // one session is open, one copy is required
}

// Rule 10: unallocated bytes have a limit; refusal is for the time being.
func TestQueuedBytesAreLimited(t *testing.T) {
	r := startRunning(t)
	for n := range uint64(4) {
		b := r.block(n + 1)
		b.Bytes = 1 << 30
		r.done(r.add(b))
	}
	r.notAdded(r.block(5), Limited, "block 4-0-5-5: not now: 4294967296 bytes wait for a batch, expected at most 4294967296")
	big := r.block(5)
	big.Bytes = 1<<30 + 1
	r.notAdded(big, Refused, "block 4-0-5-5: 1073741825 bytes, expected 0 to 1073741824")
	big.Bytes, big.Records = 1, -1
	r.notAdded(big, Refused, "block 4-0-5-5: -1 records, expected 0 to 1073741824")
	// Bytes per batch have one too: each of these fills a batch.
	for range 4 {
		r.done(r.tick())
	}
	if a := r.state(); a.QueuedBytes != 0 || a.Pending != 4 || a.PendingRecs != 40 {
		t.Fatalf("%+v, expected four batches of one block each", a)
	}
	for b := range r.m.View().Batches(r.app, 0) {
		if b.Bytes != 1<<30 || len(r.m.View().Input(r.app, b.Time, 0)) != 1 {
			t.Fatalf("batch %+v, expected one block of 1 GiB", *b)
		}
	}
	r.done(r.add(r.block(5)))
}
