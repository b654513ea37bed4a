package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/receiver"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

func TestRecordsComeIntoOneBlockPerIntervalInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			for i := range 10 { // one record every 100 ms: two in each block of 200 ms
				time.Sleep(99 * time.Millisecond)
				if _, err := in.Add(ctx, lines("", 0, fmt.Sprint(i))); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			<-ctx.Done()
			return nil
		})))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := l.got(); strings.Join(got, "") != "0123456789" || l.blocks() != 5 {
			t.Errorf("%q in %d blocks, want ten records in 5", got, l.blocks())
		}
		if st := s.Status(); st.State != receiver.Running || st.Blocks != 5 || st.Records != 10 || st.Bytes != 20 {
			t.Errorf("status %+v", st)
		}
		s.Stop(true)
		must(t, wait())
		if !slices.Equal(l.events, []string{"started", "stopped"}) || l.blocks() != 5 {
			t.Errorf("events %v with %d blocks: an empty buffer makes no block", l.events, l.blocks())
		}
	})
}

// Invariant 1: a receipt is good only when its block is synced on all its stores and committed.
func TestReceiptWaitsForSyncAndCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		l.onStore = func(ctx context.Context, _ job.BlockData) error { time.Sleep(3 * time.Second); return nil }
		l.onReport = func(ctx context.Context, b job.BlockReport) (job.BlockReply, error, bool) {
			time.Sleep(4 * time.Second)
			return job.BlockReply{}, nil, false
		}
		receipts := make(chan connector.Receipt, 1)
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			r, err := in.Add(ctx, lines("p", 1, "a", "b"))
			receipts <- r
			return errors.Join(err, idle(ctx, in))
		})))
		r := <-receipts
		for _, step := range []struct {
			after time.Duration
			known bool
		}{{199 * time.Millisecond, false}, {3 * time.Second, false}, {4 * time.Second, false}, {2 * time.Millisecond, true}} {
			time.Sleep(step.after)
			synctest.Wait()
			if known, _, _ := settled(r); known != step.known {
				t.Fatalf("receipt known: %t, want %t (committed: %v)", known, step.known, l.committed)
			}
		}
		if _, index, err := settled(r); err != nil || index != 102 {
			t.Errorf("receipt: index %d, %v; want that of the commit", index, err)
		}
		s.Stop(true)
		must(t, wait())
	})
}

// Rule 4: blocks are reported in order of their numbers although they are stored in parallel, at most four at a time.
func TestBlocksAreStoredInParallelAndReportedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		l.onStore = func(ctx context.Context, d job.BlockData) error {
			time.Sleep(time.Duration(10-d.ID.Number%10) * time.Second) // later ones are faster
			return nil
		}
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			time.Sleep(100 * time.Millisecond) // between two cuts
			for i := range 12 {
				if _, err := in.Add(ctx, lines("p", uint64(i+1), fmt.Sprint(i))); err != nil {
					return err
				}
				time.Sleep(200 * time.Millisecond)
			}
			return idle(ctx, in)
		})))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		s.Stop(true)
		must(t, wait())
		if l.blocks() != 12 || l.mostStore != 4 {
			t.Errorf("%d blocks, %d stored at a time; want 12 and 4", l.blocks(), l.mostStore)
		}
		for i, b := range l.committed {
			if b.Number != uint64(i+1) {
				t.Errorf("block %d is number %d", i+1, b.Number)
			}
		}
	})
}

// A block that could not be stored would leave a gap: it is tried until it is stored.
func TestFailedStoreIsRepeatedWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		left := 5
		l.onStore = func(_ context.Context, d job.BlockData) error {
			if d.ID.Number == 1 && left > 0 {
				left--
				return errors.New("store is full")
			}
			return nil
		}
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			time.Sleep(100 * time.Millisecond) // between two cuts
			for i := range 3 {
				if _, err := in.Add(ctx, lines("p", uint64(i+1), fmt.Sprint(i))); err != nil {
					return err
				}
				time.Sleep(200 * time.Millisecond)
			}
			return idle(ctx, in)
		})))
		time.Sleep(time.Minute)
		synctest.Wait()
		if l.blocks() != 3 || left != 0 {
			t.Errorf("%d blocks committed", l.blocks())
		}
		s.Stop(true)
		must(t, wait())
	})
}

