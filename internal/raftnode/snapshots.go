package raftnode

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/raftstream/raftstream/internal/failpoint"
)

// snapshotMagic opens the header that we put before every snapshot; its last byte is the version.
const (
	snapshotMagic = "RSH\x01"
	retain        = 2
	snapshotDir   = "snapshots" // the name that raft's file store uses
)

// snapshots puts a checksummed header before every snapshot, which repeats raft's own meta data: index, term and
// configuration are in a file without a checksum, and raft skips what it cannot read for something older. Here a
// snapshot that is not what was written is an error that stops the node.
type snapshots struct {
	store raft.SnapshotStore
	dir   string
	fatal func(error) error
	late  func(index uint64) bool // Node.late; nil: nothing is
	last  atomic.Pointer[entryName]
}

// entryName names an entry of the log.
type entryName struct{ index, term uint64 }

// newest gives the last entry of the newest snapshot that was verified or finished, 0 for none.
func (s *snapshots) newest() entryName {
	if last := s.last.Load(); last != nil {
		return *last
	}
	return entryName{}
}

// finished notes the last entry of a snapshot.
func (s *snapshots) finished(e entryName) {
	for {
		last := s.last.Load()
		if last != nil && last.index >= e.index || s.last.CompareAndSwap(last, &e) {
			return
		}
	}
}

// openSnapshots opens the file store below dir, removes what a crash left half-written, and checks that every
// snapshot's meta data is readable.
func openSnapshots(dir string, log hclog.Logger, fatal func(error) error) (*snapshots, error) {
	store, err := raft.NewFileSnapshotStoreWithLogger(dir, retain, log)
	if err != nil {
		return nil, fmt.Errorf("open snapshots in %s: %w", dir, err)
	}
	s := &snapshots{store: store, dir: filepath.Join(dir, snapshotDir), fatal: fatal}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		switch {
		case !e.IsDir():
			continue
		case strings.HasSuffix(e.Name(), ".tmp"):
			if err := os.RemoveAll(path); err != nil {
				return nil, fmt.Errorf("remove unfinished snapshot: %w", err)
			}
		default:
			if _, err := readMeta(path, e.Name()); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// fileMeta is a snapshot's meta data as raft's file store has it.
type fileMeta struct {
	raft.SnapshotMeta
	CRC []byte // CRC-64 of the state's file
}

func readMeta(path, name string) (*fileMeta, error) {
	raw, err := os.ReadFile(filepath.Join(path, "meta.json"))
	if err != nil {
		return nil, damaged("snapshot "+path, "meta data cannot be read: %v", err)
	}
	var meta fileMeta
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, damaged("snapshot "+path, "meta data cannot be read: %v", err)
	}
	if meta.Version != raft.SnapshotVersionMax || meta.ID != name {
		return nil, damaged("snapshot "+path, "meta data is of version %d and id %q, expected %d and %q",
			meta.Version, meta.ID, raft.SnapshotVersionMax, name)
	}
	return &meta, nil
}

// header is magic, length and CRC32C of the rest; then index, term, configuration index and configuration.
func header(index, term, configurationIndex uint64, configuration raft.Configuration) []byte {
	rest := binary.BigEndian.AppendUint64(nil, index)
	rest = binary.BigEndian.AppendUint64(rest, term)
	rest = binary.BigEndian.AppendUint64(rest, configurationIndex)
	rest = append(rest, raft.EncodeConfiguration(configuration)...)
	b := binary.BigEndian.AppendUint32([]byte(snapshotMagic), uint32(len(rest)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(rest, castagnoli))
	return append(b, rest...)
}

func headerOf(m *raft.SnapshotMeta) []byte {
	return header(m.Index, m.Term, m.ConfigurationIndex, m.Configuration)
}

// outward is the meta data without our header, which stays on this node.
func outward(m *raft.SnapshotMeta) *raft.SnapshotMeta {
	c := *m
	c.Size -= int64(len(headerOf(m)))
	return &c
}

// Create begins a snapshot.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, t raft.Transport,
) (raft.SnapshotSink, error) {
	if s.late != nil && s.late(index) {
		return nil, fmt.Errorf("install snapshot %d: %w", index, errLate)
	}
	sink, err := s.store.Create(version, index, term, configuration, configurationIndex, t)
	if err != nil {
		return nil, fmt.Errorf("create snapshot %d: %w", index, err)
	}
	if _, err := sink.Write(header(index, term, configurationIndex, configuration)); err != nil {
		return nil, errors.Join(fmt.Errorf("create snapshot %d: %w", index, err), sink.Cancel())
	}
	failpoint.Hit(failpoint.SnapshotBegun)
	return &snapshotSink{SnapshotSink: sink, of: s, last: entryName{index, term}}, nil
}

// List gives the retained snapshots, newest first.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.store.List()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for i, m := range metas {
		metas[i] = outward(m)
	}
	return metas, nil
}

// Open checks a snapshot as a whole and gives what the ledger wrote. Its errors are DamageErrors.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	thing := "snapshot " + filepath.Join(s.dir, id)
	meta, r, err := s.store.Open(id) // checks the CRC-64 of the whole file
	if err != nil {
		return nil, nil, damaged(thing, "%v", err)
	}
	want := headerOf(meta)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return nil, nil, errors.Join(damaged(thing, "header cannot be read: %v", err), r.Close())
	}
	if !bytes.Equal(got, want) {
		return nil, nil, errors.Join(damaged(thing, "header does not match the meta data"), r.Close())
	}
	return outward(meta), r, nil
}

// verify reads the newest snapshot through, and gives its index: 0 for none.
func (s *snapshots) verify() (index uint64, err error) {
	metas, err := s.List()
	if err != nil || len(metas) == 0 {
		return 0, err
	}
	_, r, err := s.Open(metas[0].ID)
	if err != nil {
		return 0, err
	}
	s.finished(entryName{metas[0].Index, metas[0].Term})
	return metas[0].Index, r.Close()
}

// snapshotSink ends the process when a snapshot cannot be synced. A full disk is no reason: the log has everything.
type snapshotSink struct {
	raft.SnapshotSink
	of   *snapshots
	last entryName
}

// Write writes a part of the snapshot.
func (s *snapshotSink) Write(b []byte) (int, error) {
	n, err := s.SnapshotSink.Write(b)
	failpoint.Hit(failpoint.SnapshotPart)
	return n, err
}

// Close syncs the snapshot and makes it the newest.
func (s *snapshotSink) Close() error {
	failpoint.Hit(failpoint.SnapshotWritten)
	if newest := s.of.newest().index; s.last.index < newest { // raft would take this one for the newest
		return errors.Join(fmt.Errorf("finish snapshot %s: one of index %d was installed meanwhile", s.ID(), newest), s.Cancel())
	}
	err := s.SnapshotSink.Close()
	if err == nil {
		failpoint.Hit(failpoint.SnapshotKept)
		s.of.finished(s.last)
		return nil
	}
	err = fmt.Errorf("finish snapshot %s: %w", s.ID(), err)
	if errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return s.of.fatal(err)
}
