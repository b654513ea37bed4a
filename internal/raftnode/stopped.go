package raftnode

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// ErrNoState says that a directory holds no raft state: the node has never been a driver.
var ErrNoState = errors.New("no raft state")

// Stopped is the raft state of a node that does not run, for reading. Nothing on disk is changed.
type Stopped struct {
	Owner       string // raft id of the node that the state is of
	Term        uint64 // the last one that it knew
	First, Last uint64 // indexes of the log's entries, 0 for an empty log
	// Index and SnapshotTerm are the newest snapshot's, 0 for none: the log may begin before its end or right after.
	SnapshotIndex, SnapshotTerm uint64

	disk      disk
	log       *checked
	snapshots *snapshots
	newest    string // id of the newest snapshot
}

// StoppedEntry is an entry of a log.
type StoppedEntry struct {
	Index, Term uint64
	Appended    time.Time // by the clock of the leader that made it; zero if that did not say
	Kind        EntryKind
	Data        []byte   // of commands: what fsm.Decode reads
	Servers     []Server // of a configuration
}

// EntryKind says what an entry is to raft.
type EntryKind string

// Kinds of entries.
const (
	EntryCommands      EntryKind = "commands"      // for the ledger
	EntryConfiguration EntryKind = "configuration" // who belongs to the cluster
	EntryNoop          EntryKind = "noop"          // opens a term
	EntryBarrier       EntryKind = "barrier"
)

// OpenStopped opens what Config.Dir of a node held when it stopped. It fails with ErrNoState where there is nothing,
// with a DamageError where it is not what was written, and while a process uses it.
func OpenStopped(dir string) (*Stopped, error) {
	path := filepath.Join(dir, "raft.db")
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0:
		return nil, fmt.Errorf("%s: %w", dir, ErrNoState)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := checkBolt(path); err != nil {
		return nil, err
	}
	store, err := openStore(path, true)
	if err != nil {
		return nil, err
	}
	keep := func(err error) error { return err } // the caller decides
	s := &Stopped{
		disk: store, log: &checked{disk: protected{store}, file: path, fatal: keep},
		snapshots: &snapshots{store: snapshotFiles{filepath.Join(dir, snapshotDir)}, dir: filepath.Join(dir, snapshotDir), fatal: keep},
	}
	if err := s.read(path); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stopped) read(path string) error {
	raw, err := s.log.disk.Get([]byte(stableKey))
	if err != nil {
		return damaged(path, "term and vote cannot be read: %v", err)
	}
	owner, values, ok := decodeStable(raw)
	if !ok {
		return damaged(path, "the checksum over term and vote does not match")
	}
	s.Owner = owner
	if term := values["CurrentTerm"]; len(term) == 8 {
		s.Term = binary.BigEndian.Uint64(term)
	}
	if s.First, err = s.log.FirstIndex(); err != nil {
		return damaged(path, "%v", err)
	}
	if s.Last, err = s.log.LastIndex(); err != nil {
		return damaged(path, "%v", err)
	}
	metas, err := s.snapshots.List()
	if err != nil || len(metas) == 0 {
		return err
	}
	s.newest, s.SnapshotIndex, s.SnapshotTerm = metas[0].ID, metas[0].Index, metas[0].Term
	return nil
}

// Snapshot opens what the ledger wrote as the newest snapshot, after a check of the whole.
func (s *Stopped) Snapshot() (io.ReadCloser, error) {
	if s.newest == "" {
		return nil, fmt.Errorf("no snapshot: %w", fs.ErrNotExist)
	}
	_, r, err := s.snapshots.Open(s.newest)
	return r, err
}