// Rule 10: a limit of the ledger pauses the receiver, back to its source, and drops nothing.
func TestLimitOfTheLedgerPausesTheReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		var full atomic.Bool
		full.Store(true)
		l.onReport = func(ctx context.Context, b job.BlockReport) (job.BlockReply, error, bool) {
			return job.BlockReply{Outcome: job.Later, Reason: "queued bytes are at the limit"}, nil, full.Load()
		}
		c := l.config(nil)
		c.BlockBytes = 100
		var added atomic.Int64
		c.Receiver = source(func(ctx context.Context, in dataset.Inlet) error {
			for {
				if _, err := in.Add(ctx, lines("p", uint64(added.Load()+1), strings.Repeat("x", 49))); err != nil {
					return nil
				}
				added.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
		s, wait := run(t.Context(), t, c)
		time.Sleep(time.Minute)
		synctest.Wait()
		held := added.Load()
		if held < 2*10 || held > 2*(10+4+4+3) {
			t.Errorf("%d records are held while the ledger takes none, want a bounded number", held)
		}
		if st := s.Status(); !strings.Contains(st.Paused, "limit") || st.Blocks != 0 {
			t.Errorf("status %+v, want it paused", st)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if added.Load() != held {
			t.Errorf("%d more records were taken", added.Load()-held)
		}
		full.Store(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if l.blocks() == 0 || s.Status().Paused != "" {
			t.Errorf("%d blocks after the limit was lifted, status %+v", l.blocks(), s.Status())
		}
		s.Stop(true)
		must(t, wait())
		for i, have := range l.have {
			if i > 0 && have != nil && !slices.Equal(have, []id.Store{"a", "b"}) {
				t.Errorf("stored again with %v known", have)
			}
		}
		if got := int64(len(l.got())); got != added.Load() {
			t.Errorf("%d records committed, %d added", got, added.Load())
		}
	})
}

func TestInstanceThatIsNotCurrentDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		c := l.config(source(func(context.Context, dataset.Inlet) error { t.Error("the receiver ran"); return nil }))
		l.current = 9
		_, wait := run(t.Context(), t, c)
		if refused := (*receiver.RefusedError)(nil); !errors.As(wait(), &refused) {
			t.Error("Run did not say that the instance was refused")
		}
	})
}

func TestStartWaitsForADriverAndForALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		tries := 0
		l.onRequest = func(ctx context.Context, r job.ToDriver) (job.Reply, error, bool) {
			if _, start := r.(*job.ReceiverStarted); !start {
				return job.Reply{}, nil, false
			}
			tries++
			switch {
			case tries <= 3:
				return job.Reply{}, errUnreachable, true
			case tries <= 6:
				return job.Reply{Outcome: job.Later, Reason: "overloaded"}, nil, true
			}
			return job.Reply{}, nil, false
		}
		l.positions["p"] = 41
		started := make(chan uint64, 1)
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			started <- in.Position("p")
			return idle(ctx, in)
		})))
		if at := <-started; at != 41 {
			t.Errorf("starts at position %d, want 41", at)
		}
		s.Stop(true)
		must(t, wait())
	})
}

func TestFailedReceiverRunsAgainWithBackOff(t *testing.T) {
	for what, fail := range map[string]func() error{
		"error":  func() error { return errors.New("connection reset") },
		"panic":  func() error { panic("boom") },
		"goexit": func() error { runtime.Goexit(); return nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLedger(t)
			began := time.Now()
			var starts []time.Duration
			s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
				starts = append(starts, time.Since(began))
				if len(starts) <= 7 {
					return fail()
				}
				if len(starts) == 8 { // a long run: the back-off starts anew
					time.Sleep(time.Hour)
					return errors.New("once more")
				}
				return idle(ctx, in)
			})))
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			var gaps []time.Duration
			for i := range starts[1:] {
				gaps = append(gaps, (starts[i+1] - starts[i]).Round(time.Second))
			}
			want := []time.Duration{1, 2, 4, 8, 16, 30, 30, 3601}
			for i := range want {
				want[i] *= time.Second
			}
			if !slices.Equal(gaps, want) {
				t.Errorf("%s: started after %v, want %v", what, gaps, want)
			}
			// one after the other: the seven before the long run do not count any more
			if len(l.failures) != 8 || l.failures[0] == "" || s.Status().Runs != 9 || s.Status().Failures != 1 {
				t.Errorf("%s: failures %q, status %+v", what, l.failures, s.Status())
			}
			s.Stop(true)
			must(t, wait())
		})
	}
}

func TestReceiverGoesOnWithoutADriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		var away atomic.Bool
		l.onRequest = func(ctx context.Context, r job.ToDriver) (job.Reply, error, bool) {
			if away.Load() {
				<-ctx.Done()
			}
			return job.Reply{}, ctx.Err(), away.Load()
		}
		runs := 0
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			away.Store(true)
			runs++
			return errors.New("fails")
		})))
		time.Sleep(time.Minute)
		synctest.Wait()
		if runs < 5 {
			t.Errorf("%d runs in a minute without a driver", runs)
		}
		away.Store(false)
		s.Stop(true)
		must(t, wait())
	})
}

func TestExhaustedSourceKeepsItsInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			_, err := in.Add(ctx, lines("", 0, "all there is"))
			return err
		})))
		time.Sleep(time.Hour)
		synctest.Wait()
		if st := s.Status(); st.State != receiver.Exhausted || st.Runs != 1 || st.Records != 1 || len(l.stopped) != 0 {
			t.Errorf("status %+v, stopped %v", st, l.stopped)
		}
		s.Stop(true)
		must(t, wait())
	})
}

// Rule 4: a replacement starts from what its predecessor committed; what is sent again is known by its position.
func TestReplacementStartsWhereItsPredecessorCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		ctx, die := context.WithCancel(t.Context())
		_, wait := run(ctx, t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			_, err := in.Add(ctx, lines("p", 1, "1", "2", "3"))
			time.Sleep(1050 * time.Millisecond)
			_, err2 := in.Add(ctx, lines("p", 4, "4", "5")) // dies before this is stored
			return errors.Join(err, err2, idle(ctx, in))
		})))
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		die()
		if err := wait(); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		l.current = 8
		var again error
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			_, again = in.Add(ctx, lines("p", 1, "1", "2", "3", "4", "5"))
			next := in.Position("p") + 1
			_, err := in.Add(ctx, lines("p", next, "4", "5"))
			return errors.Join(err, idle(ctx, in))
		})))
		time.Sleep(time.Second)
		synctest.Wait()
		s.Stop(true)
		must(t, wait())
		position := (*connector.PositionError)(nil)
		if !errors.As(again, &position) || position.Want != 4 || position.Got != 1 {
			t.Errorf("records sent again: %v, want a PositionError that expects 4", again)
		}
		if got := strings.Join(l.got(), ""); got != "12345" {
			t.Errorf("committed %q", got)
		}
	})
}

func TestPushesReachTheReceiverAndAreAlwaysAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		answers := make(chan error, 200)
		push := connector.Push{Producer: "p", Reply: func(_, _ uint64, err error) { answers <- err }}
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			p := <-in.Pushes()
			p.Reply(1, 1, nil)
			return idle(ctx, in) // takes no more
		})))
		must(t, s.Push(t.Context(), push))
		must(t, <-answers)
		for range 64 {
			must(t, s.Push(t.Context(), push))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Push(ctx, push); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Push into a full queue: %v, want it to wait", err)
		}
		blocked := make(chan error)
		go func() { blocked <- s.Push(context.Background(), push) }()
		synctest.Wait()
		s.Stop(true)
		if err := <-blocked; !errors.Is(err, receiver.ErrStopped) {
			t.Errorf("Push while stopping: %v, want ErrStopped", err)
		}
		must(t, wait())
		for range 64 {
			if err := <-answers; !errors.Is(err, receiver.ErrStopped) {
				t.Errorf("push that nobody took: %v, want ErrStopped", err)
			}
		}
		if err := s.Push(t.Context(), push); !errors.Is(err, receiver.ErrStopped) {
			t.Errorf("Push after the end: %v", err)
		}
	})
}

func TestBadConfigurationIsRefused(t *testing.T) {
	for what, change := range map[string]func(*receiver.Config){
		"block interval": func(c *receiver.Config) { c.App.BlockMS = 0 },
		"factor":         func(c *receiver.Config) { c.App.Factor = 0 },
		"rate":           func(c *receiver.Config) { c.MaxRate = -1 },
		"block size":     func(c *receiver.Config) { c.BlockBytes = receiver.MaxAdd + 1 },
		"receiver":       func(c *receiver.Config) { c.Receiver = nil },
	} {
		c := newLedger(t).config(source(idle))
		change(&c)
		if _, err := receiver.New(c); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("bad %s: %v", what, err)
		}
	}
}
