package raftnode

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/raftstream/raftstream/fsm"
)

// testdata/raft-boltdb.db.gz is raft.db of a node that ran while raft-boltdb was the store: 120 sessions were opened in a cluster of
// its own, then it was stopped. Its ledger was at the index 124 and had this hash.
const oldHash = "240ea7ee45729253ca4bd366de95b0b85c9871d3fd203797fa4658dae1407f75"

func oldFile(t *testing.T) (dir string) {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("left out: bbolt's files have the byte order of the machine that wrote them, this one's is another")
	}
	f, err := os.Open(filepath.Join("testdata", "raft-boltdb.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "raft")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "raft.db"), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestANodeOfTheStoreBeforeGoesOnWithAllThatItHad(t *testing.T) {
	dir := oldFile(t)
	s, err := OpenStopped(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := fsm.New()
	for e, err := range s.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == EntryCommands {
			if _, err := m.Apply(e.Index, e.Data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := fmt.Sprintf("%x", m.View().Hash()); got != oldHash || s.Term != 2 || s.Last != 124 {
		t.Errorf("the ledger has the hash %s after entry %d of term %d, expected %s, 124, 2", got, s.Last, s.Term, oldHash)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := s.Term
	for start := range 2 {
		n, term := alone(t, dir)
		if r, err := n.Propose(t.Context(), term, session(120+start)); err != nil || r.Outcome != fsm.Done {
			t.Fatal(r, err)
		}
		if got := len(sessions(n)); got != 121+start || term <= before {
			t.Errorf("%d sessions in term %d, expected %d and a term above %d", got, term, 121+start, before)
		}
		before = term
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The program before opens the file with a transaction that does not keep the numbers: what it did is not trusted.
func TestAFileThatTheProgramBeforeWroteToIsRefused(t *testing.T) {
	dir := oldFile(t)
	n, _ := alone(t, dir)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "raft.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(logsBucket)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := openBolt(path); !errors.Is(err, ErrDamaged) {
		t.Errorf("error is %v, expected damage", err)
	}
}

func TestALongLastEntryIsNotReadToStoreAVote(t *testing.T) {
	s := storeAt(t, filepath.Join(t.TempDir(), "raft.db"))
	defer func() { _ = s.Close() }()
	long := entry(40, 1)
	long.Data = make([]byte, 1<<20)
	for i := uint64(1); i < 40; i++ {
		if err := s.StoreLog(entry(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.StoreLog(long); err != nil {
		t.Fatal(err)
	}
	const votes = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range votes {
		if err := s.Set([]byte(stableKey), make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / votes; got > 200_000 {
		t.Errorf("storing a vote allocates %d bytes, expected less than 200000", got)
	}
}
