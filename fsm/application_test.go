package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

func TestBadSubmissionsAreRefused(t *testing.T) {
	l := startLedger(t)
	for _, c := range []struct {
		change func(*ApplicationSubmitted)
		reason string
	}{
		{func(s *ApplicationSubmitted) { s.Name = "" }, "application name is empty"},
		{func(s *ApplicationSubmitted) { s.Name = strings.Repeat("x", 257) }, "application name has 257 bytes, expected at most 256"},
		{func(s *ApplicationSubmitted) { s.Program = "" }, "program name is empty"},
		{func(s *ApplicationSubmitted) { s.RequestID = strings.Repeat("x", 257) }, "length of the request id is 257, expected 0 to 256"},
		{func(s *ApplicationSubmitted) { s.Params = make([]byte, MaxParams+1) }, "length of the parameters is 1048577, expected 0 to 1048576"},
		{func(s *ApplicationSubmitted) { s.BatchMS = 9 }, "batch interval in milliseconds is 9, expected 10 to 86400000"},
		{func(s *ApplicationSubmitted) { s.BlockMS = 9 }, "block interval in milliseconds is 9, expected 10 to 86400000"},
		{func(s *ApplicationSubmitted) { s.Partitions = 0 }, "number of partitions is 0, expected 1 to 65536"},
		{func(s *ApplicationSubmitted) { s.Factor = 0 }, "replication factor is 0, expected 1 to 16"},
		{func(s *ApplicationSubmitted) { s.Inputs = make([]InputStream, 1001) }, "number of input streams is 1001, expected 0 to 1000"},
		{func(s *ApplicationSubmitted) { s.Inputs = make([]InputStream, 2) }, "input stream 0 is named twice"},
		{func(s *ApplicationSubmitted) { s.NowMS = -1 }, "submission time is -1, expected 0 to 100000000000000"},
		{func(s *ApplicationSubmitted) { s.RememberMS = 100_000_001 }, "remember duration in milliseconds is 100000001, expected 0 to 100000000"},
	} {
		s := submission("wc")
		c.change(s)
		l.refused(s, c.reason)
	}
}

// Rule 2: an application is the index of its submission; names are reused, ids never.
func TestSubmissionIsNamedByItsIndex(t *testing.T) {
	l := startLedger(t)
	s := submission("wc")
	s.RequestID, s.RememberMS = "r1", 0
	n := l.done(s)
	if again := l.done(s); again != n {
		t.Fatalf("repeated request id: application %d, expected %d", again, n)
	}
	other := submission("other")
	other.RequestID = "r1"
	l.refused(other, `request id "r1" was used to submit "wc", now for "other"`)
	l.refused(submission("wc"), fmt.Sprintf(`name "wc" is in use by application %d, which is running`, n))
	a, ok := l.m.View().AppNamed("wc")
	if !ok || a.ID != id.App(n) || a.ZeroTime != 10_000 || a.State != Running || a.RememberMS != 1000 {
		t.Fatalf("application %+v, expected id %d with zero time 10000, remembering one interval", a, n)
	}
	l.refused(&ApplicationEnded{App: 99}, "no application 99")
	l.refused(&ApplicationEnded{App: a.ID}, fmt.Sprintf("application %d (wc) is running, expected stopping", n))
	l.done(&ApplicationStopped{App: a.ID, Now: true, NowMS: 20_000})
	end := l.done(&ApplicationEnded{App: a.ID, NowMS: 20_001})
	if again := l.done(&ApplicationEnded{App: a.ID, NowMS: 20_002}); again != end {
		t.Fatalf("repeated end at %d, expected %d", again, end)
	}
	second := l.done(submission("wc"))
	if a, _ := l.m.View().AppNamed("wc"); uint64(a.ID) != second {
		t.Fatalf("name wc is application %d, expected the newest, %d", a.ID, second)
	}
	if again := l.done(s); again != n {
		t.Fatalf("request id repeated after the end: application %d, expected %d", again, n)
	}
	for app, want := range map[uint64]AppState{n: Stopped, second: Running} {
		if a, _ := l.m.View().App(id.App(app)); a.State != want {
			t.Fatalf("application %d is %v, expected %v", app, a.State, want)
		}
	}
	if n := len(slices.Collect(l.m.View().Apps())); n != 2 {
		t.Fatalf("%d applications, expected 2", n)
	}
}

