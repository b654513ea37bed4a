package driver_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

// slow is a ledger on which every proposal takes a second.
type slow struct {
	driver.Ledger
	mu             sync.Mutex
	now, most, all int
}

func (s *slow) Propose(context.Context, fsm.Command) (fsm.Result, error) {
	s.count(1)
	time.Sleep(time.Second)
	s.count(-1)
	return fsm.Result{Outcome: fsm.Done}, nil
}

func (s *slow) count(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += by
	s.all += max(by, 0)
	s.most = max(s.most, s.now)
}

// Rule 10: a duty has 64 proposals in flight at most; the rest follow.
func TestProposalsOfADutyAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commands := make(map[id.App]fsm.Command)
		for n := range id.App(150) {
			commands[n] = &fsm.ApplicationEnded{App: n}
		}
		l, began := &slow{}, time.Now()
		if _, err := driver.NewProposals[id.App](slog.New(slog.DiscardHandler)).Make(t.Context(), l, commands); err != nil {
			t.Fatal(err)
		}
		if l.most != 64 || l.all != 150 || time.Since(began) != 3*time.Second {
			t.Errorf("%d of %d proposals were in flight at a time, in %v; expected 64 of 150, in 3s", l.most, l.all, time.Since(began))
		}
	})
}
