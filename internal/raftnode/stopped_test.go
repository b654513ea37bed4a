package raftnode

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/fsm"
)

// The log of a stopped node is read as it was written; while the node runs it is not read, and while it is read the node
// does not start. What is damaged ends it, after all that is before.
func TestTheLogOfAStoppedNodeIsReadUpToDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	if _, err := OpenStopped(dir); !errors.Is(err, ErrNoState) {
		t.Errorf("error is %v, expected %v", err, ErrNoState)
	}
	n, term := alone(t, dir)
	for i := range 50 {
		if r, err := n.Propose(t.Context(), term, session(i)); err != nil || r.Outcome != fsm.Done {
			t.Fatal(r, err)
		}
	}
	if _, err := OpenStopped(dir); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("while the node runs the error is %v", err)
	}
	view := n.View()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	s, err := OpenStopped(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Owner != "node-one" || s.Term != term || s.First != 1 || s.SnapshotIndex != 0 {
		t.Errorf("the state is %+v, expected node-one's in term %d", s, term)
	}
	if _, err := s.Snapshot(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the snapshot is read with %v, there is none", err)
	}
	m, kinds := fsm.New(), map[EntryKind]int{}
	for e, err := range s.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		kinds[e.Kind]++
		if e.Kind == EntryCommands {
			if _, err := m.Apply(e.Index, e.Data); err != nil {
				t.Fatal(err)
			}
		}
		if e.Kind == EntryConfiguration && (len(e.Servers) != 1 || e.Servers[0].ID != "node-one" || !e.Servers[0].Voter) {
			t.Errorf("entry %d names the members %v", e.Index, e.Servers)
		}
	}
	if m.View().Hash() != view.Hash() || kinds[EntryConfiguration] == 0 || kinds[EntryNoop] == 0 {
		t.Errorf("entries of the kinds %v lead to the index %d, the node was at %d", kinds, m.View().Index(), view.Index())
	}
	if _, err := openBolt(filepath.Join(dir, "raft.db")); err == nil {
		t.Error("a node could start while the log is read")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	path := filepath.Join(dir, "raft.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte("s49"), []byte("s48"))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenStopped(dir); err != nil {
		t.Fatal(err)
	}
	read, last := 0, error(nil)
	for _, err := range s.Entries() {
		if last = err; err == nil {
			read++
		}
	}
	if read < 50 || !errors.Is(last, ErrDamaged) {
		t.Errorf("%d entries were read, then %v; expected damage in the last one", read, last)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedSnapshotOfAStoppedNodeIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := snapshotsIn(t, dir)
	writeSnapshot(t, s, 10, "older")
	writeSnapshot(t, s, 20, "what the ledger wrote")
	files := &snapshots{store: snapshotFiles{filepath.Join(dir, snapshotDir)}, dir: dir}
	metas, err := files.List()
	if err != nil || len(metas) != 2 || metas[0].Index != 20 {
		t.Fatalf("snapshots %v, %v, expected the one of 20 first", metas, err)
	}
	if err := os.WriteFile(filepath.Join(dir, snapshotDir, metas[0].ID, "state.bin"), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := files.Open(metas[0].ID); !errors.Is(err, ErrDamaged) {
		t.Errorf("error is %v, expected damage", err)
	}
}
