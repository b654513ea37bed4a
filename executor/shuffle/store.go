// Package shuffle owns the buckets that map tasks of this executor made, and reads those of others. It is engine
// internals, without compatibility promise. It promises that buckets of one attempt of one batch are never mixed with
// those of another, that a reader gets them in the order of map partitions or an error (rule 6), and that they go when
// the batch is completed. It must not know tasks, stages or how bytes travel.
package shuffle

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// DefaultLimit bounds a store in bytes, where Config says nothing.
const DefaultLimit = 1 << 30

// rowBytes is what a row of unknown size is taken for: buckets are typed values that are encoded only when they leave
// the process, so the limit can only be an estimate.
const rowBytes = 48

// Sized is implemented by Rows that know about how many bytes they hold in memory.
type Sized interface{ Size() int64 }

// Store keeps buckets in memory: about as many bytes as its limit, and what Put lets the oldest batch exceed. Its methods may be called concurrently.
type Store struct {
	limit int64

	mu    sync.Mutex
	runs  map[run]*attempt
	bytes int64
}

// run is what buckets belong to: a batch, once per attempt.
type run struct {
	app  id.App
	time id.Time
}

// before orders batches by age: by time, and by application among those of one time.
func (r run) before(other run) bool {
	return cmp.Or(cmp.Compare(r.time, other.time), cmp.Compare(r.app, other.app)) < 0
}

type attempt struct {
	by       id.Authority
	shuffles map[dataset.ShuffleID]map[int]bucket // by map partition
	again    map[dataset.ShuffleID]id.Time        // of those made for an earlier batch's state: that batch
	bytes    int64
}

type bucket struct {
	rows  []dataset.Rows // by reducer
	bytes int64
}

// NewStore makes an empty store that holds about limit bytes, DefaultLimit for 0.
func NewStore(limit int64) *Store {
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &Store{limit: limit, runs: map[run]*attempt{}}
}