// Entries gives the log in order. An entry that is damaged or missing is an error, and the last of them; up to the
// snapshot entries may be missing. The last ones may not be committed: no node knows on disk which are.
func (s *Stopped) Entries() iter.Seq2[StoppedEntry, error] {
	return func(yield func(StoppedEntry, error) bool) {
		if s.Last > 0 && s.First > s.SnapshotIndex+1 {
			yield(StoppedEntry{}, damaged(s.log.thing(s.SnapshotIndex+1), "is missing, the first one is %d", s.First))
			return
		}
		before := uint64(0)
		for i := s.First; i > 0 && i <= s.Last; i++ {
			var l raft.Log
			err := s.log.read(i, &l)
			switch {
			case errors.Is(err, raft.ErrLogNotFound) && i <= s.SnapshotIndex:
				continue // as in verifyEntries
			case errors.Is(err, raft.ErrLogNotFound):
				err = damaged(s.log.thing(i), "is missing, the last one is %d", s.Last)
			case err == nil && (l.Term < before || l.Term > s.Term):
				err = damaged(s.log.thing(i), "is of term %d, expected %d to %d", l.Term, before, s.Term)
			}
			if err != nil {
				yield(StoppedEntry{}, err)
				return
			}
			before = l.Term
			if !yield(entryOf(&l), nil) {
				return
			}
		}
	}
}

func entryOf(l *raft.Log) StoppedEntry {
	e := StoppedEntry{Index: l.Index, Term: l.Term, Appended: l.AppendedAt, Data: l.Data}
	switch l.Type {
	case raft.LogCommand:
		e.Kind = EntryCommands
	case raft.LogNoop:
		e.Kind = EntryNoop
	case raft.LogBarrier:
		e.Kind = EntryBarrier
	case raft.LogConfiguration:
		e.Kind, e.Servers = EntryConfiguration, serversOf(raft.DecodeConfiguration(l.Data).Servers)
	default:
		e.Kind = EntryKind(l.Type.String())
	}
	return e
}

// Close gives the files back.
func (s *Stopped) Close() error {
	if err := protect(s.disk.Close); err != nil {
		return fmt.Errorf("close raft state: %w", err)
	}
	return nil
}

// protected turns faults of a damaged mapped file into errors, as guarded does, where nothing is written.
type protected struct{ disk }

// Get reads a value.
func (p protected) Get(key []byte) (value []byte, err error) {
	err = protect(func() error { value, err = p.disk.Get(key); return err })
	return value, err
}

// GetLog reads an entry.
func (p protected) GetLog(index uint64, l *raft.Log) error {
	return protect(func() error { return p.disk.GetLog(index, l) })
}

// FirstIndex gives the first entry's index.
func (p protected) FirstIndex() (index uint64, err error) {
	err = protect(func() error { index, err = p.disk.FirstIndex(); return err })
	return index, err
}

// LastIndex gives the last entry's index.
func (p protected) LastIndex() (index uint64, err error) {
	err = protect(func() error { index, err = p.disk.LastIndex(); return err })
	return index, err
}

// snapshotFiles reads what raft's file store wrote. That store itself tries out whether it may write when it is opened.
type snapshotFiles struct{ dir string }

// Create is refused.
func (f snapshotFiles) Create(raft.SnapshotVersion, uint64, uint64, raft.Configuration, uint64, raft.Transport) (raft.SnapshotSink, error) {
	return nil, fmt.Errorf("snapshots in %s are open for reading", f.dir)
}

// List gives the finished snapshots, newest first.
func (f snapshotFiles) List() ([]*raft.SnapshotMeta, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var metas []*raft.SnapshotMeta
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		m, err := readMeta(filepath.Join(f.dir, e.Name()), e.Name())
		if err != nil {
			return nil, err
		}
		metas = append(metas, &m.SnapshotMeta)
	}
	slices.SortFunc(metas, func(a, b *raft.SnapshotMeta) int {
		return cmp.Or(cmp.Compare(b.Term, a.Term), cmp.Compare(b.Index, a.Index), cmp.Compare(b.ID, a.ID))
	})
	return metas, nil
}

// Open checks the file's checksum and opens it.
func (f snapshotFiles) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	path := filepath.Join(f.dir, id)
	meta, err := readMeta(path, id)
	if err != nil {
		return nil, nil, err
	}
	file, err := os.Open(filepath.Join(path, "state.bin"))
	if err != nil {
		return nil, nil, err
	}
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	_, err = io.Copy(sum, file)
	if err == nil && !bytes.Equal(sum.Sum(nil), meta.CRC) {
		err = fmt.Errorf("checksum is %x, expected %x", sum.Sum(nil), meta.CRC)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return &meta.SnapshotMeta, file, nil
}
