package batches

import (
	"sync"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/jobgen"
)

// Clock is a jobgen.Clock on this process's clocks. Every driver has one from its start, leading or not, and it is
// told every view (driver.Config.Observe). Safe for concurrent use.
type Clock struct {
	start time.Time        // carries the monotonic clock
	wall  func() time.Time // nil: that of the machine

	mu    sync.Mutex
	clock *jobgen.Clock
}

// NewClock makes the clock of a driver. node is its raft id; replayed is the last index in its log when it started.
func NewClock(node string, replayed uint64) *Clock {
	return &Clock{start: time.Now(), clock: jobgen.NewClock(node, replayed)}
}

// WithWall makes the clock read the wall clock by f, for tests of one that jumps. Call it before everything else.
func (c *Clock) WithWall(f func() time.Time) *Clock {
	c.wall = f
	return c
}

// Missed says up to which index this node was told late of what was committed. Call it before Observe.
func (c *Clock) Missed(upTo uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.Missed(upTo)
}

// Observe notes when allocations were applied here.
func (c *Clock) Observe(v fsm.View) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.Observe(v, c.reading())
}

// Now gives the time of applications of the view.
func (c *Clock) Now(v fsm.View) jobgen.Now {
	return func(a *fsm.App) id.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.clock.Now(v, a, c.reading())
	}
}

func (c *Clock) reading() jobgen.Reading {
	now := time.Now()
	wall := now
	if c.wall != nil {
		wall = c.wall()
	}
	return jobgen.Reading{Mono: now.Sub(c.start), Wall: wall.Round(0)}
}