// Put keeps what the map task of partition part made for the launch's shuffle, in place of what an earlier try made.
// Buckets of an older attempt of the batch go, and while earlier batches are computed again those of the ones before;
// buckets of a newer attempt refuse with job.ErrFenced. job.ErrFull says that
// the limit is reached, and that an older batch has buckets here.
//
// The oldest batch of those that have buckets here may exceed the limit, as Stats shows. Else two applications that fill
// the stores together would wait for each other for ever: neither gives up what it has. Age is the same everywhere, so
// the oldest batch of the cluster goes on at every executor, is completed, and leaves its room to the next. An
// application runs one batch at a time: at worst each has one that was the oldest here for a while.
//
// Invariant: nothing is kept once ctx has ended. Who drops a batch ends the contexts of its tasks first: then no late
// task can bring back what nobody would ever drop.
func (s *Store) Put(ctx context.Context, l *job.Launch, part int, rows []dataset.Rows) error {
	b := bucket{rows: rows, bytes: size(rows)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	at := run{l.App.ID, l.Time}
	a := s.runs[at]
	if a != nil && l.Authority.Older(a.by) {
		return fmt.Errorf("buckets of shuffle %v, attempt %d: %w", l.Shuffle, l.Authority.Attempt, job.ErrFenced)
	}
	if a != nil && a.by.Older(l.Authority) {
		s.drop(at)
		a = nil
	}
	if a == nil {
		a = &attempt{by: l.Authority, shuffles: map[dataset.ShuffleID]map[int]bucket{}, again: map[dataset.ShuffleID]id.Time{}}
	}
	s.bytes -= a.goOn(l)
	more := b.bytes - a.shuffles[l.Shuffle][part].bytes
	if first, ok := s.oldest(); more > 0 && s.bytes+more > s.limit && ok && first.before(at) {
		return fmt.Errorf("buckets of shuffle %v: %d bytes over the limit of %d while batch %d of application %d has buckets here: %w",
			l.Shuffle, s.bytes+more-s.limit, s.limit, first.time, first.app, job.ErrFull)
	}
	s.runs[at] = a
	parts := a.shuffles[l.Shuffle]
	if parts == nil {
		parts = map[int]bucket{}
		a.shuffles[l.Shuffle] = parts
	}
	parts[part] = b
	a.bytes += more
	s.bytes += more
	return nil
}

// goOn drops what was made for earlier batches than the one that the launch computes again, and gives how many bytes that
// were: batches are computed again one after the other, and together they would not fit.
func (a *attempt) goOn(l *job.Launch) (dropped int64) {
	if l.Output >= 0 {
		delete(a.again, l.Shuffle)
		return 0
	}
	for shuffle, at := range a.again {
		if at >= l.Root.Time || shuffle == l.Shuffle {
			continue
		}
		for _, b := range a.shuffles[shuffle] {
			dropped += b.bytes
		}
		delete(a.shuffles, shuffle)
		delete(a.again, shuffle)
	}
	a.again[l.Shuffle] = l.Root.Time
	a.bytes -= dropped
	return dropped
}

// oldest gives the oldest batch that has buckets here. There are no more batches than applications that run.
func (s *Store) oldest() (first run, ok bool) {
	for at := range s.runs {
		if !ok || at.before(first) {
			first, ok = at, true
		}
	}
	return first, ok
}

// Get gives the bucket of one map partition and reducer that the attempt made here.
func (s *Store) Get(f *job.Fetch, mapPart int) (dataset.Rows, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.runs[run{f.App, f.Time}]
	if a == nil || a.by.Office != f.Authority.Office || a.by.Attempt != f.Authority.Attempt {
		return nil, false
	}
	b, ok := a.shuffles[f.Shuffle][mapPart]
	if !ok || f.Reducer < 0 || f.Reducer >= len(b.rows) {
		return nil, false
	}
	return b.rows[f.Reducer], true
}

// Serve answers a fetch of another executor: it encodes the buckets one by one. If any is missing, a *job.TaskError of
// class FetchFault names all that are, and each is not called.
func (s *Store) Serve(ctx context.Context, f *job.Fetch, each func(mapPart int, bucket []byte) error) error {
	rows := make([]dataset.Rows, 0, len(f.MapParts))
	var missing []int
	for _, part := range f.MapParts {
		r, ok := s.Get(f, part)
		if !ok {
			missing = append(missing, part)
			continue
		}
		rows = append(rows, r)
	}
	if len(missing) > 0 {
		return fault(f, 0, missing, "are not held here")
	}
	for i, r := range rows {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := each(f.MapParts[i], r.Encode(nil)); err != nil {
			return fmt.Errorf("send bucket %d of shuffle %v: %w", f.MapParts[i], f.Shuffle, err)
		}
	}
	return nil
}

// Completed drops the buckets of every batch of the application up to the time.
func (s *Store) Completed(app id.App, upTo id.Time) {
	s.dropIf(func(at run) bool { return at.app == app && at.time <= upTo })
}

// Ended drops all buckets of the application.
func (s *Store) Ended(app id.App) { s.dropIf(func(at run) bool { return at.app == app }) }

// Clear drops everything: the session that made it is over.
func (s *Store) Clear() { s.dropIf(func(run) bool { return true }) }

func (s *Store) dropIf(what func(run) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.runs {
		if what(at) {
			s.drop(at)
		}
	}
}

func (s *Store) drop(at run) {
	s.bytes -= s.runs[at].bytes
	delete(s.runs, at)
}

// Stats is what a store holds.
type Stats struct {
	Batches int   // batches with buckets
	Buckets int   // map partitions with buckets
	Bytes   int64 // about; more than Limit when the oldest batch alone goes on
	Limit   int64
}

// Stats counts what the store holds.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Batches: len(s.runs), Bytes: s.bytes, Limit: s.limit}
	for _, a := range s.runs {
		for _, parts := range a.shuffles {
			st.Buckets += len(parts)
		}
	}
	return st
}

func size(rows []dataset.Rows) int64 {
	var n int64
	for _, r := range rows {
		if r, ok := r.(Sized); ok {
			n += r.Size()
			continue
		}
		n += int64(r.Len()) * rowBytes
	}
	return n
}

func fault(f *job.Fetch, holder id.Session, parts []int, why string) *job.TaskError {
	return &job.TaskError{
		Fault:    job.FetchFault,
		Text:     fmt.Sprintf("buckets %v of shuffle %v for reducer %d %s", parts, f.Shuffle, f.Reducer, why),
		Shuffle:  f.Shuffle,
		MapParts: parts,
		Holder:   holder,
	}
}
