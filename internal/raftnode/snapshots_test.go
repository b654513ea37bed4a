package raftnode

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func snapshotsIn(t *testing.T, dir string) *snapshots {
	t.Helper()
	s, err := openSnapshots(dir, newLogger(slog.New(slog.DiscardHandler)), func(err error) error { return err })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func writeSnapshot(t *testing.T, s *snapshots, index uint64, content string) {
	t.Helper()
	c := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a:1"}}}
	sink, err := s.Create(1, index, 1, c, 1, noTransport{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(sink, content); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

// noTransport is enough of a transport for the file store, which encodes addresses with it.
type noTransport struct{ raft.Transport }

func (noTransport) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

// Rule 12: every byte of a snapshot matters, those that raft keeps without a checksum too.
func TestADamagedSnapshotIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := snapshotsIn(t, dir)
	writeSnapshot(t, s, 10, "what the ledger wrote")
	if index, err := s.verify(); index != 10 || err != nil {
		t.Fatal(index, err)
	}
	meta, r, err := s.Open(names(t, s)[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "what the ledger wrote" || meta.Size != int64(len(got)) {
		t.Errorf("the snapshot is %q, %v, of size %d", got, err, meta.Size)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"state.bin", "meta.json"} {
		path := filepath.Join(s.dir, names(t, s)[0], file)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		harmless := 0
		for i := range 8 * len(whole) {
			bad := slices.Clone(whole)
			bad[i/8] ^= 1 << (i % 8)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := reopen(dir); err == nil {
				harmless++ // of JSON: the case of a key, the size, the old form of the peers
			} else if !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d of %s: the error is no DamageError: %v", i, file, err)
			}
		}
		if file == "state.bin" && harmless > 0 || harmless > 4*len(whole) {
			t.Errorf("%d of %d flipped bits of %s are not noticed", harmless, 8*len(whole), file)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func names(t *testing.T, s *snapshots) (ids []string) {
	t.Helper()
	metas, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range metas {
		ids = append(ids, m.ID)
	}
	return ids
}

// reopen fails if the snapshot is refused, or is taken for another one than it is.
func reopen(dir string) error {
	s, err := openSnapshots(dir, newLogger(slog.New(slog.DiscardHandler)), func(err error) error { return err })
	if err != nil {
		return err
	}
	index, err := s.verify()
	if err == nil && index != 10 {
		return fmt.Errorf("index is %d", index)
	}
	return err
}

func TestUnfinishedSnapshotsAreRemovedAndTwoAreKept(t *testing.T) {
	dir := t.TempDir()
	s := snapshotsIn(t, dir)
	for i := range 5 {
		writeSnapshot(t, s, uint64(10*i+10), "state")
	}
	if got := names(t, s); len(got) != 2 || !strings.HasPrefix(got[0], "1-50-") {
		t.Errorf("snapshots are %v, expected the two newest", got)
	}
	left := filepath.Join(s.dir, "1-60-1.tmp")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	snapshotsIn(t, dir) // opened again
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unfinished snapshot is still there: %v", err)
	}
}
