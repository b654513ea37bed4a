package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/receiver"
	"github.com/raftstream/raftstream/internal/dataset"
)

// numbers are the records from first to last.
func numbers(first, last int) (all []string) {
	for i := first; i <= last; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// The facts are those of Spark's BlockGeneratorSuite. What Spark's callbacks tell a receiver, a receipt does here.
func TestBlockGeneratorSuite(t *testing.T) {
	t.Run("block generation and data callbacks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLedger(t)
			c := l.config(source(func(ctx context.Context, in dataset.Inlet) error {
				var receipts []connector.Receipt
				add := func(texts ...string) {
					r, err := in.Add(ctx, lines("", 0, texts...))
					must(t, err)
					receipts = append(receipts, r)
				}
				for _, n := range numbers(1, 10) {
					add(n)
				}
				synctest.Wait()
				if l.blocks() != 0 {
					t.Errorf("%d blocks before the interval is over", l.blocks())
				}
				time.Sleep(15 * time.Millisecond)
				for _, n := range numbers(11, 20) {
					add(n)
				}
				time.Sleep(10 * time.Millisecond)
				add(numbers(21, 30)...)
				time.Sleep(10 * time.Millisecond)
				for i, r := range receipts {
					if known, index, err := settled(r); !known || err != nil || index == 0 {
						t.Errorf("receipt %d: %v at %d, %v", i, known, index, err)
					}
				}
				return idle(ctx, in)
			}))
			c.App.BlockMS = 10
			s, wait := run(t.Context(), t, c)
			time.Sleep(time.Second)
			if !slices.Equal(l.got(), numbers(1, 30)) || l.blocks() != 3 {
				t.Errorf("%q in %d blocks, expected 1 to 30 in 3", l.got(), l.blocks())
			}
			s.Stop(true)
			must(t, wait())
			s.Stop(true) // harmless
		})
	})
	t.Run("stop ensures correct shutdown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLedger(t)
			var late dataset.Inlet
			s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
				late = in
				for _, n := range numbers(1, 1000) {
					if _, err := in.Add(ctx, lines("", 0, n)); err != nil {
						return err
					}
				}
				return idle(ctx, in)
			})))
			time.Sleep(time.Millisecond)
			s.Stop(true)
			must(t, wait())
			if !slices.Equal(l.got(), numbers(1, 1000)) {
				t.Errorf("%d records, expected 1 to 1000 in order", len(l.got()))
			}
			if _, err := late.Add(t.Context(), lines("", 0, "x")); !errors.Is(err, receiver.ErrStopped) {
				t.Errorf("record after the stop: %v, expected ErrStopped", err)
			}
		})
	})
	t.Run("block generator throttling (ignored in Spark)", TestRateLimitHoldsOverTwoSeconds)
}

// Spark: ReceiverSuite. Restarts wait longer each time here.
func TestReceiverSuite(t *testing.T) {
	t.Run("receiver life cycle", TestFailedReceiverRunsAgainWithBackOff)
}
