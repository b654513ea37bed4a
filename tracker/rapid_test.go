package tracker

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/id"
)

// registry is the tracker written down as lists, with the State that must agree with it.
type registry struct {
	t         *rapid.T
	s         *State
	index     uint64
	sessions  []*Session // ever opened
	open      map[id.Session]bool
	highest   map[id.Store]uint64    // generation seen
	receivers map[id.Stream]Receiver // of one application
}

// A session is granted once, to the newest start of its store; an instance belongs to an open session and ends with it;
// repetitions, orders out of turn and restored states change nothing of that (rules 1 and 3).
func TestSessionsAndReceiversAgreeWithLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &registry{
			t: t, s: NewState(), index: 10, open: map[id.Session]bool{}, highest: map[id.Store]uint64{},
			receivers: map[id.Stream]Receiver{},
		}
		for stream := range id.Stream(3) {
			v := Receiver{App: 1, Stream: stream, State: Inactive}
			r.s.PutReceiver(&v)
			r.receivers[stream] = v
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			r.index++
			r.step(rapid.SampledFrom([]string{"open", "open", "close", "schedule", "schedule", "activate", "stop", "fail", "restore", "copy"}).Draw(t, "step"))
			r.compare()
		}
	})
}

func (r *registry) step(what string) {
	stream := id.Stream(rapid.IntRange(0, 2).Draw(r.t, "stream"))
	known, ok := r.s.Receiver(1, stream)
	if !ok {
		r.t.Fatalf("receiver of stream %d is gone", stream)
	}
	v := r.receivers[stream]
	switch what {
	case "open":
		r.openSession()
	case "close":
		if len(r.sessions) > 0 {
			r.close(rapid.SampledFrom(r.sessions).Draw(r.t, "session").ID)
		}
	case "schedule":
		r.schedule(known, v)
		return
	case "activate":
		r.s.Activate(known, int64(r.index))
		v.State, v.Since = Active, int64(r.index)
	case "stop":
		text := rapid.SampledFrom([]string{"", "boom"}).Draw(r.t, "error")
		r.s.Deactivate(known, text, int64(r.index))
		v.State, v.Since = Inactive, int64(r.index)
		if text != "" {
			v.LastError, v.ErrorMS, v.Errors = text, int64(r.index), v.Errors+1
		}
	case "fail":
		r.s.Fail(known, "bang", int64(r.index))
		v.LastError, v.ErrorMS, v.Errors = "bang", int64(r.index), v.Errors+1
	case "restore":
		r.restore()
	case "copy": // a picture does not change with what comes after
		picture, held := r.s.Copy(), dump(r.s)
		r.openSession()
		if now := dump(picture); now != held {
			r.t.Fatalf("a copy changed from\n%s\nto\n%s", held, now)
		}
	}
	if what == "activate" || what == "stop" || what == "fail" {
		r.receivers[stream] = v
	}
}

func (r *registry) openSession() {
	n := &Session{
		ID: id.Session(r.index), Store: rapid.SampledFrom([]id.Store{"A", "B", "C"}).Draw(r.t, "store"),
		Generation: rapid.Uint64Range(1, 5).Draw(r.t, "generation"), Slots: 1,
	}
	if len(r.sessions) > 0 && rapid.IntRange(0, 9).Draw(r.t, "id is used") == 9 {
		n.ID = rapid.SampledFrom(r.sessions).Draw(r.t, "used").ID
	}
	err := r.s.CheckSession(n)
	switch used := slices.ContainsFunc(r.sessions, func(o *Session) bool { return o.ID >= n.ID }); {
	case n.Generation < r.highest[n.Store]:
		if err == nil || errors.Is(err, ErrLimit) {
			r.t.Fatalf("start %d of store %s is answered %v, start %d was seen", n.Generation, n.Store, err, r.highest[n.Store])
		}
		return
	case used:
		if !errors.Is(err, ErrLimit) {
			r.t.Fatalf("session %d is used and answered %v", n.ID, err)
		}
		return
	case err != nil:
		r.t.Fatalf("session %+v: %v", *n, err)
	}
	if old, ok := r.s.SessionOf(n.Store); ok {
		r.close(old.ID)
	}
	r.s.OpenSession(n)
	r.sessions, r.open[n.ID], r.highest[n.Store] = append(r.sessions, n), true, n.Generation
}

