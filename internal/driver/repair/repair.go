// Package repair owns the driver's duty over copies (rules 5 and 7): a block or a piece of a checkpoint that fewer
// executors hold than its application asked for is copied to others. It promises that nothing is copied to a store that
// has it, that a sweep over the ledger and the copies on their way are bounded, and that there is none while nothing has
// changed; it must not know what blocks hold.
package repair

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

// stable is for how long sessions and connections must have been the same: an executor that merely restarts brings its
// copies back itself.
const stable = 3 * time.Second

// restless is for how long they may keep changing before there is a sweep all the same: an executor that comes and goes
// must not leave everybody else's data with too few copies.
const restless = 30 * time.Second

// Duty is the duty.
type Duty struct {
	conns driver.Connections
	log   *slog.Logger

	mu     sync.Mutex
	status Status
}

// Status is what the duty knows, on the node that leads.
type Status struct {
	Missing int // blocks and pieces with too few copies as of the last sweep, those repaired since taken off
	Copying int // copies that are ordered and not reported
}

var _ driver.Duty = (*Duty)(nil)

// New makes the duty.
func New(c driver.Connections, log *slog.Logger) *Duty {
	return &Duty{conns: c, log: log.With("duty", "repair")}
}

// Name names the duty.
func (d *Duty) Name() string { return "repair" }

// Status may be called at any time; it is empty while the duty does not run.
func (d *Duty) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

func (d *Duty) tell(s Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = s
}

// Run does the duty until ctx ends.
func (d *Duty) Run(ctx context.Context, l driver.Ledger) error {
	defer d.tell(Status{})
	t := &turn{Duty: d, epoch: l.Epoch(), copies: newCopies(), moved: -1}
	return driver.Turns(ctx, l, d.conns, t.take)
}

// place is an executor as the duty sees it.
type place struct {
	session    id.Session
	store      id.Store
	connection uint64 // number, 0 for none
}

type turn struct {
	*Duty
	epoch   id.Epoch
	places  []place   // with an open session, as of since
	since   time.Time // when they became what they are
	swaying time.Time // when they began to change, zero when they are taken for settled
	open    map[id.Store]bool
	sweep   *sweep // that goes on, nil: there is none
	found   []id.Block
	copies  *copies
	missing int       // that Status tells
	swept   int       // that the last sweep found
	moved   int64     // sum of the versions of stores that the last sweep saw, -1 for no sweep
	looked  time.Time // when they were summed up last
	index   uint64    // of the view that they were summed up in
}

func (t *turn) take(_ context.Context, v fsm.View) (time.Duration, error) {
	now := time.Now()
	defer func() { t.tell(Status{Missing: t.missing, Copying: t.copies.len()}) }()
	whole, late := t.copies.settle(v, t.conns, now)
	t.missing -= min(whole, t.missing)
	if late {
		t.moved = -1 // they are to be found again
	}
	if places := t.look(v); !slices.Equal(places, t.places) {
		t.places, t.since = places, now
		t.sweep, t.found, t.moved = nil, nil, -1
		if t.swaying.IsZero() {
			t.swaying = now
		}
	}
	if !t.swaying.IsZero() {
		if left := min(stable-now.Sub(t.since), restless-now.Sub(t.swaying)); left > 0 {
			return left, nil
		}
		t.swaying = time.Time{}
	}
	if t.sweep == nil && len(t.found) == 0 && t.copies.len() == 0 {
		if again, due := t.due(v, now); !due {
			return again, nil
		}
		t.begin(v)
	}
	if t.sweep != nil {
		if !t.sweep.step(v) {
			return driver.Soon, nil
		}
		t.end()
	}
	return t.order(v, now), nil
}

// look lists the executors with an open session.
func (t *turn) look(v fsm.View) (places []place) {
	for s := range v.Sessions() {
		p := place{session: s.ID, store: s.Store}
		if c, ok := t.conns.Of(s.ID); ok {
			p.connection = c.Number()
		}
		places = append(places, p)
	}
	return places
}

// due tells whether there is a reason for a sweep: none was made since executors came or went, or an inventory has
// changed since where copies are. That is looked at now and then, when there is something to look at.
func (t *turn) due(v fsm.View, now time.Time) (again time.Duration, due bool) {
	if t.moved < 0 {
		return 0, true
	}
	if v.Index() == t.index {
		return driver.Idle, false
	}
	if left := stable - now.Sub(t.looked); left > 0 {
		return left, false
	}
	t.looked, t.index = now, v.Index()
	return driver.Idle, versions(v) != t.moved
}

// versions sums up how often the stores of anything have changed.
func versions(v fsm.View) int64 {
	sum := int64(v.PiecesVersion())
	for a := range v.Apps() {
		sum += int64(v.StoresVersion(a.ID))
	}
	return sum
}

// begin starts a sweep.
func (t *turn) begin(v fsm.View) {
	t.open = make(map[id.Store]bool, len(t.places))
	for _, p := range t.places {
		t.open[p.store] = true
	}
	t.moved = versions(v)
	t.sweep = &sweep{open: t.open, reachable: t.reachable()}
}

// reachable lists the stores that can be ordered to copy.
func (t *turn) reachable() (stores []id.Store) {
	for _, p := range t.places {
		if p.connection != 0 {
			stores = append(stores, p.store)
		}
	}
	return stores
}

// end takes over what a sweep has found.
func (t *turn) end() {
	switch {
	case t.sweep.missing > 0:
		t.log.Info("blocks have too few copies", "blocks", t.sweep.missing, "repairable", t.sweep.repairable)
	case t.swept > 0:
		t.log.Info("all blocks have their copies again")
	}
	t.swept = t.sweep.missing
	t.missing, t.found, t.sweep = t.sweep.missing, t.sweep.found, nil
	slices.Reverse(t.found) // order takes from the end; the oldest goes first
}
