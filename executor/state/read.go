package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Advance gives the partition as of base, and what makes changes of it, both unchanging until release is called. The
// delta is made by advance, over the state, unless it was made here before; at a time at which several tasks ask, by one
// of them. The base is a table here, or what is called so for the first time: then the delta that leads to it becomes
// part of the table. Else load makes the table; a nil load says that it cannot be made, and the error is a
// *job.TaskError of class StateFault.
//
// Attempt 0 of the base is the empty state, which load makes too. Other errors are those of load and of ctx's end.
// advance may unwind: nothing is kept then.
//
// Invariant: nothing is entered once ctx has ended, see Progress.
func (s *Store) Advance(
	ctx context.Context, app id.App, base job.Held, makes job.Version,
	load loader, advance func(dataset.State) dataset.Delta,
) (dataset.State, dataset.Delta, func(), error) {
	k := key{app, base.Stream, base.Part}
	t, err := s.read(ctx, k, base.Version, makes.Time-base.Version.Time, load)
	if err != nil {
		return nil, nil, nil, err
	}
	done := false
	defer func() {
		if !done {
			s.release(t)
		}
	}()
	d, err := s.delta(ctx, t, makes, advance)
	if err != nil {
		return nil, nil, nil, err
	}
	done = true
	return t.state, d, func() { s.release(t) }, nil
}

// Checkpoint encodes a partition: everything if full, else what changed after since; see Encode for the chunks. Each is
// called for one after the other and may keep the chunk; its error ends the work.
func (s *Store) Checkpoint(
	ctx context.Context, app id.App, at job.Held, full bool, since id.Time,
	load loader, each func(chunk []byte, rows int64) error,
) error {
	t, err := s.read(ctx, key{app, at.Stream, at.Part}, at.Version, 0, load)
	if err != nil {
		return err
	}
	defer s.release(t)
	s.mu.Lock()
	known := t.since
	s.mu.Unlock()
	if !full && since < known {
		return &job.TaskError{
			Fault: job.LostFault,
			Text:  fmt.Sprintf("changes of %s after %d were asked for, they are known after %d only", name(at), since, known),
		}
	}
	return encode(ctx, app, at, t.state, full, since, each)
}

func name(h job.Held) string {
	return fmt.Sprintf("state of stream %d, partition %d, at %d by attempt %d", h.Stream, h.Part, h.Version.Time, h.Version.Attempt)
}

type loader = func(context.Context) (dataset.State, error)

// seek looks for the table of a version. Its fields are of one goroutine.
type seek struct {
	*Store
	ctx  context.Context
	key  key
	v    job.Version
	step id.Time
	load loader
	end  time.Time // of the wait for readers, zero before there was one
}

// next is what find came to. Exactly one of its fields is set, or none: the version is not held and cannot be made.
type next struct {
	table *table          // with one more reader
	do    func() error    // before looking again
	busy  <-chan struct{} // to wait for before looking again
	read  <-chan struct{} // likewise, but not for longer than end
}

// read gives the table of a version with one more reader.
func (s *Store) read(ctx context.Context, k key, v job.Version, step id.Time, load loader) (*table, error) {
	f := &seek{Store: s, ctx: ctx, key: k, v: v, step: step, load: load}
	for {
		n := f.find()
		switch {
		case ctx.Err() != nil && n.table == nil && n.do == nil:
			return nil, context.Cause(ctx)
		case n.table != nil:
			return n.table, nil
		case n.do != nil:
			if err := n.do(); err != nil {
				return nil, err
			}
		case n.busy != nil:
			await(ctx, n.busy, nil)
		case n.read != nil:
			t := time.NewTimer(time.Until(f.end))
			await(ctx, n.read, t.C)
			t.Stop()
		default:
			h := job.Held{Stream: k.stream, Part: k.part, Version: v}
			return nil, &job.TaskError{Fault: job.StateFault, Stream: k.stream, Part: k.part, Text: name(h) + " is not held here"}
		}
	}
}

func await(ctx context.Context, c <-chan struct{}, late <-chan time.Time) {
	select {
	case <-c:
	case <-late:
	case <-ctx.Done():
	}
}

func (f *seek) find() next {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return next{}
	}
	p := f.of(f.key)
	defer func() {
		if len(p.tables) == 0 {
			delete(f.apps[f.key.app], f.key)
		}
	}()
	p.stepMS = max(p.stepMS, f.step)
	if t := p.at(f.v); t != nil {
		if t.busy != nil {
			return next{busy: t.busy}
		}
		if t.readers++; t.readers == 1 {
			t.unread = make(chan struct{})
		}
		return next{table: t}
	}
	if t := p.before(f.v); t != nil {
		if n, ok := f.proceed(t); ok {
			return n
		}
		f.log.Warn("keyed state is given up: tasks of a batch that is over still read it", "app", uint64(f.key.app),
			"stream", int(f.key.stream), "part", f.key.part, "version", int64(t.version.Time), "readers", t.readers)
		p.remove(t)
	}
	if f.load == nil {
		return next{}
	}
	t := &table{version: f.v, busy: make(chan struct{}), deltas: map[job.Version]*flight{}, since: f.v.Time}
	p.add(t)
	return next{do: func() error { return f.restore(t) }}
}