// Rule 10: names have a limit, and one that has ended makes room.
func TestApplicationsAreLimited(t *testing.T) {
	l := startLedger(t)
	sub := func(i int) *ApplicationSubmitted {
		s := submission(fmt.Sprint("app", i))
		s.RequestID, s.Inputs = fmt.Sprint("r", i), nil
		return s
	}
	first := id.App(l.done(sub(0)))
	for i := 1; i < MaxApps; i++ {
		l.done(sub(i))
	}
	l.limited(sub(MaxApps), "1000 applications are live, expected less than 1000")
	l.done(&ApplicationStopped{App: first, Now: true})
	l.done(&ApplicationEnded{App: first})
	l.done(sub(MaxApps))
	if _, ok := l.m.View().App(first); ok {
		t.Fatal("the application that ended first is still there")
	}
	if _, ok := l.m.View().AppNamed("app0"); ok {
		t.Fatal("the name of a forgotten application is still there")
	}
}

// Rule 10: request ids have a limit; the oldest is forgotten.
func TestRequestIDsAreLimited(t *testing.T) {
	l := startLedger(t)
	s := l.m.s
	for i := range uint64(MaxRequests) {
		s.putRequest(&request{id: fmt.Sprint("r", i), app: id.App(i + 1), name: "x"})
	}
	l.index = MaxRequests + 1
	sub := submission("wc")
	sub.RequestID = "new"
	l.done(sub)
	if _, ok := s.requests.Get("r0"); ok || s.requests.Len() != MaxRequests {
		t.Fatalf("%d request ids, the oldest is kept: %t", s.requests.Len(), ok)
	}
}

// Rule 11: stop is a sequence of commands: draining, last allocation, ended.
func TestGracefulStopProcessesAllThatWasReceived(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	r.done(r.add(r.block(1)))
	stop := r.done(&ApplicationStopped{App: r.app, NowMS: 4000})
	if again := r.done(&ApplicationStopped{App: r.app, NowMS: 4001}); again != stop {
		t.Fatalf("repeated stop at %d, expected %d", again, stop)
	}
	r.done(r.add(r.block(2))) // the receiver drains
	r.done(r.tick())
	last := r.tick()
	last.Last = true
	r.refused(last, "application 4 (wc) has an instance that is not closed: there is no last batch yet")
	r.done(r.add(r.block(3)))
	r.done(&ReceiverDeregistered{App: r.app, Instance: r.instance, Message: "stopped", NowMS: 5000})
	r.refused(&ReceiverScheduled{App: r.app, Session: r.b, Prev: r.instance},
		"application 4 (wc) is stopping: its receivers are not started any more")
	end := &ApplicationEnded{App: r.app, NowMS: 6000}
	r.refused(end, "application 4 (wc) has not got its last batch")
	r.done(last)
	r.refused(r.tick(), "application 4 (wc) has got its last batch")
	r.refused(end, "application 4 (wc) has 2 pending batches, expected 0")
	r.done(r.complete())
	r.done(r.complete())
	r.done(end)
	a := r.state()
	if a.State != Stopped || a.Processed != 30 || a.Discarded != 0 || a.StoppedMS != 6000 {
		t.Fatalf("ended as %+v, expected 30 records processed", a)
	}
	v := r.m.View()
	if v.s.blocks.Len() != 0 || len(slices.Collect(v.Receivers(r.app))) != 0 {
		t.Fatalf("%d records of blocks are left of the ended application", v.s.blocks.Len())
	}
	if b, ok := v.Batch(r.app, 12_000); !ok || b.State != Completed {
		t.Fatalf("the last batch is %+v, expected it kept for display", b)
	}
	r.refused(r.tick(), "application 4 (wc) has ended")
	r.done(&ApplicationStopped{App: r.app})
}

// Rules 10 and 11: the last allocation is the one after which nothing waits; one more is made until then.
func TestLastBatchIsTheOneThatEmptiesTheQueue(t *testing.T) {
	r := startRunning(t)
	for n := range uint64(2) {
		b := r.block(n + 1)
		b.Bytes = 1 << 30
		r.done(r.add(b))
	}
	r.done(&ApplicationStopped{App: r.app})
	r.done(&ReceiverDeregistered{App: r.app, Instance: r.instance})
	for i, want := range []bool{false, true} {
		last := r.tick()
		last.Last = true
		r.done(last)
		if a := r.state(); a.LastGiven != want || a.Pending != i+1 {
			t.Fatalf("after last allocation %d: %+v, expected last given %t", i+1, a, want)
		}
	}
}

