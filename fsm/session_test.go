package fsm

import (
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// Rule 1: a leadership opens with an Epoch, and commands of any other term are refused.
func TestCommandsOfAnotherTermAreRefused(t *testing.T) {
	l := &ledger{t: t, m: New(), term: 3}
	r := l.apply(&ClusterNamed{Cluster: "c"})
	if r.Outcome != Refused || !r.Stale || r.Reason != "proposed in term 3, expected 0: that is whose leader was announced last" {
		t.Fatalf("before the first epoch: %+v", r)
	}
	first := l.done(&Epoch{Term: 3, Leader: "a", Name: "n1", NowMS: 1})
	l.done(&ClusterNamed{Cluster: "c"})
	if again := l.done(&Epoch{Term: 3, Leader: "a", Name: "n1", NowMS: 9}); again != first {
		t.Fatalf("repeated epoch took effect at %d, expected %d", again, first)
	}
	l.refused(&Epoch{Term: 3, Leader: "b", Name: "n2"}, "epoch of term 3, expected a higher one than 3 (n1)")
	l.refused(&Epoch{Term: 4, Leader: "b", Name: "n2"}, "epoch of term 4 was proposed in term 3")
	l.term = 4
	second := l.done(&Epoch{Term: 4, Leader: "b", Name: "n2", Addr: "x", NowMS: 10})
	want := Leadership{Epoch: id.Epoch(second), Term: 4, Leader: "b", Name: "n2", Addr: "x", NowMS: 10}
	if got := l.m.View().Leadership(); got != want {
		t.Fatalf("leadership %+v, expected %+v", got, want)
	}
	for _, term := range []uint64{3, 5} {
		l.term = term
		if r := l.apply(submission("wc")); r.Outcome != Refused || !r.Stale {
			t.Fatalf("command of term %d in term 4: %+v", term, r)
		}
	}
	l.term = 3
	l.refused(&Epoch{Term: 3, Leader: "a", Name: "n1"}, "epoch of term 3, expected a higher one than 4 (n2)")
}

// Rule 2: the cluster's id is given once.
func TestClusterIsNamedOnce(t *testing.T) {
	l := startLedger(t)
	l.refused(&ClusterNamed{}, "cluster id is empty")
	l.done(&ClusterNamed{Cluster: "c1"})
	l.done(&ClusterNamed{Cluster: "c1"})
	l.refused(&ClusterNamed{Cluster: "c2"}, `cluster id "c2", expected "c1": it is given once`)
	if got := l.m.View().Cluster(); got != "c1" {
		t.Fatalf("cluster %q", got)
	}
}

// Rule 3: one open session per store; a new start of it ends the old one.
func TestSessionIsNamedByStoreAndGeneration(t *testing.T) {
	l := startLedger(t)
	open := func(gen uint64) *SessionOpened {
		return &SessionOpened{Store: "A", Generation: gen, Name: "n1", Addr: "h:1", Slots: 2, Build: "b", NowMS: 7}
	}
	l.refused(&SessionOpened{Generation: 1}, "store id is empty")
	l.refused(open(0), "generation is 0, expected 1 to 4611686018427387904")
	first := l.done(open(2))
	if again := l.done(open(2)); again != first {
		t.Fatalf("repeated opening: session %d, expected %d", again, first)
	}
	// Rule 2: a data directory that was copied is no second node.
	copied := open(2)
	copied.Addr = "h:2"
	l.refused(copied, "store A, start 2, works at h:1 under session 4, now it comes from h:2: two nodes have one identity")
	long := open(2)
	long.Name = strings.Repeat("x", MaxName+1)
	l.refused(long, "length of the node's name is 257, expected 0 to 256")
	l.refused(open(1), "generation 1 of store A, expected at least 2: a later start of it was seen")
	want := tracker.Session{
		ID: id.Session(first), Store: "A", Generation: 2, Name: "n1", Addr: "h:1", Slots: 2, Build: "b", OpenedMS: 7,
	}
	if got, ok := l.m.View().SessionOf("A"); !ok || *got != want {
		t.Fatalf("session of A: %+v, expected %+v", got, want)
	}
	second := l.done(open(3))
	if _, ok := l.m.View().Session(id.Session(first)); ok || second == first {
		t.Fatalf("the old session is still open: %d and %d", first, second)
	}
	l.done(&SessionClosed{Session: id.Session(second), Reason: "silent", NowMS: 8})
	l.done(&SessionClosed{Session: id.Session(second), Reason: "silent", NowMS: 9})
	if n := len(slices.Collect(l.m.View().Sessions())); n != 0 {
		t.Fatalf("%d sessions are open, expected none", n)
	}
	l.refused(open(2), "generation 2 of store A, expected at least 3: a later start of it was seen")
	if third := l.done(open(3)); third == second {
		t.Fatalf("the closed session %d was opened again, expected a new one", second)
	}
}

// An entry's index names one new session: a second one has to come again.
func TestSecondSessionOfAnEntryComesAgain(t *testing.T) {
	l := startLedger(t)
	a, b := *submission("a"), *submission("b")
	r := l.entry(
		&SessionOpened{Store: "A", Generation: 1, Name: "a"}, &SessionOpened{Store: "B", Generation: 1, Name: "b"}, &a, &b)
	want := []Outcome{Done, Limited, Done, Limited}
	for i, o := range want {
		if r[i].Outcome != o {
			t.Fatalf("result %d of the entry: %+v, expected outcome %d", i, r[i], o)
		}
	}
	if !Grants(&a) || !Grants(&SessionOpened{}) || Grants(&Epoch{}) {
		t.Fatal("Grants does not name sessions and submissions alone")
	}
	l.done(&SessionOpened{Store: "B", Generation: 1, Name: "b"})
	l.done(&b)
	// A session that is closed again has used up its index all the same: nobody else is given its name.
	r = l.entry(&SessionOpened{Store: "A", Generation: 2}, &SessionClosed{Session: id.Session(l.index + 1)},
		&SessionOpened{Store: "B", Generation: 2})
	if r[2].Outcome != Limited {
		t.Fatalf("%+v, expected the index of a closed session not to be granted again", r[2])
	}
	if s, ok := l.m.View().SessionOf("B"); !ok || s.Generation != 1 {
		t.Fatalf("session of B is %+v, expected that a command for later ended nothing", s)
	}
}

// Rule 10: sessions have a limit; stores without a session make room, oldest first.
func TestOpenSessionsAreLimited(t *testing.T) {
	l := startLedger(t)
	store := func(i int) id.Store {
		return id.Store(rune('a'+i/26/26)) + id.Store(rune('a'+i/26%26)) + id.Store(rune('a'+i%26))
	}
	var first uint64
	for i := range tracker.MaxStores {
		n := l.done(&SessionOpened{Store: store(i), Generation: 5})
		if i == 0 {
			first = n
		}
	}
	l.limited(&SessionOpened{Store: "X", Generation: 1}, "not now: 1000 sessions are open, expected less than 1000")
	l.done(&SessionClosed{Session: id.Session(first)})
	l.done(&SessionOpened{Store: "X", Generation: 1})
}

// Rule 3: with its session an executor loses its receivers, instances and offices.
func TestClosingASessionEndsAllThatItMayDo(t *testing.T) {
	r := startRunning(t)
	office := r.coordinator(r.a)
	r.done(r.tick())
	late := r.complete()
	r.done(&SessionClosed{Session: r.a, Reason: "dead", NowMS: 4000})
	rec, _ := r.m.View().Receiver(r.app, 0)
	if rec.State != tracker.Inactive || rec.Since != 4000 {
		t.Fatalf("receiver is %+v, expected inactive since 4000", *rec)
	}
	for in := range r.m.View().Instances(r.app) {
		if !in.Closed {
			t.Fatalf("instance %+v is open", *in)
		}
	}
	if a := r.state(); a.Coordinator != 0 || a.Office != office {
		t.Fatalf("coordinator %d, office %d, expected none and %d", a.Coordinator, a.Office, office)
	}
	r.refused(late, "batch 11000 of application 4 (wc): office 7 has ended")
}

// Rule 5: an inventory tells where copies are, and what may be deleted.
func TestInventoryTellsWhereCopiesAre(t *testing.T) {
	r := startRunning(t)
	r.done(r.add(r.block(1), r.block(2), r.block(3)))
	b := func(n uint64) id.Block { return r.block(n).ID }
	stores := func(n uint64) []id.Store {
		for q := range r.m.View().Queued(r.app, 0) {
			if q.ID.Number == n {
				return q.Stores
			}
		}
		return nil
	}
	c := r.session("C")
	r.refused(&InventoryReported{Session: 99}, "session 99 is not open")
	r.done(&InventoryReported{Session: c, Blocks: []id.Block{b(1)}, First: true, Last: true})
	if got := stores(1); !slices.Equal(got, []id.Store{"A", "B", "C"}) {
		t.Fatalf("block 1 is on %v, expected A, B and C", got)
	}
	// B comes back and holds 1 and 3 only; the parts may be interrupted by a change of the leader.
	again := id.Session(r.done(&SessionOpened{Store: "B", Generation: 2, Name: "nB"}))
	r.done(&InventoryReported{Session: again, Blocks: []id.Block{b(2)}, First: true})
	r.done(&InventoryReported{Session: again, Blocks: []id.Block{b(1)}, First: true})
	r.term = 9
	r.done(&Epoch{Term: 9, Leader: "other"})
	r.done(r.add(r.block(4))) // committed after the session was opened: not judged
	r.done(&InventoryReported{Session: again, Blocks: []id.Block{b(3)}, Last: true})
	for n, want := range map[uint64][]id.Store{1: {"A", "B", "C"}, 2: {"A"}, 3: {"A", "B"}, 4: {"A", "B"}} {
		if got := stores(n); !slices.Equal(got, want) {
			t.Errorf("block %d is on %v, expected %v", n, got, want)
		}
	}
	// The answer to the last part was lost and it comes again: what the parts before it named is not struck off.
	r.done(&InventoryReported{Session: again, Blocks: []id.Block{b(3)}, Last: true})
	if got := stores(1); !slices.Equal(got, []id.Store{"A", "B", "C"}) {
		t.Errorf("after the last part came twice block 1 is on %v, expected A, B and C", got)
	}
}

// Rules 5 and 2: a block the ledger does not know may be deleted only when it can never come to know it.
func TestOnlyBlocksThatCanNeverBeAddedAreDeletable(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	r.done(r.add(r.block(1), r.block(2)))
	for range 3 {
		r.done(r.tick())
		r.done(r.complete())
	}
	r.done(&BatchesCleaned{App: r.app, UpTo: 11_000})
	r.done(r.add(r.block(3)))
	other := id.App(r.done(submission("other")))
	for range 2 {
		r.done(&ApplicationStopped{App: other, Now: true})
		r.done(&ApplicationEnded{App: other})
	}
	named := []id.Block{
		r.block(1).ID, r.block(3).ID, r.block(4).ID, // cleaned, known, in flight
		{App: other, Instance: 9, Number: 1}, // ended
		{App: 3, Instance: 2, Number: 1},     // of an application that is not remembered
		{App: 9999, Instance: 2, Number: 1},  // of no application so far
		{App: r.app, Instance: r.instance + 1, Number: 1},
	}
	check := func(want ...id.Block) {
		t.Helper()
		res := r.apply(&InventoryReported{Session: r.b, Blocks: named, First: true, Last: true})
		if !slices.Equal(res.Missing, want) {
			t.Fatalf("deletable %v, expected %v", res.Missing, want)
		}
	}
	check(named[0], named[3], named[4])
	r.done(&ReceiverDeregistered{App: r.app, Instance: r.instance})
	check(named[0], named[2], named[3], named[4])
}
