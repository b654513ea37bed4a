package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
)

// story drives an application through what events tell of.
func story(t *testing.T) *running {
	t.Helper()
	r := startKeyed(t)
	r.done(&ClusterNamed{Cluster: "c"})
	r.done(&ClusterNamed{Cluster: "c"})
	r.done(&ReceiverFailed{App: r.app, Instance: r.instance, Error: "refused"})
	r.batches(1)
	r.done(r.checkpoint(r.piece(1)))
	r.done(r.checkpoint(r.piece(1))) // again
	r.batches(1)
	more := r.checkpoint(r.piece(2))
	more.Full, more.Since = false, 11_000
	r.done(more)
	r.done(r.tick())
	r.done(&SessionClosed{Session: r.a, Reason: "silent", NowMS: 5000})
	r.done(&SessionClosed{Session: r.a, Reason: "silent", NowMS: 5000})
	r.coordinator(r.b)
	r.instance = r.receiver(r.b, r.instance)
	r.done(r.complete())
	r.done(&BlocksAdded{Session: r.b, Blocks: []AddedBlock{r.block(1)}})
	r.done(r.tick())
	c := r.complete()
	r.done(&BatchFailed{App: r.app, Time: c.Time, Office: c.Office, Attempt: c.Attempt, Error: "boom"})
	r.done(&ApplicationResumed{App: r.app, Prev: r.state().Resumed, AcceptLoss: true})
	c = r.complete()
	c.Lost, c.LostBlocks = 10, []id.Block{r.block(1).ID}
	r.done(c)
	r.done(&ApplicationStopped{App: r.app})
	r.done(&ReceiverDeregistered{App: r.app, Instance: r.instance, Message: "asked to"})
	r.done(&ApplicationStopped{App: r.app, Now: true})
	r.done(&ApplicationEnded{App: r.app})
	r.session("C")
	r.done(&SessionOpened{Store: "C", Generation: 2, Name: "nC", Addr: "127.0.0.1:2"})
	return r
}

func TestEventsTellWhatHappenedOnce(t *testing.T) {
	r := story(t)
	var got []string
	for e := range r.m.View().Events(0, 0) {
		mark := ""
		if e.Warning {
			mark = "! "
		}
		got = append(got, fmt.Sprintf("%s%s%s: %s", mark, e.Name, e.Kind, e.Text))
	}
	want := []string{
		"leader changed: n1 leads in term 3",
		"session opened: nA at 127.0.0.1:1, store A, session 2",
		"session opened: nB at 127.0.0.1:1, store B, session 3",
		"wcapplication submitted: program wordcount, a batch every 1000 ms",
		"wcreceiver scheduled: stream 0 on nA, instance 5",
		"wcreceiver active: stream 0 on nA, instance 5",
		"wccoordinator assigned: nA, office 7",
		"cluster named: c",
		"! wcreceiver failed: stream 0 on nA, instance 5: refused",
		"wcstate checkpointed: after batch 11000, 100 bytes in 1 pieces",
		"! session closed: nA, session 2: silent",
		"! wcreceiver stopped: stream 0 on session 2, instance 5: its session has ended",
		"wccoordinator assigned: nB, office 23",
		"wcreceiver scheduled: stream 0 on nB, instance 24",
		"wcreceiver active: stream 0 on nB, instance 24",
		"! wcbatch repeated: batch 13000 was completed after 2 attempts",
		"! wcbatch failed: batch 14000: boom",
		"! wcapplication failed: boom",
		"! wcapplication resumed: accepting loss",
		"! wcbatch repeated: batch 14000 was completed after 2 attempts",
		"! wcblocks lost: batch 14000: 1 blocks of 10 records are given up",
		"wcapplication stopping: ",
		"wcreceiver stopped: stream 0 on nB, instance 24: asked to",
		"! wcapplication stopped at once: 10 acknowledged records discarded",
		"wcapplication ended: 20 records processed, 10 discarded",
		"session opened: nC at 127.0.0.1:1, store C, session 36",
		"! session closed: nC, session 36: the node has started again",
		"session opened: nC at 127.0.0.1:2, store C, session 37",
	}
	if !slices.Equal(got, want) {
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("event %d of %q", i, got[min(i, len(got)-1):])
			}
		}
	}
	for e := range r.m.View().Events(r.app, 0) {
		if e.App != r.app {
			t.Fatalf("event %+v is not the application's", e)
		}
	}
}

