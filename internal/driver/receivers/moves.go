package receivers

import (
	"maps"
	"slices"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

const (
	// moveEvery is how often a receiver of an application is moved at most: each time it receives nothing for a moment.
	moveEvery = 30 * time.Second
	// calm is for how long a receiver must not have failed before it is moved: it may be where it is because it failed
	// elsewhere.
	calm = 5 * time.Minute
)

// moves are receivers on their way to a better executor: each is told to drain where it is, and scheduled by the policy
// when it has stopped. What is forgotten with a leadership costs a pause: the next one sees a receiver that ended by
// itself. One goroutine uses it.
type moves struct {
	under map[key]move
	last  map[id.App]time.Time
	load  map[id.Session]int // receivers of each executor as of this turn, as if those that move had arrived
}

// move is a receiver that moves.
type move struct {
	instance id.Instance // that is told to stop
	to       id.Session  // where the receiver will be, if nothing changes until it has stopped
}

func newMoves() *moves {
	return &moves{under: make(map[key]move), last: make(map[id.App]time.Time)}
}

// moving reports whether a receiver's current or last instance was told to stop because the receiver moves.
func (m *moves) moving(r *tracker.Receiver) bool {
	was, ok := m.under[key{r.App, r.Stream}]
	return ok && was.instance == r.Instance
}

// look begins a turn: what is over is forgotten, and what every executor has to do is counted.
func (m *moves) look(v fsm.View) {
	maps.DeleteFunc(m.under, func(k key, was move) bool {
		r, ok := v.Receiver(k.app, k.stream)
		return !ok || r.Instance != was.instance
	})
	maps.DeleteFunc(m.last, func(n id.App, _ time.Time) bool {
		a, ok := v.App(n)
		return !ok || !a.Live()
	})
	m.load = make(map[id.Session]int)
	for r := range eachReceiver(v) {
		switch {
		case m.moving(r):
			m.load[m.under[key{r.App, r.Stream}].to]++
		case r.State != tracker.Inactive:
			m.load[r.Session]++
		}
	}
}

// begin begins to move one receiver of a running application if one has a better place among the executors that can
// work for it: its preferred node has come, or another one has at least two receivers fewer. It gives how long it is
// until one that has may move.
func (m *moves) begin(v fsm.View, a *fsm.App, executors []*tracker.Session, now time.Time) (again time.Duration) {
	r, to, again := m.better(v, a, executors, now)
	if r == nil {
		return again
	}
	if left := moveEvery - now.Sub(m.last[a.ID]); left > 0 {
		return left
	}
	m.last[a.ID] = now
	m.under[key{a.ID, r.Stream}] = move{r.Instance, to}
	m.load[r.Session]--
	m.load[to]++
	return moveEvery
}

// better finds a receiver that has a better place, and the place; or how long it is until one may be looked at that
// failed lately.
func (m *moves) better(v fsm.View, a *fsm.App, executors []*tracker.Session, now time.Time) (found *tracker.Receiver, to id.Session, again time.Duration) {
	if a.State != fsm.Running || len(executors) < 2 {
		return nil, 0, driver.Idle
	}
	again = driver.Idle
	least := slices.MinFunc(executors, func(x, y *tracker.Session) int { return m.load[x.ID] - m.load[y.ID] }).ID
	for r := range v.Receivers(a.ID) {
		if r.State != tracker.Active || m.moving(r) {
			continue
		}
		if left := calm - time.Duration(now.UnixMilli()-r.ErrorMS)*time.Millisecond; r.Errors > 0 && left > 0 {
			again = min(again, min(left, calm)) // wherever the wall clock has jumped to
			continue
		}
		if i := slices.IndexFunc(executors, func(e *tracker.Session) bool { return r.Preferred != "" && e.Name == r.Preferred }); i >= 0 {
			if at, ok := v.Session(r.Session); ok && at.Name != r.Preferred {
				return r, executors[i].ID, again
			}
			continue
		}
		if m.load[r.Session]-m.load[least] >= 2 && (found == nil || m.load[r.Session] >= m.load[found.Session]) {
			found = r
		}
	}
	return found, least, again
}