// proceed says how the table goes on to the version; false: its readers were waited for long enough.
func (f *seek) proceed(t *table) (next, bool) {
	switch now := time.Now(); {
	case t.busy != nil:
		return next{busy: t.busy}, true
	case t.readers == 0:
		t.busy = make(chan struct{})
		return next{do: func() error { f.install(f.key, t, f.v); return nil }}, true
	case f.end.IsZero():
		f.end = now.Add(patience)
		return next{read: t.unread}, true
	case now.Before(f.end):
		return next{read: t.unread}, true
	}
	return next{}, false
}

// restore makes the state of a table that was just entered. The table goes again when that fails.
func (f *seek) restore(t *table) error {
	var made dataset.State
	defer func() { // also when load unwinds
		f.mu.Lock()
		defer f.mu.Unlock()
		if t.state = made; made == nil {
			f.drop(f.key, t)
		} else {
			t.measure()
		}
		close(t.busy)
		t.busy = nil
	}()
	state, err := f.load(f.ctx)
	if err == nil {
		made = state
	}
	return err
}

// drop takes a table out that must not be found again.
func (s *Store) drop(k key, t *table) {
	t.gone = true
	p := s.apps[k.app][k]
	if p == nil {
		return
	}
	if p.remove(t); len(p.tables) == 0 {
		delete(s.apps[k.app], k)
	}
}

// install makes the delta that leads to v part of the table. Every other delta over it lost: it goes, as do older tables
// of the partition.
func (s *Store) install(k key, t *table, v job.Version) {
	s.mu.Lock()
	d, upTo := t.deltas[v].delta, s.told[k.app]
	s.mu.Unlock()
	whole := false
	defer func() { // a table whose installation unwinds is neither version
		s.mu.Lock()
		defer s.mu.Unlock()
		busy := t.busy
		t.busy = nil
		close(busy)
		t.deltas = map[job.Version]*flight{}
		if !whole {
			s.drop(k, t)
			return
		}
		t.version, t.since = v, max(t.since, upTo)
		t.measure()
		if p := s.apps[k.app][k]; p != nil {
			p.settle(t)
		}
	}()
	t.state.Install(d, v.Time)
	if upTo > t.since {
		t.state.Forget(upTo)
	}
	whole = true
}

// settle drops what a table that has gone on leaves behind: older ones, and another one of the same version.
func (p *partition) settle(t *table) {
	for _, x := range slices.Clone(p.tables) {
		if x != t && x.busy == nil && x.version.Time <= t.version.Time {
			p.remove(x)
		}
	}
}

// release takes a reader off.
func (s *Store) release(t *table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.readers--; t.readers == 0 {
		close(t.unread)
		t.unread = nil
	}
}

// delta gives what makes changes of the table: what was made here, or what advance makes now. The table has a reader.
func (s *Store) delta(ctx context.Context, t *table, makes job.Version, advance func(dataset.State) dataset.Delta) (dataset.Delta, error) {
	for {
		f, mine := t.board(s, ctx.Done(), makes)
		if mine {
			return s.fly(ctx, t, makes, f, advance), nil
		}
		select {
		case <-f.done:
			if f.made() {
				return f.delta, nil
			}
		case <-f.owner: // its task is over and only its user code does not know: nobody waits for that
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// board gives the flight that makes a version; mine says that the caller is to make it.
func (t *table) board(s *Store, owner <-chan struct{}, makes job.Version) (f *flight, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f = t.deltas[makes]
	if f != nil && (f.made() || !over(f.owner)) {
		return f, false
	}
	f = &flight{owner: owner, done: make(chan struct{})}
	t.deltas[makes] = f
	return f, true
}

func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// fly makes a delta and keeps it, unless its task is over by then or somebody else had to make it.
func (s *Store) fly(
	ctx context.Context, t *table, makes job.Version, f *flight, advance func(dataset.State) dataset.Delta,
) (made dataset.Delta) {
	defer func() { // also when advance unwinds
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case t.deltas[makes] != f: // taken over
		case made == nil || ctx.Err() != nil || t.gone:
			delete(t.deltas, makes)
		default:
			f.delta = made
			t.bound()
		}
		close(f.done)
	}()
	return advance(t.state)
}

// bound keeps the number of deltas at the limit.
func (t *table) bound() {
	for len(t.deltas) > maxDeltas {
		oldest := job.Version{}
		for v, f := range t.deltas {
			if f.made() && (oldest == (job.Version{}) || compare(v, oldest) < 0) {
				oldest = v
			}
		}
		if oldest == (job.Version{}) {
			return
		}
		delete(t.deltas, oldest)
	}
}