// Invariant 11 for what is derived: every node that applied the same entries has the same events of them, and a view's
// events never change.
func TestEventsAreTheSameOnEveryNode(t *testing.T) {
	r := startKeyed(t)
	var log [][]byte
	apply := func(m *Machine, index uint64, data []byte) {
		t.Helper()
		if _, err := m.Apply(index, data); err != nil {
			t.Fatal(err)
		}
	}
	other, restored := New(), New()
	for i := range 200 {
		data, err := Encode(3, &SessionOpened{Store: id.Store(fmt.Sprint("s", i%7)), Generation: uint64(i + 1), NowMS: int64(i)},
			&ReceiverFailed{App: r.app, Instance: r.instance, Error: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, data)
	}
	base := r.index
	var buf bytes.Buffer
	if err := r.m.View().WriteSnapshot(&buf); err != nil {
		t.Fatal(err)
	}
	if err := other.Restore(bytes.NewReader(buf.Bytes())); err != nil {
		t.Fatal(err)
	}
	for i, data := range log {
		apply(other, base+uint64(i)+1, data)
		if i == 99 {
			var half bytes.Buffer
			if err := other.View().WriteSnapshot(&half); err != nil {
				t.Fatal(err)
			}
			if err := restored.Restore(&half); err != nil {
				t.Fatal(err)
			}
		}
		if i > 99 {
			apply(restored, base+uint64(i)+1, data)
		}
	}
	before := r.m.View()
	was := len(slices.Collect(before.Events(0, 0)))
	for i, data := range log {
		apply(r.m, base+uint64(i)+1, data)
	}
	if n := len(slices.Collect(before.Events(0, 0))); n != was {
		t.Fatalf("a view has %d events, expected the %d that it had", n, was)
	}
	all := slices.Collect(r.m.View().Events(0, base))
	if len(all) < 300 || !slices.Equal(all, slices.Collect(other.View().Events(0, 0))) {
		t.Fatalf("%d events differ between nodes", len(all))
	}
	if !slices.Equal(slices.Collect(r.m.View().Events(0, base+100)), slices.Collect(restored.View().Events(0, 0))) {
		t.Fatal("events after a snapshot differ")
	}
	if r.m.View().Hash() != restored.View().Hash() {
		t.Fatal("events are in the hash")
	}
	if n := len(slices.Collect(r.m.View().Events(0, 1<<64-1))); n != 0 {
		t.Fatalf("%d events after everything", n)
	}
}

// Rule 10: a node keeps so many events, the newest.
func TestEventsAreBounded(t *testing.T) {
	r := startRunning(t)
	for i := range MaxEvents + 50 {
		r.index++
		data, err := Encode(r.term, &ReceiverFailed{App: r.app, Instance: r.instance, Error: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.m.Apply(r.index, data); err != nil {
			t.Fatal(err)
		}
	}
	all := slices.Collect(r.m.View().Events(0, 0))
	if len(all) != MaxEvents || all[len(all)-1].Index != r.index || all[0].Index != r.index-MaxEvents+1 {
		t.Fatalf("%d events from index %d to %d, expected the last %d", len(all), all[0].Index, all[len(all)-1].Index, MaxEvents)
	}
}

// A broken invariant has no time of its own, and a node that began with a snapshot knows no event before it: it tells the
// same all the same.
func TestBrokenInvariantIsToldAlikeOnEveryNode(t *testing.T) {
	r := startKeyed(t)
	r.batches(1)
	r.done(&SessionOpened{Store: "late", Generation: 1, Addr: "127.0.0.1:9", NowMS: 99_000})
	var buf bytes.Buffer
	if err := r.m.View().WriteSnapshot(&buf); err != nil {
		t.Fatal(err)
	}
	other := New()
	if err := other.Restore(&buf); err != nil {
		t.Fatal(err)
	}
	tick := r.tick()
	base := r.index
	for _, m := range []*Machine{r.m, other} {
		a, _ := m.s.app(r.app)
		v := *a
		v.Received++
		m.s.putApp(&v)
		data, err := Encode(r.term, tick)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Apply(base+1, data); err != nil {
			t.Fatal(err)
		}
	}
	here, there := slices.Collect(r.m.View().Events(r.app, base)), slices.Collect(other.View().Events(r.app, base))
	if len(here) != 1 || !slices.Equal(here, there) {
		t.Fatalf("%+v here, %+v there", here, there)
	}
}
