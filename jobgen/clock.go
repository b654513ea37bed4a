package jobgen

import (
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// slew is how much faster or slower than the monotonic clock an application's time may run while it makes for the
// wall clock: one part of so many.
const slew = 20

// Reading is what a node's clocks say at one moment.
type Reading struct {
	Mono time.Duration // monotonic, from any start
	Wall time.Time
}

// Clock tells the time of applications (rule 9). Time is the last allocated batch time plus the monotonic time that
// passed since this node applied the allocation, slewed towards the wall clock by at most a twentieth. So neither a
// jump of the wall clock nor a new leader with another one makes a burst of batches or a gap. The wall clock alone
// counts at zero time, where the submission's stamp is, and where the ledger cannot say how long ago it was: when the
// last allocation was applied by replay, because this node or all of them were down. Where this node alone missed the
// last allocation and was told of it later (Missed), the wall clock says how much later, up to an interval: in more the
// others would have made the next one.
//
// Every node keeps a clock, leading or not: call Observe with every view. Its zero value is not usable. It has no
// lock.
type Clock struct {
	node     string // raft id of this node
	replayed uint64 // what was applied up to this index was applied by replay
	missed   uint64 // what was applied up to this index was committed before this node was told of it
	times    map[id.App]*appTime
}

// appTime is the time of one application as of a reading.
type appTime struct {
	now       time.Duration // since the Unix epoch
	mono      time.Duration // when it was now
	allocated id.Time       // last batch time seen
	told      bool          // the time was used: it must not go back
	byWall    bool          // not known: the wall clock gives it when it is first asked for
}

// NewClock makes the clock of a node. replayed is the last index in the node's log when it started: what is applied up
// to there happened at an unknown time before.
func NewClock(node string, replayed uint64) *Clock {
	return &Clock{node: node, replayed: replayed, times: make(map[id.App]*appTime)}
}

// Missed says that what is committed up to an index was committed while this node was not told: it was down, paused or
// cut off, or it gets a snapshot. Call it before the view that contains the index is observed.
func (c *Clock) Missed(upTo uint64) { c.missed = max(c.missed, upTo) }

// Observe notes when allocations were applied here.
func (c *Clock) Observe(v fsm.Viewer, at Reading) {
	leading := v.Leadership().Leader == c.node
	seen := 0
	for a := range v.Apps() {
		if a.State == fsm.Stopped {
			delete(c.times, a.ID)
			continue
		}
		seen++
		t, known := c.times[a.ID]
		switch {
		case !known:
			c.times[a.ID] = c.start(v, a, at)
		case t.allocated != a.Allocated:
			t.allocate(a.Allocated, leading, at)
			t.byWall = c.byReplay(v, a)
			if !leading && allocatedAt(v, a) <= c.missed {
				t.now += min(max(wallOf(at)-t.now, 0), time.Duration(a.BatchMS)*time.Millisecond)
			}
		}
	}
	if len(c.times) > seen {
		c.forget(v)
	}
}

// Now tells the time of an application. It never goes back, and never behind the last allocated batch time.
func (c *Clock) Now(v fsm.Viewer, a *fsm.App, at Reading) id.Time {
	t, known := c.times[a.ID]
	if !known {
		t = c.start(v, a, at)
		c.times[a.ID] = t
	}
	if t.byWall {
		t.byWall = false
		t.now, t.mono = max(t.now, wallOf(at)), at.Mono
	}
	t.advance(at)
	t.told = true
	return max(id.Time(t.now/time.Millisecond), a.Allocated)
}

// start begins an application's time at its last allocation, or at its submission where there is none yet.
func (c *Clock) start(v fsm.Viewer, a *fsm.App, at Reading) *appTime {
	begin := max(time.Duration(a.SubmittedMS)*time.Millisecond, sinceEpoch(a.ZeroTime))
	if a.Allocated != a.ZeroTime {
		begin = sinceEpoch(a.Allocated)
	}
	return &appTime{now: begin, mono: at.Mono, allocated: a.Allocated, byWall: c.byReplay(v, a)}
}

// byReplay reports whether the last allocation, or the submission where there is none, was applied by replay.
func (c *Clock) byReplay(v fsm.Viewer, a *fsm.App) bool { return allocatedAt(v, a) <= c.replayed }

// allocatedAt gives the index of the last allocation, or of the submission where there is none.
func allocatedAt(v fsm.Viewer, a *fsm.App) uint64 {
	if b, ok := v.Batch(a.ID, a.Allocated); ok {
		return b.Index
	}
	if a.Allocated != a.ZeroTime {
		return v.Index() // cleaned already: not later than this
	}
	return uint64(a.ID)
}

// allocate notes a later allocation. The leader's own allocations leave its time alone, which ran ahead of them by
// what the proposal took; on any other node they set it.
func (t *appTime) allocate(allocated id.Time, leading bool, at Reading) {
	t.allocated = allocated
	if leading && t.told {
		t.advance(at)
		t.now = max(t.now, sinceEpoch(allocated))
		return
	}
	t.now, t.mono, t.told = sinceEpoch(allocated), at.Mono, false
}

// advance moves the time on to a reading.
func (t *appTime) advance(at Reading) {
	passed := at.Mono - t.mono
	if passed <= 0 {
		return
	}
	t.mono = at.Mono
	t.now += passed
	ahead := wallOf(at) - t.now
	t.now += min(max(ahead, -passed/slew), passed/slew)
}

// forget drops the times of applications that the ledger has dropped.
func (c *Clock) forget(v fsm.Viewer) {
	for a := range c.times {
		if _, ok := v.App(a); !ok {
			delete(c.times, a)
		}
	}
}

func wallOf(at Reading) time.Duration { return time.Duration(at.Wall.UnixMilli()) * time.Millisecond }

func sinceEpoch(t id.Time) time.Duration { return time.Duration(t) * time.Millisecond }
