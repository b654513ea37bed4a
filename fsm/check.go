package fsm

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// audit checks what a command left of an application it touched, in constant time. A broken invariant fails that
// application and not the node (rule 15).
func (t *tx) audit(n id.App) {
	a, ok := t.app(n)
	if !ok || a.Broken {
		return
	}
	if err := t.auditApp(a); err != nil {
		v := *a
		v.State, v.Broken, v.Error = Failed, true, "broken invariant: "+err.Error()
		t.putApp(&v)
		t.warnBroken(&v)
	}
}

func (s *state) auditApp(a *App) error {
	if a.Cleaned > a.Completed || a.Completed > a.Allocated || a.ZeroTime > a.Cleaned {
		return fmt.Errorf("zero time %d, cleaned %d, completed %d, allocated %d are not in order",
			a.ZeroTime, a.Cleaned, a.Completed, a.Allocated)
	}
	if want := a.Interval(a.Completed, int64(a.Pending)); a.Pending < 0 || want != a.Allocated {
		return fmt.Errorf("allocated up to %d, expected %d: %d pending after %d", a.Allocated, want, a.Pending, a.Completed)
	}
	if sum := a.Processed + a.Discarded + a.Queued + a.PendingRecs; sum != a.Received {
		return fmt.Errorf("%d records received, %d accounted for (processed %d, discarded %d, queued %d, pending %d)",
			a.Received, sum, a.Processed, a.Discarded, a.Queued, a.PendingRecs)
	}
	if err := s.auditState(a); err != nil {
		return err
	}
	if q, ok := s.blocks.Queue(a.ID); ok && (q.Records != a.Queued || q.Bytes != a.QueuedBytes) {
		return fmt.Errorf("%d records of %d bytes queued, expected %d of %d", a.Queued, a.QueuedBytes, q.Records, q.Bytes)
	} else if ok != a.Live() {
		return fmt.Errorf("it is %v and its queue's presence is %t", a.State, ok)
	}
	return nil
}

// auditState is rule 7: what a rebuild from the checkpoint reads is there.
func (s *state) auditState(a *App) error {
	c, ok := s.states.Checkpoint(a.ID)
	if !ok && (len(a.States) == 0 || !a.Live()) {
		return nil
	}
	switch most := s.rebuilt(a); {
	case len(a.States) == 0 || !a.Live():
		return fmt.Errorf("a checkpoint of batch %d, and it has %d streams with keyed state and is %v", c.Time, len(a.States), a.State)
	case a.Cleaned > max(most, a.ZeroTime):
		return fmt.Errorf("cleaned up to %d, a rebuild of its state reads what is after %d", a.Cleaned, most)
	case ok && (c.Time > a.Completed || !a.onGrid(c.Time)):
		return fmt.Errorf("a checkpoint of batch %d, completed up to %d", c.Time, a.Completed)
	}
	if b, kept := s.batch(a.ID, s.checkpointed(a)); ok && kept && (b.State != Completed || b.Attempt != c.Attempt) {
		return fmt.Errorf("a checkpoint of batch %d by attempt %d, it is %v by %d", c.Time, c.Attempt, b.State, b.Attempt)
	}
	return nil
}

// check verifies everything that must hold; it takes time in proportion to the state.
func (s *state) check() error {
	if err := s.blocks.Check(); err != nil {
		return err
	}
	if err := s.states.Check(); err != nil {
		return err
	}
	for a := range (View{s: s}).Apps() {
		if err := s.checkApp(a); err != nil && !a.Broken {
			return fmt.Errorf("application %d (%s): %w", a.ID, a.Name, err)
		}
	}
	if a, b := s.requests.Len(), s.asked.Len(); a != b || a > MaxRequests {
		return fmt.Errorf("%d request ids, %d by age, expected at most %d", a, b, MaxRequests)
	}
	return s.checkReceivers()
}

func (s *state) checkApp(a *App) error {
	if err := s.auditApp(a); err != nil {
		return err
	}
	var pending, failed int
	var records int64
	next := a.Completed
	for b := range (View{s: s}).Batches(a.ID, minTime) {
		if (b.Time-a.ZeroTime)%id.Time(a.BatchMS) != 0 {
			return fmt.Errorf("batch %d is not a multiple of the interval after zero time", b.Time)
		}
		if (b.State == Completed) != (b.Time <= a.Completed) {
			return fmt.Errorf("batch %d is %v, completed up to %d", b.Time, b.State, a.Completed)
		}
		if b.State == Completed {
			continue
		}
		if next = a.Interval(next, 1); b.Time != next {
			return fmt.Errorf("pending batch %d, expected %d", b.Time, next)
		}
		if b.State == BatchFailedState {
			failed++
		}
		pending++
		records += b.Records
	}
	if pending != a.Pending || records != a.PendingRecs {
		return fmt.Errorf("%d pending batches of %d records, expected %d of %d", pending, records, a.Pending, a.PendingRecs)
	}
	if failed > 0 && a.State != Failed {
		return fmt.Errorf("%d failed batches, it is %v", failed, a.State)
	}
	if _, open := s.blocks.OpenInstanceOf(a.ID); open && a.LastGiven {
		return fmt.Errorf("the last batch is allocated and an instance is open")
	}
	if _, ok := s.tracker.Session(a.Coordinator); a.Coordinator != 0 && !ok {
		return fmt.Errorf("coordinator's session %d is not open", a.Coordinator)
	}
	return nil
}

// checkReceivers is rules 3 and 4: an instance that may act belongs to an open session.
func (s *state) checkReceivers() error {
	for r := range s.tracker.AllReceivers() {
		if a, ok := s.app(r.App); !ok || !a.Live() {
			return fmt.Errorf("receiver of stream %d of application %d, which is not live", r.Stream, r.App)
		}
		in, ok := s.blocks.Instance(r.App, r.Stream, r.Instance)
		active := r.State != tracker.Inactive
		if active && (!ok || in.Closed || in.Session != r.Session) {
			return fmt.Errorf("receiver %+v has instance %+v", *r, in)
		}
		if !active && ok && !in.Closed {
			return fmt.Errorf("inactive receiver %+v has an open instance", *r)
		}
	}
	for in := range s.blocks.AllInstances() {
		if _, ok := s.tracker.Session(in.Session); !in.Closed && !ok {
			return fmt.Errorf("instance %d of stream %d of application %d is open, its session %d is not",
				in.ID, in.Stream, in.App, in.Session)
		}
	}
	return nil
}
