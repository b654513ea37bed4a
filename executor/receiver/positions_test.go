package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
)

// Rules 4 and 9: a long-lived instance keeps the positions of no more source partitions than its bound, and forgets none
// that the ledger still knows.
func TestPositionsAreBoundedAndForgottenAsTheLedgerDoes(t *testing.T) {
	const bound, ledgerKeeps = 32 << 10, 10_000
	name := func(i int) string { return fmt.Sprintf("p%d", i) }
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		asked := 0
		l.onRequest = func(_ context.Context, r job.ToDriver) (job.Reply, error, bool) {
			if _, ok := r.(*job.ReceiverStarted); !ok {
				return job.Reply{}, nil, false
			}
			switch asked++; asked {
			case 1:
			case 2: // for the first time there are too many, and no driver is there
				return job.Reply{}, errUnreachable, true
			default:
				l.mu.Lock()
				defer l.mu.Unlock()
				for i := 1; len(l.positions) > ledgerKeeps && i < bound; i++ { // all but the first: that is used often
					delete(l.positions, name(i))
				}
			}
			return job.Reply{}, nil, false
		}
		checked := make(chan struct{})
		s, wait := run(t.Context(), t, l.config(source(func(ctx context.Context, in dataset.Inlet) error {
			defer close(checked)
			for i := range bound + 1 {
				if _, err := in.Add(ctx, lines(name(i), 1, "x")); err != nil {
					t.Errorf("partition %d: %v", i, err)
					return idle(ctx, in)
				}
			}
			if first, forgotten, fresh := in.Position(name(0)), in.Position(name(1)), in.Position(name(bound)); first != 1 || forgotten != 0 || fresh != 1 {
				t.Errorf("positions are %d, %d and %d, expected that only the second is forgotten", first, forgotten, fresh)
			}
			if _, err := in.Add(ctx, lines(name(0), 2, "y")); err != nil {
				t.Errorf("partition that the ledger knows: %v", err)
			}
			wrong := (*connector.PositionError)(nil)
			if _, err := in.Add(ctx, lines(name(1), 2, "y")); !errors.As(err, &wrong) || wrong.Want != 1 {
				t.Errorf("partition that the ledger has forgotten: %v, expected that it must start at 1", err)
			}
			return nil
		})))
		<-checked
		s.Stop(true)
		must(t, wait())
		if got := len(l.got()); got != bound+2 || asked != 3 {
			t.Errorf("%d records were committed after %d questions, expected %d and 3", got, asked, bound+2)
		}
	})
}
