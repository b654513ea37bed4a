package raftnode

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Rule 10: below the reserve nothing is proposed, with an error that says why and that nothing was; leadership goes to
// a node that has room, and the node with the short disk still stores what that one proposes.
func TestAShortDiskProposesNothingAndHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		free := map[string]*atomic.Uint64{"n1": {}, "n2": {}, "n3": {}}
		for name, f := range free {
			f.Store(100 << 20)
			c.start(name, NewMemoryDisk(), func(c *Config) {
				c.Free, c.ReserveBytes = func() (uint64, error) { return f.Load(), nil }, 64<<20
			})
		}
		m, term := c.lead()
		c.must(m, term, session(1))
		free[m.config.ID].Store(63 << 20)
		until(t, "the disk is short", func() bool { return m.reserve.short.Load() != nil })
		if _, err := m.Propose(t.Context(), term, session(2)); !errors.Is(err, ErrOverloaded) && !errors.Is(err, ErrNotLeader) {
			t.Errorf("error is %v, expected that nothing was proposed", err)
		}
		next, term := c.lead(m.config.ID)
		c.must(next, term, session(3))
		c.agree()
	})
}

func TestAShortDiskTakesProposalsAgainWhenItHasRoom(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		var free atomic.Uint64
		free.Store(1 << 20)
		c.start("n1", NewMemoryDisk(), func(c *Config) {
			c.Expect, c.Free, c.ReserveBytes = 1, func() (uint64, error) { return free.Load(), nil }, 64<<20
		})
		m, term := c.leader()
		_, err := m.Propose(t.Context(), term, session(1))
		if !errors.Is(err, ErrOverloaded) || !strings.Contains(err.Error(), "1 MiB left and 64 MiB are kept") {
			t.Errorf("error is %v, expected ErrOverloaded with both sizes", err)
		}
		free.Store(1 << 30)
		until(t, "there is room", func() bool { return m.reserve.short.Load() == nil })
		m, term = c.lead()
		c.must(m, term, session(1))
	})
}

// Where every disk is short, leadership does not go round: nobody waits for a leader who waits for room.
func TestLeadershipStaysWhereEveryDiskIsShort(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		for _, name := range []string{"n1", "n2", "n3"} {
			c.start(name, NewMemoryDisk(), func(c *Config) {
				c.Free, c.ReserveBytes = func() (uint64, error) { return 0, nil }, 1
			})
		}
		_, before := c.leader()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		m, after := c.leader()
		if after > before+4 {
			t.Errorf("term went from %d to %d in 20 s, expected each node to hand over once", before, after)
		}
		if _, err := m.Propose(context.Background(), after, session(1)); !errors.Is(err, ErrOverloaded) {
			t.Errorf("error is %v, expected ErrOverloaded", err)
		}
	})
}
