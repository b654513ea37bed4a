package fsm

import (
	"cmp"

	"github.com/tidwall/btree"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/statetracker"
	"github.com/raftstream/raftstream/tracker"
)

// state is the whole ledger. The values in its trees are immutable: a change puts a new one, so that a copy of the
// trees, which takes constant time, is a picture for ever.
type state struct {
	index   uint64
	cluster string
	leader  Leadership

	tracker  *tracker.State
	blocks   *blocktracker.State
	states   *statetracker.State
	apps     *btree.Map[id.App, *App]
	names    *btree.Map[string, id.App] // newest application of each name
	batches  *btree.BTreeG[*Batch]
	requests *btree.Map[string, *request]
	asked    *btree.Map[id.App, *request] // the same, by age
	events   *eventLog                    // derived, of the entries applied here
}

// request remembers the request id of a submission. Immutable.
type request struct {
	id   string
	app  id.App
	name string
}

func newState() *state {
	return &state{
		tracker: tracker.NewState(),
		blocks:  blocktracker.NewState(),
		states:  statetracker.NewState(),
		apps:    btree.NewMap[id.App, *App](0),
		names:   btree.NewMap[string, id.App](0),
		batches: btree.NewBTreeGOptions(func(a, b *Batch) bool {
			return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Time, b.Time)) < 0
		}, btree.Options{NoLocks: true}),
		requests: btree.NewMap[string, *request](0),
		asked:    btree.NewMap[id.App, *request](0),
		events:   newEventLog(),
	}
}

func (s *state) copy() *state {
	return &state{
		index: s.index, cluster: s.cluster, leader: s.leader,
		tracker:  s.tracker.Copy(),
		blocks:   s.blocks.Copy(),
		states:   s.states.Copy(),
		apps:     s.apps.Copy(),
		names:    s.names.Copy(),
		batches:  s.batches.Copy(),
		requests: s.requests.Copy(),
		asked:    s.asked.Copy(),
		events:   s.events.copy(),
	}
}

func (s *state) app(n id.App) (*App, bool) { return s.apps.Get(n) }

func (s *state) putApp(a *App) {
	s.apps.Set(a.ID, a)
	if newest, ok := s.names.Get(a.Name); !ok || newest < a.ID {
		s.names.Set(a.Name, a.ID)
	}
}

func (s *state) dropApp(a *App) {
	s.apps.Delete(a.ID)
	if newest, ok := s.names.Get(a.Name); ok && newest == a.ID {
		s.names.Delete(a.Name)
	}
	s.trimBatches(a, 0)
}

func (s *state) batch(app id.App, at id.Time) (*Batch, bool) {
	return s.batches.Get(&Batch{App: app, Time: at})
}

func (s *state) putRequest(r *request) {
	s.requests.Set(r.id, r)
	s.asked.Set(r.app, r)
}

// attempt gives the newest right to run a batch (rule 1), 0 if it is not pending.
func (s *state) attempt(a *App, b *Batch) id.Attempt {
	if b.State == Completed {
		return 0
	}
	return id.Attempt(max(b.Index, uint64(a.Office), a.Resumed))
}

// ended tells whether an application is over, be it remembered or not: an id that was never given is not.
func (s *state) ended(n id.App) bool {
	if a, ok := s.apps.Get(n); ok {
		return !a.Live()
	}
	return n > 0 && uint64(n) < s.index
}

// trimBatches forgets the oldest batches of an application beyond keep, of those that are cleaned.
func (s *state) trimBatches(a *App, keep int64) {
	below := min(a.Cleaned, a.Interval(a.Completed, -keep))
	if keep == 0 {
		below = maxTime
	}
	var drop []*Batch
	s.batches.Ascend(&Batch{App: a.ID, Time: minTime}, func(b *Batch) bool {
		if b.App != a.ID || b.Time > below {
			return false
		}
		drop = append(drop, b)
		return true
	})
	for _, b := range drop {
		s.batches.Delete(b)
	}
}

const (
	minTime = id.Time(-1 << 63)
	maxTime = id.Time(1<<63 - 1)
)