// Rule 11: stop --now says what acknowledged data it discards, and lets the running batch complete.
func TestStopAtOnceSaysWhatItDiscards(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	for n := range uint64(3) {
		r.done(r.add(r.block(n + 1)))
		r.done(r.tick())
	}
	r.done(r.add(r.block(4)))
	running := r.complete()
	for range 2 {
		res := r.apply(&ApplicationStopped{App: r.app, Now: true, NowMS: 4000})
		if res.Outcome != Done || res.Reason != "30 acknowledged records discarded" {
			t.Fatalf("stop --now: %+v, expected 30 discarded", res)
		}
	}
	a := r.state()
	if a.State != Stopping || a.Pending != 1 || a.Allocated != 11_000 || a.Queued != 0 {
		t.Fatalf("after stop --now: %+v, expected the oldest batch pending alone", a)
	}
	if rec, _ := r.m.View().Receiver(r.app, 0); rec.State != tracker.Inactive {
		t.Fatalf("receiver is %+v, expected inactive", *rec)
	}
	r.notAdded(r.block(5), Refused, fmt.Sprintf("block %v: instance %d is closed after block 4", r.block(5).ID, r.instance))
	r.done(running)
	r.done(&ApplicationEnded{App: r.app})
	if a := r.state(); a.Processed != 10 || a.Discarded != 30 || a.Received != 40 {
		t.Fatalf("ended as %+v, expected 10 processed and 30 discarded", a)
	}
}

// Rule 11: a failed application is resumed or stopped at once.
func TestFailedApplicationIsResumedOrStoppedAtOnce(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	r.refused(&ApplicationResumed{App: r.app}, "application 4 (wc) is running: there is nothing to resume")
	r.done(r.add(r.block(1)))
	r.done(r.tick())
	first := r.m.View().Attempt(r.app, 11_000)
	c := r.complete()
	fail := &BatchFailed{App: r.app, Time: c.Time, Office: c.Office, Attempt: c.Attempt, Error: "bad\xff input", Tries: 4, NowMS: 5}
	at := r.done(fail)
	if again := r.done(fail); again != at {
		t.Fatalf("repeated failure at %d, expected %d", again, at)
	}
	a := r.state()
	if a.State != Failed || a.Error != "bad\uFFFD input" {
		t.Fatalf("application %+v, expected failed", a)
	}
	r.refused(c, "batch 11000 of application 4 (wc) has failed, it must be resumed first")
	r.refused(r.tick(), "application 4 (wc) has failed: nothing is allocated")
	r.refused(&ApplicationStopped{App: r.app}, "application 4 (wc) has failed (bad\uFFFD input): resume it, or stop it at once")
	resumed := r.done(&ApplicationResumed{App: r.app})
	if again := r.done(&ApplicationResumed{App: r.app}); again != resumed {
		t.Fatalf("repeated resumption at %d, expected %d", again, resumed)
	}
	r.refused(&ApplicationResumed{App: r.app, Prev: resumed}, "application 4 (wc) is running: there is nothing to resume")
	// Rule 1: the resumption is a new attempt, the old one's report comes too late.
	if got := uint64(r.m.View().Attempt(r.app, 11_000)); got != resumed || first >= id.Attempt(resumed) {
		t.Fatalf("attempt %d after %d, expected %d", got, first, resumed)
	}
	r.refused(c, fmt.Sprintf("batch 11000 of application 4 (wc): reported by attempt %d, expected %d", first, resumed))
	if b, _ := r.m.View().Batch(r.app, 11_000); b.State != Allocated || b.Attempts != 2 || b.Error != "" {
		t.Fatalf("batch %+v, expected allocated again for a second attempt", *b)
	}
	c = r.complete()
	r.done(&BatchFailed{App: r.app, Time: c.Time, Office: c.Office, Attempt: c.Attempt, Error: "again"})
	res := r.apply(&ApplicationStopped{App: r.app, Now: true})
	if res.Reason != "10 acknowledged records discarded" || r.state().Pending != 0 {
		t.Fatalf("stop --now of the failed application: %+v, %+v", res, r.state())
	}
	r.done(&ApplicationEnded{App: r.app})
}

// A batch that fails after a stop at once is given up with the rest: nothing is left to resume, and the application ends.
func TestBatchThatFailsAfterAStopAtOnceIsGivenUp(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	r.done(r.add(r.block(1)))
	r.done(r.tick())
	c := r.complete()
	r.done(&ApplicationStopped{App: r.app, Now: true})
	if a := r.state(); a.Pending != 1 || a.Discarded != 0 {
		t.Fatalf("application %+v, expected the batch that runs to be kept", a)
	}
	failed := &BatchFailed{App: r.app, Time: c.Time, Office: c.Office, Attempt: c.Attempt, Error: "boom"}
	r.done(failed)
	if a := r.state(); a.State != Stopping || a.Pending != 0 || a.Discarded != 10 || a.Error != "boom" {
		t.Fatalf("application %+v, expected it to stop without the batch", a)
	}
	if res := r.apply(failed); res.Outcome != Refused {
		t.Fatalf("the same report again: %+v, expected a refusal", res)
	}
	r.done(&ApplicationEnded{App: r.app})
}

