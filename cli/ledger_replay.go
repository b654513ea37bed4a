package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/datadir"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/raftnode"
)

// replay applies the log of a node that does not run to a state machine of its own.
type replay struct {
	dir     *datadir.Stopped
	raft    *raftnode.Stopped
	machine *fsm.Machine
	seeded  bool                  // machine has what the log itself does not hold: it may apply the next entry
	names   map[id.Session]string // node names of sessions, also of those that are closed
}

// logged is one command of an entry, or an entry of raft's own.
type logged struct {
	entry    raftnode.StoppedEntry
	n        int // number in the entry, from 1; 0 for raft's own
	proposed fsm.Proposed
	result   *fsm.Result // nil where the state before the entry is not known
	blocks   []id.Block  // that a BlocksAllocated gave to its first batch, in order
	view     fsm.View    // after the entry; of nothing where result is nil
}

// openReplay opens the data directory of a node that does not run.
func openReplay(path string) (_ *replay, err error) {
	dir, err := datadir.Inspect(path)
	if err != nil {
		return nil, err
	}
	state, err := raftnode.OpenStopped(dir.Raft())
	if errors.Is(err, raftnode.ErrNoState) {
		err = fmt.Errorf("node %s keeps no ledger, it has never been a driver: %w", dir.Name(), err)
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &replay{dir: dir, raft: state, machine: fsm.New(), names: map[id.Session]string{}}, nil
}

func (r *replay) close() error { return errors.Join(r.raft.Close(), r.dir.Close()) }

// errNotThatFar says that a state cannot be made of what the node has.
var errNotThatFar = errors.New("the log does not go back to the first entry")

// run gives every step of the entries up to an index to each. Where the log goes back to its first entry, all of it is applied,
// and a snapshot in between must be what came out; else the snapshot comes first, and entries before its end are
// given without results.
func (r *replay) run(upTo uint64, each func(*logged) error) error {
	snapshot, err := r.snapshot()
	if err != nil {
		return err
	}
	whole, err := r.whole()
	if err != nil {
		return err
	}
	r.seeded = whole
	if !whole && snapshot != nil {
		r.machine = snapshot
		r.learn(snapshot.View())
	}
	for e, err := range r.raft.Entries() {
		if err != nil {
			return err
		}
		if e.Index > upTo {
			break
		}
		r.seeded = r.seeded || e.Index > r.raft.SnapshotIndex
		if err := r.entry(e, each); err != nil {
			return err
		}
		if whole && snapshot != nil && e.Index == r.raft.SnapshotIndex {
			if got, want := r.machine.View().Hash(), snapshot.View().Hash(); got != want {
				return fmt.Errorf("the snapshot at index %d has state hash %x, the log up to there gives %x: "+
					"this node's ledger has departed from its log", e.Index, want, got)
			}
		}
	}
	if !whole && upTo < r.raft.SnapshotIndex {
		return fmt.Errorf("the state at index %d is not known: %w, and the snapshot is of index %d", upTo, errNotThatFar, r.raft.SnapshotIndex)
	}
	return nil
}

// snapshot gives the newest snapshot's state, nil without.
func (r *replay) snapshot() (_ *fsm.Machine, err error) {
	if r.raft.SnapshotIndex == 0 {
		return nil, nil
	}
	in, err := r.raft.Snapshot()
	if err != nil {
		return nil, err
	}
	m := fsm.New()
	return m, errors.Join(m.Restore(in), in.Close())
}

// whole reports whether the log holds every entry from the first one up to the snapshot's end, of the same history:
// after a crash while a leader's snapshot was installed, entries that it replaces may still be there.
func (r *replay) whole() (bool, error) {
	if r.raft.First > 1 || r.raft.Last < r.raft.SnapshotIndex {
		return false, nil
	}
	next := uint64(1)
	for e, err := range r.raft.Entries() {
		if err != nil || e.Index > r.raft.SnapshotIndex {
			break // damage behind the snapshot is met again
		}
		if e.Index != next || e.Index == r.raft.SnapshotIndex && e.Term != r.raft.SnapshotTerm {
			return false, nil
		}
		next++
	}
	return next == r.raft.SnapshotIndex+1, nil
}

// learn takes the names of sessions from a state.
func (r *replay) learn(v fsm.View) {
	for s := range v.Sessions() {
		r.names[s.ID] = s.Name
	}
}

func (r *replay) entry(e raftnode.StoppedEntry, each func(*logged) error) error {
	if e.Kind != raftnode.EntryCommands {
		return each(&logged{entry: e})
	}
	commands, err := fsm.Decode(e.Data)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	results := make([]fsm.Result, 0, len(commands))
	var view fsm.View
	if r.seeded {
		if results, err = r.machine.Apply(e.Index, e.Data); err != nil {
			return err
		}
		view = r.machine.View()
	}
	for i, c := range commands {
		s := &logged{entry: e, n: i + 1, proposed: c, view: view}
		if opened, ok := c.Command.(*fsm.SessionOpened); ok {
			r.names[id.Session(e.Index)] = opened.Name
		}
		if i < len(results) {
			s.result = &results[i]
			s.blocks = allocated(view, c.Command, e.Index, results[i])
		}
		if err := each(s); err != nil {
			return err
		}
	}
	return nil
}

// allocated lists what a command gave to a batch.
func allocated(v fsm.View, command fsm.Command, index uint64, result fsm.Result) []id.Block {
	c, ok := command.(*fsm.BlocksAllocated)
	if !ok || result.Outcome != fsm.Done || result.Index != index {
		return nil
	}
	a, ok := v.App(c.App)
	if !ok {
		return nil
	}
	blocks := []id.Block{}
	streams := make([]id.Stream, 0, len(a.Inputs))
	for _, in := range a.Inputs {
		streams = append(streams, in.Stream)
	}
	slices.Sort(streams)
	for _, s := range streams {
		for _, b := range v.Input(c.App, c.From, s) {
			blocks = append(blocks, b.ID)
		}
	}
	return blocks
}
