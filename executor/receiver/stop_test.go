package receiver_test

import (
	"context"
	"errors"
	"fmt"
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
)

func TestStopDrainsWhatWasStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		l.onStore = func(context.Context, job.BlockData) error { time.Sleep(time.Second); return nil }
		var receipt connector.Receipt
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			<-ctx.Done()
			// What the source had in hand when it was stopped still counts.
			r, err := in.Add(context.WithoutCancel(ctx), lines("p", 1, "last words"))
			receipt = r
			return err
		})))
		time.Sleep(time.Second)
		synctest.Wait()
		s.Stop(true)
		s.Stop(true)
		must(t, wait())
		if _, _, err := settled(receipt); err != nil || !slices.Equal(l.got(), []string{"last words"}) {
			t.Errorf("committed %q, receipt %v", l.got(), err)
		}
		if last := l.events[len(l.events)-1]; last != "stopped" || l.stopped[0].Error != "" {
			t.Errorf("events %v, stopped %+v; want the end to be told after the last block", l.events, l.stopped[0])
		}
		if s.Status().State != receiver.Over {
			t.Errorf("state %v", s.Status().State)
		}
	})
}

// A drain waits for a driver as long as it takes: what was stored must not be lost.
func TestDrainWaitsForADriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		var away atomic.Bool
		away.Store(true)
		l.onReport = func(ctx context.Context, b job.BlockReport) (job.BlockReply, error, bool) {
			return job.BlockReply{}, errUnreachable, away.Load()
		}
		l.onRequest = func(ctx context.Context, r job.ToDriver) (job.Reply, error, bool) {
			_, stop := r.(*job.ReceiverStopped)
			return job.Reply{}, errUnreachable, away.Load() && stop
		}
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			_, err := in.Add(ctx, lines("p", 1, "kept"))
			return errors.Join(err, idle(ctx, in))
		})))
		time.Sleep(time.Second)
		synctest.Wait()
		s.Stop(true)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if st := s.Status(); st.State != receiver.Draining {
			t.Fatalf("state %v, want it draining", st.State)
		}
		away.Store(false)
		must(t, wait())
		if !slices.Equal(l.got(), []string{"kept"}) || len(l.stopped) != 1 {
			t.Errorf("committed %q, stopped %v", l.got(), l.stopped)
		}
	})
}

func TestDiscardEndsADrainAndFailsReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		l.onStore = func(ctx context.Context, _ job.BlockData) error { <-ctx.Done(); return ctx.Err() }
		var receipt connector.Receipt
		var after uint64
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			r, err := in.Add(ctx, lines("p", 1, "a", "b"))
			receipt = r
			<-ctx.Done()
			<-r.Done() // a receiver may wait for the fate of what it stored
			after = in.Position("p")
			return err
		})))
		time.Sleep(time.Second)
		synctest.Wait()
		s.Stop(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.Stop(false)
		must(t, wait())
		if _, _, err := settled(receipt); !errors.Is(err, receiver.ErrDiscarded) {
			t.Errorf("receipt: %v, want ErrDiscarded", err)
		}
		if after != 0 {
			t.Errorf("position %d after the receipt failed, want it given back", after)
		}
		if len(l.got()) != 0 || len(l.stopped) != 1 || l.stopped[0].Message != receiver.ErrDiscarded.Error() {
			t.Errorf("committed %q, stopped %+v", l.got(), l.stopped)
		}
	})
}

// Rule 3: without its session an instance ends at once and says nothing to the ledger.
func TestEndOfSessionEndsTheInstanceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		l.onReport = func(ctx context.Context, b job.BlockReport) (job.BlockReply, error, bool) {
			<-ctx.Done()
			return job.BlockReply{}, ctx.Err(), true
		}
		over := errors.New("session is over")
		ctx, end := context.WithCancelCause(t.Context())
		var receipts []connector.Receipt
		s, wait := run(ctx, t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			for i := range uint64(4) {
				r, err := in.Add(ctx, lines("p", i+1, "x"))
				if err != nil {
					return err
				}
				receipts = append(receipts, r)
				time.Sleep(200 * time.Millisecond)
			}
			return idle(ctx, in)
		})))
		time.Sleep(time.Second)
		synctest.Wait()
		began := time.Now()
		end(over)
		if err := wait(); !errors.Is(err, over) || time.Since(began) != 0 {
			t.Errorf("Run: %v after %v, want the cause at once", err, time.Since(began))
		}
		for i, r := range receipts {
			if known, _, err := settled(r); !known || err == nil {
				t.Errorf("receipt %d: known %t, %v; want it failed", i, known, err)
			}
		}
		if len(l.stopped) != 0 {
			t.Errorf("the ledger was told %+v", l.stopped)
		}
		if err := s.Push(t.Context(), connector.Push{}); !errors.Is(err, receiver.ErrStopped) {
			t.Errorf("Push: %v, want ErrStopped", err)
		}
	})
}

// Rule 4: an instance that is not the current one any more ends, and what it held is not taken.
func TestRefusedBlockEndsTheInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		var receipts []connector.Receipt
		var addErr error
		_, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			time.Sleep(100 * time.Millisecond) // between two cuts
			for i := uint64(1); ; i++ {
				r, err := in.Add(context.WithoutCancel(ctx), lines("p", i, fmt.Sprint(i)))
				if err != nil {
					addErr = err
					return err
				}
				receipts = append(receipts, r)
				if i == 3 {
					l.mu.Lock()
					l.current = 8
					l.mu.Unlock()
				}
				time.Sleep(200 * time.Millisecond)
			}
		})))
		err := wait()
		refused := (*receiver.RefusedError)(nil)
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "not current") {
			t.Fatalf("Run: %v, want a RefusedError", err)
		}
		if !errors.As(addErr, &refused) {
			t.Errorf("Add: %v, want the refusal", addErr)
		}
		if len(l.stopped) != 1 || l.stopped[0].Error == "" {
			t.Errorf("stopped %+v, want the error told", l.stopped)
		}
		for i, r := range receipts {
			_, _, err := settled(r)
			if committed := i < len(l.committed); committed != (err == nil) {
				t.Errorf("receipt %d: %v, committed %t", i+1, err, committed)
			}
		}
	})
}

func TestStopBeforeTheLedgerAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		l.onRequest = func(ctx context.Context, r job.ToDriver) (job.Reply, error, bool) {
			if _, start := r.(*job.ReceiverStarted); start {
				<-ctx.Done()
				return job.Reply{}, ctx.Err(), true
			}
			return job.Reply{}, nil, false
		}
		s, wait := run(t.Context(), t, l.config(source(idle)))
		time.Sleep(time.Second)
		synctest.Wait()
		s.Stop(true)
		must(t, wait())
		if !slices.Equal(l.events, []string{"stopped"}) {
			t.Errorf("events %v", l.events)
		}
	})
}