// Rule 8: input that is gone is given up by a command only, and what was lost is recorded.
func TestLossIsAcceptedByCommandAlone(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	r.done(r.add(r.block(1)))
	r.done(r.tick())
	r.done(r.tick())
	c := r.complete()
	c.Lost = 4
	r.refused(c, "batch 11000 of application 4 (wc): 4 of 10 records lost, accepting loss is false")
	n := r.done(&ApplicationResumed{App: r.app, AcceptLoss: true})
	if again := r.done(&ApplicationResumed{App: r.app, AcceptLoss: true}); again != n {
		t.Fatalf("repeated resumption at %d, expected %d", again, n)
	}
	c = r.complete()
	c.Lost = 11
	r.refused(c, "batch 11000 of application 4 (wc): 11 of 10 records lost, accepting loss is true")
	c.Lost = 4
	r.done(c)
	// The command may come again, because its outcome was unknown to who gave it: it is not about the next batch.
	if again := r.done(&ApplicationResumed{App: r.app, AcceptLoss: true}); again != n {
		t.Fatalf("resumption that is repeated after its batch: index %d, expected %d", again, n)
	}
	if a := r.state(); a.Processed != 6 || a.Discarded != 4 || a.AcceptLoss {
		t.Fatalf("%+v, expected 6 processed, 4 discarded, and the next batch complete or nothing", a)
	}
	r.refused(&ApplicationResumed{App: r.app}, fmt.Sprintf(
		"application 4 (wc) was resumed at index %d, after 0: look whether it must be again", n))
	if next := r.done(&ApplicationResumed{App: r.app, Prev: n, AcceptLoss: true}); next == n || !r.state().AcceptLoss {
		t.Fatalf("%+v, expected the next batch's loss to be accepted by a command of its own", r.state())
	}
}

// Rule 15: a broken invariant of one application fails that application.
func TestBrokenInvariantFailsItsApplicationAlone(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	other := id.App(r.done(submission("other")))
	v := *r.state()
	v.Received++
	r.m.s.putApp(&v)
	data, err := Encode(r.term, r.tick())
	if err != nil {
		t.Fatal(err)
	}
	r.index++
	if _, err := r.m.Apply(r.index, data); err != nil {
		t.Fatalf("a broken application stops the node: %v", err)
	}
	a := r.state()
	want := "broken invariant: 1 records received, 0 accounted for (processed 0, discarded 0, queued 0, pending 0)"
	if a.State != Failed || !a.Broken || a.Error != want {
		t.Fatalf("application is %v: %q, expected failed: %q", a.State, a.Error, want)
	}
	r.refused(&ApplicationResumed{App: r.app}, "application 4 (wc) cannot be resumed, only stopped at once: "+want)
	if o, _ := r.m.View().App(other); o.State != Running {
		t.Fatalf("the other application is %v, expected running", o.State)
	}
	r.done(&ApplicationStopped{App: r.app, Now: true})
	r.done(&ApplicationEnded{App: r.app})
}

// A broken application can be got rid of whatever its counts say.
func TestBrokenApplicationEndsAfterAStopAtOnce(t *testing.T) {
	for name, breaks := range map[string]func(*App){
		"too many pending": func(a *App) { a.Pending += 3 },
		"too few pending":  func(a *App) { a.Pending-- },
		"allocated ahead":  func(a *App) { a.Allocated = a.Interval(a.Allocated, 5) },
		"lost records":     func(a *App) { a.PendingRecs = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			r := startRunning(t)
			r.coordinator(r.b)
			r.done(r.add(r.block(1)))
			r.done(r.tick())
			v := *r.state()
			breaks(&v)
			tx := &tx{state: r.m.s}
			tx.set(&v)
			tx.audit(r.app)
			r.m.view = View{}
			if a := r.state(); !a.Broken {
				t.Fatalf("%+v, expected it to be found broken", a)
			}
			r.done(&ApplicationStopped{App: r.app, Now: true})
			r.done(&ApplicationEnded{App: r.app})
		})
	}
}

// Rule 11: a stop at once ends also where nobody can run the application's batches any more.
func TestStopAtOnceDropsTheOldestBatchIfNobodyRunsIt(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	r.done(r.add(r.block(1)))
	r.done(r.tick())
	late := r.complete()
	if res := r.apply(&ApplicationStopped{App: r.app, Now: true}); res.Reason != "0 acknowledged records discarded" {
		t.Fatalf("%+v, expected the batch that runs to be kept", res)
	}
	r.done(&SessionClosed{Session: r.b}) // whoever ran it is gone, and nobody takes the office
	r.refused(&ApplicationEnded{App: r.app}, "application 4 (wc) has 1 pending batches, expected 0")
	if res := r.apply(&ApplicationStopped{App: r.app, Now: true}); res.Reason != "10 acknowledged records discarded" {
		t.Fatalf("%+v, expected its records to be named", res)
	}
	r.refused(late, "batch 11000 of application 4 (wc): it is not allocated")
	r.done(&ApplicationEnded{App: r.app})
}