// close ends a session, twice: the second time nothing happens.
func (r *registry) close(n id.Session) {
	if closed := r.s.CloseSession(n, int64(r.index)); closed != r.open[n] {
		r.t.Fatalf("session %d was closed: %t, expected %t", n, closed, r.open[n])
	}
	if r.open[n] {
		for stream, v := range r.receivers {
			if v.Session == n && v.State != Inactive {
				v.State, v.Since = Inactive, int64(r.index)
				r.receivers[stream] = v
			}
		}
	}
	delete(r.open, n)
	if before := dump(r.s); r.s.CloseSession(n, 99) || dump(r.s) != before {
		r.t.Fatalf("session %d was closed a second time", n)
	}
}

func (r *registry) schedule(known *Receiver, v Receiver) {
	if len(r.open) == 0 {
		return
	}
	var sessions []id.Session
	for s := range r.s.Sessions() {
		sessions = append(sessions, s.ID)
	}
	session := rapid.SampledFrom(sessions).Draw(r.t, "session")
	prev := v.Instance
	if rapid.IntRange(0, 3).Draw(r.t, "out of turn") == 3 {
		prev = v.Prev
	}
	grant := id.Instance(r.index)
	if again, ok := Granted(known, session, prev); ok { // the grant that was made before
		if again != v.Instance || v.Prev != prev || v.Session != session {
			r.t.Fatalf("instance %d was granted after %d to %d, the receiver is %+v", again, prev, session, v)
		}
		return
	}
	err := r.s.Schedule(known, session, prev, grant, int64(r.index))
	if (err == nil) != (prev == v.Instance) {
		r.t.Fatalf("instance %d after %d: %v, the last one is %d", grant, prev, err, v.Instance)
	}
	if err == nil {
		v.State, v.Instance, v.Prev, v.Session, v.Since = Scheduled, grant, prev, session, int64(r.index)
		r.receivers[v.Stream] = v
	}
}

func (r *registry) restore() {
	old := r.s
	r.s = NewState()
	for v := range old.Stores() {
		r.s.PutStore(v)
	}
	for v := range old.Sessions() {
		r.s.PutSession(v)
	}
	for v := range old.AllReceivers() {
		r.s.PutReceiver(v)
	}
	if a, b := dump(old), dump(r.s); a != b {
		r.t.Fatalf("restored from\n%s\nto\n%s", a, b)
	}
}

func (r *registry) compare() {
	if r.s.Open() != len(r.open) {
		r.t.Fatalf("%d sessions are open, expected %d", r.s.Open(), len(r.open))
	}
	for _, n := range r.sessions {
		got, ok := r.s.Session(n.ID)
		of, found := r.s.SessionOf(n.Store)
		if ok != r.open[n.ID] || ok && (*got != *n || !found || of.ID != n.ID) {
			r.t.Fatalf("session %+v: %+v, %t; of its store: %+v", *n, got, ok, of)
		}
	}
	for stream, want := range r.receivers {
		if got, ok := r.s.Receiver(1, stream); !ok || *got != want {
			r.t.Fatalf("receiver %+v, expected %+v", got, want)
		}
	}
	r.comparePolicy()
}

// comparePolicy holds the scheduling against what it is for: every receiver has a place, at a session that is open, and no
// executor has two receivers more than another.
func (r *registry) comparePolicy() {
	executors := slices.Collect(r.s.Sessions())
	all := slices.Collect(r.s.AllReceivers())
	load := map[id.Session]int{}
	for i, of := range ScheduleReceivers(all, executors) {
		if (len(of) > 0) != (len(executors) > 0) {
			r.t.Fatalf("receiver %+v has the candidates %v of %d executors", *all[i], of, len(executors))
		}
		if len(of) > 0 {
			load[of[0].Session]++
		}
	}
	for _, e := range executors {
		for _, o := range executors {
			if load[e.ID] > load[o.ID]+1 {
				r.t.Fatalf("executor %d is to get %d receivers, executor %d gets %d", e.ID, load[e.ID], o.ID, load[o.ID])
			}
		}
	}
	for _, v := range all {
		for _, c := range RescheduleReceiver(v, all, executors) {
			if _, open := r.s.Session(c.Session); !open {
				r.t.Fatalf("receiver %+v is to go to session %d, which is not open", *v, c.Session)
			}
		}
	}
}

// dump tells everything that a State holds.
func dump(s *State) (text string) {
	for v := range s.Stores() {
		text += fmt.Sprintf("%+v\n", *v)
	}
	for v := range s.Sessions() {
		text += fmt.Sprintf("%+v\n", *v)
	}
	for v := range s.AllReceivers() {
		text += fmt.Sprintf("%+v\n", *v)
	}
	return text
}
