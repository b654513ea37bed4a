// Package state owns the keyed state that one executor holds (Spark: StateDStream's and mapWithState's cached RDDs):
// partitions in named versions, what attempts make of them, and their chunks in checkpoints. It is engine internals,
// without compatibility promise.
//
// It promises rule 7: a table has exactly the content that its version names, or it is not there. What an attempt makes
// is kept beside the table and becomes part of it only when somebody names that attempt as the base to go on from, which
// means that the ledger has it as the winner. It must not know rows, keys, tasks, or how batches are completed.
package state

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// patience bounds the wait for readers of a table that has to go on to its next version. Only tasks of a batch that
	// is over can be among them: user code that did not see its context end. Then the table is given up to them and
	// made again from a checkpoint.
	patience = 2 * time.Second
	// maxDeltas bounds what attempts have made over one table; the oldest goes. An attempt is superseded by the next
	// one, so that more than two matter to nobody.
	maxDeltas = 4
	// maxTables bounds the versions of one partition that are held side by side: the live one, and what is computed
	// again beside it. The oldest goes.
	maxTables = 3
)

// Sized is implemented by States that know about how many bytes they hold in memory.
type Sized interface{ Size() int64 }

// key names a partition of keyed state.
type key struct {
	app    id.App
	stream id.Stream
	part   int
}

// Store holds the keyed state of one executor. Its methods may be called concurrently. What it holds is bounded by the
// applications: a table per partition, and as many more as maxTables and maxDeltas let it.
type Store struct {
	log *slog.Logger

	mu   sync.Mutex
	apps map[id.App]map[key]*partition
	told map[id.App]id.Time // time of the committed checkpoint
}

// partition is what is held of a partition of keyed state.
type partition struct {
	tables []*table
	// stepMS is the time from one version to the next, 0 where no task has told it.
	stepMS id.Time
}

// table is a partition's rows as of one version, and what attempts have made over it.
//
// Invariant: state is touched by readers, which do not change it, or, while busy is not nil, by the one goroutine that
// made busy. There are no readers then.
type table struct {
	version job.Version
	state   dataset.State
	since   id.Time // no changes up to here can be told from others any more
	rows    int
	bytes   int64
	readers int
	unread  chan struct{} // closed when readers comes to 0; nil while it is 0
	busy    chan struct{} // closed when the state is made or has gone on; nil while nobody does that
	gone    bool          // given up: nothing that is made over it is kept
	deltas  map[job.Version]*flight
}

// flight is the making of a delta, or the delta.
type flight struct {
	owner <-chan struct{} // closed when who makes it is not waited for any more
	done  chan struct{}   // closed when delta is made, or nobody makes it any more
	delta dataset.Delta   // nil until then
}

func (f *flight) made() bool { return f.delta != nil }

// New makes an empty store. The logger is told of tables that had to be given up.
func New(log *slog.Logger) *Store {
	return &Store{log: log, apps: map[id.App]map[key]*partition{}, told: map[id.App]id.Time{}}
}

// of gives the partition, made if it is not there. The lock is held.
func (s *Store) of(k key) *partition {
	parts := s.apps[k.app]
	if parts == nil {
		parts = map[key]*partition{}
		s.apps[k.app] = parts
	}
	if parts[k] == nil {
		parts[k] = &partition{}
	}
	return parts[k]
}

// at gives the table of a version, nil if there is none.
func (p *partition) at(v job.Version) *table {
	for _, t := range p.tables {
		if t.version == v {
			return t
		}
	}
	return nil
}

// before gives the table over which the version was made, nil if there is none.
func (p *partition) before(v job.Version) *table {
	for _, t := range p.tables {
		if f := t.deltas[v]; f != nil && f.made() {
			return t
		}
	}
	return nil
}

// remove gives a table up. Who reads it goes on with it.
func (p *partition) remove(t *table) {
	t.gone = true
	p.tables = slices.DeleteFunc(p.tables, func(x *table) bool { return x == t })
}

// add enters a table and keeps their number at the limit. Those that somebody works on stay: they are no more than tasks.
func (p *partition) add(t *table) {
	p.tables = append(p.tables, t)
	for len(p.tables) > maxTables {
		var oldest *table
		for _, x := range p.tables {
			if x.busy == nil && (oldest == nil || compare(x.version, oldest.version) < 0) {
				oldest = x
			}
		}
		if oldest == nil {
			return
		}
		p.remove(oldest)
	}
}

// newest is the time of the newest version that the table has or leads to.
func (t *table) newest() id.Time {
	at := t.version.Time
	for v, f := range t.deltas {
		if f.made() {
			at = max(at, v.Time)
		}
	}
	return at
}

func compare(a, b job.Version) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Attempt, b.Attempt))
}

// measure notes the size of a state while nothing else touches it.
func (t *table) measure() {
	t.rows, t.bytes = t.state.Len(), 0
	if s, ok := t.state.(Sized); ok {
		t.bytes = s.Size()
	}
}

// Has reports whether the version is held: as a table, or as what an attempt made over one.
func (s *Store) Has(app id.App, h job.Held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.apps[app][key{app, h.Stream, h.Part}]
	if p == nil {
		return false
	}
	t := p.at(h.Version)
	return t != nil && t.state != nil || p.before(h.Version) != nil
}

// Held lists the versions of the application's partitions that a task could go on from here, in order.
func (s *Store) Held(app id.App) []job.Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []job.Held
	for k, p := range s.apps[app] {
		for _, t := range p.tables {
			if t.state == nil {
				continue // it is being restored
			}
			list = append(list, job.Held{Stream: k.stream, Part: k.part, Version: t.version})
			for v, f := range t.deltas {
				if f.made() {
					list = append(list, job.Held{Stream: k.stream, Part: k.part, Version: v})
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b job.Held) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Part, b.Part), compare(a.Version, b.Version))
	})
	return slices.Compact(list)
}

// Progress drops what nothing goes on from any more: everything of an application that is over, and tables that the
// committed checkpoint has left behind. End the contexts of its tasks first: then no late one brings back what nobody
// would drop.
func (s *Store) Progress(p *job.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Ended {
		for _, part := range s.apps[p.App] {
			for _, t := range slices.Clone(part.tables) {
				part.remove(t)
			}
		}
		delete(s.apps, p.App)
		delete(s.told, p.App)
		return
	}
	if p.Checkpointed <= s.told[p.App] || len(s.apps[p.App]) == 0 {
		return
	}
	s.told[p.App] = p.Checkpointed
	for k, part := range s.apps[p.App] {
		for _, t := range slices.Clone(part.tables) {
			if part.stepMS > 0 && t.busy == nil && t.newest()+part.stepMS <= p.Checkpointed {
				part.remove(t)
			}
		}
		if len(part.tables) == 0 {
			delete(s.apps[p.App], k)
		}
	}
}

// Stats is what a store holds.
type Stats struct {
	Partitions int
	Tables     int   // versions of partitions, more than one where state is computed again
	Rows       int64 // of all tables
	Bytes      int64 // about, of tables that know it
	Deltas     int   // made by attempts, over tables
	Changes    int64 // rows that these change
}

// Stats counts what the store holds.
func (s *Store) Stats() (st Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, parts := range s.apps {
		st.Partitions += len(parts)
		for _, p := range parts {
			st.Tables += len(p.tables)
			for _, t := range p.tables {
				st.Rows += int64(t.rows)
				st.Bytes += t.bytes
				for _, f := range t.deltas {
					if f.made() {
						st.Deltas++
						st.Changes += int64(f.delta.Len())
					}
				}
			}
		}
	}
	return st
}
