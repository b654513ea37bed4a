package raftnode

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"pgregory.net/rapid"
)

func storeAt(t testing.TB, path string) *boltStore {
	t.Helper()
	s, err := openStore(path, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func entry(index, term uint64) *raft.Log {
	return &raft.Log{
		Index: index, Term: term, Type: raft.LogCommand, Data: slices.Repeat([]byte{byte(index)}, 300), Extensions: []byte("x"),
		AppendedAt: time.Unix(0, int64(index)),
	}
}

func sameEntry(a, b *raft.Log) bool {
	at := a.AppendedAt.Equal(b.AppendedAt)
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && string(a.Data) == string(b.Data) &&
		string(a.Extensions) == string(b.Extensions) && at
}

// The file is raft-boltdb's: what one wrote the other reads.
func TestStoreReadsAndWritesWhatRaftBoltDBDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	theirs, err := raftboltdb.NewBoltStore(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(theirs.StoreLogs([]*raft.Log{entry(1, 1), entry(2, 1)}), theirs.Set([]byte("k"), []byte("v")), theirs.Close()); err != nil {
		t.Fatal(err)
	}
	ours := storeAt(t, path)
	var got raft.Log
	if err := ours.GetLog(2, &got); err != nil || !sameEntry(&got, entry(2, 1)) {
		t.Errorf("entry 2 is %+v, %v", got, err)
	}
	if v, err := ours.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Errorf("value %q, %v", v, err)
	}
	if err := errors.Join(ours.StoreLog(entry(3, 2)), ours.Set([]byte("k"), []byte("w")), ours.Close()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = raftboltdb.NewBoltStore(path); err != nil {
		t.Fatal(err)
	}
	if err := theirs.GetLog(3, &got); err != nil || !sameEntry(&got, entry(3, 2)) {
		t.Errorf("entry 3 is %+v, %v", got, err)
	}
	if v, err := theirs.Get([]byte("k")); err != nil || string(v) != "w" {
		t.Errorf("value %q, %v", v, err)
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
}

// The store is a map of entries and a map of values, also when it is opened again.
func TestStoreIsALog(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		path := filepath.Join(dir, string(rune('a'+n%26))+".db")
		if err := os.RemoveAll(path); err != nil {
			r.Fatal(err)
		}
		s := storeAt(t, path)
		s.db.NoSync = true // no power is cut here
		defer func() { _ = s.Close() }()
		want, values := map[uint64]uint64{}, map[string]string{}
		r.Repeat(map[string]func(*rapid.T){
			"append": func(r *rapid.T) {
				first, count, term := rapid.Uint64Range(1, 60).Draw(r, "first"), rapid.Uint64Range(1, 20).Draw(r, "count"), rapid.Uint64Range(1, 5).Draw(r, "term")
				var all []*raft.Log
				for i := first; i < first+count; i++ {
					all = append(all, entry(i, term))
					want[i] = term
				}
				if err := s.StoreLogs(all); err != nil {
					r.Fatal(err)
				}
			},
			"delete": func(r *rapid.T) {
				low := rapid.Uint64Range(0, 80).Draw(r, "low")
				high := rapid.Uint64Range(low, 90).Draw(r, "high")
				for i := low; i <= high; i++ {
					delete(want, i)
				}
				if err := s.DeleteRange(low, high); err != nil {
					r.Fatal(err)
				}
			},
			"set": func(r *rapid.T) {
				k, v := rapid.StringN(1, 3, 3).Draw(r, "key"), rapid.String().Draw(r, "value")
				values[k] = v
				if err := s.Set([]byte(k), []byte(v)); err != nil {
					r.Fatal(err)
				}
			},
			"reopen": func(r *rapid.T) {
				if err := s.Close(); err != nil {
					r.Fatal(err)
				}
				if err := checkBolt(path); err != nil {
					r.Fatal(err)
				}
				s = storeAt(t, path)
				s.db.NoSync = true
			},
			"": func(r *rapid.T) {
				var first, last uint64
				for i := range want {
					if first == 0 || i < first {
						first = i
					}
					last = max(last, i)
				}
				if got, err := s.FirstIndex(); got != first || err != nil {
					r.Fatalf("first %d, %v; expected %d", got, err, first)
				}
				if got, err := s.LastIndex(); got != last || err != nil {
					r.Fatalf("last %d, %v; expected %d", got, err, last)
				}
				for i := range uint64(90) {
					var l raft.Log
					err := s.GetLog(i, &l)
					term, there := want[i]
					if there && (err != nil || !sameEntry(&l, entry(i, term))) || !there && !errors.Is(err, raft.ErrLogNotFound) {
						r.Fatalf("entry %d is %+v, %v; expected term %d", i, l, err, term)
					}
				}
				for k, v := range values {
					if got, err := s.Get([]byte(k)); err != nil || string(got) != v {
						r.Fatalf("value of %q is %q, %v; expected %q", k, got, err, v)
					}
				}
			},
		})
	})
}

// content is all that a store holds, and "gap" for a log with one: that is told by who reads it.
func content(t *testing.T, d disk) string {
	t.Helper()
	first, err := d.FirstIndex()
	last, err2 := d.LastIndex()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for i := first; i > 0 && i <= last; i++ {
		var l raft.Log
		if err := d.GetLog(i, &l); err != nil {
			return "gap"
		}
		fmt.Fprintln(&all, l.Index, l.Term, len(l.Data))
	}
	v, err := d.Get([]byte(stableKey))
	fmt.Fprintln(&all, v, err)
	return all.String()
}

// A page that holds what was there before is well formed: only the numbers in the root page tell that a write was lost.
func TestLostWriteOfAnyPageIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "raft.db")
	s := storeAt(t, path)
	read := func() []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var images [][]byte
	var held []string
	last, term := uint64(0), uint64(1)
	for i := range 80 {
		var err error
		switch {
		case i%9 == 8: // a new leader replaces the end of the log
			term++
			err = s.DeleteRange(last-3, last)
			last -= 4
		case i%5 == 4:
			err = s.Set([]byte(stableKey), []byte{byte(i)})
		default:
			err = s.StoreLogs([]*raft.Log{entry(last+1, term), entry(last+2, term)})
			last += 2
		}
		if err != nil {
			t.Fatal(err)
		}
		images, held = append(images, read()), append(held, content(t, s))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	const page = 4096
	stale := filepath.Join(dir, "stale.db")
	lost, quiet := 0, 0
	for i := 1; i < len(images); i++ {
		now, past := images[i], images[i-1]
		for at := 2 * page; at < len(now); at += page { // not the meta pages: an older one is an older state
			was := make([]byte, page)
			copy(was, past[min(at, len(past)):])
			if string(was) == string(now[at:at+page]) {
				continue
			}
			lost++
			b := slices.Clone(now)
			copy(b[at:], was)
			if err := os.WriteFile(stale, b, 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := openBolt(stale)
			if err == nil {
				if got := content(t, d); got != held[i] && got != "gap" {
					quiet++
					t.Errorf("transaction %d: the write of page %d was lost, and nothing is said", i, at/page)
				}
				_ = d.Close()
			} else if !errors.Is(err, ErrDamaged) {
				t.Errorf("transaction %d: the error is no damage: %v", i, err)
			}
		}
	}
	if lost < 100 {
		t.Errorf("%d writes were lost (%d unnoticed), expected more than 100", lost, quiet)
	}
}

func TestFileOfTheStoreBeforeIsTakenAndBoundFromThenOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	theirs, err := raftboltdb.NewBoltStore(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(theirs.StoreLog(entry(1, 1)), theirs.Close()); err != nil {
		t.Fatal(err)
	}
	s := storeAt(t, path)
	if err := errors.Join(s.StoreLog(entry(2, 1)), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = storeAt(t, path)
	err = s.db.View(func(tx *bbolt.Tx) error {
		if got := tx.Bucket(logsBucket).Sequence(); got == 0 || got != uint64(tx.ID()) {
			t.Errorf("the root page is of transaction %d, expected %d", got, tx.ID())
		}
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

// Readers see whole entries beside a writer, and an error, never a fault, once the store is closed under them.
func TestStoreIsReadWhileItIsWrittenAndClosed(t *testing.T) {
	s := storeAt(t, filepath.Join(t.TempDir(), "raft.db"))
	s.db.NoSync = true // no power is cut here
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				last, err := s.LastIndex()
				var l raft.Log
				if err == nil && last > 0 {
					err = s.GetLog(last, &l)
				}
				switch {
				case errors.Is(err, berrors.ErrDatabaseNotOpen):
					return
				case errors.Is(err, raft.ErrLogNotFound):
					// It was deleted meanwhile.
				case err != nil || last > 0 && !sameEntry(&l, entry(last, 1)):
					t.Errorf("entry %d is %+v, %v", last, l, err)
					return
				}
			}
		})
	}
	for i := uint64(1); i <= 2000; i += 4 { // the file grows and is mapped anew
		if err := s.StoreLogs([]*raft.Log{entry(i, 1), entry(i+1, 1), entry(i+2, 1), entry(i+3, 1), entry(i+4, 1)}); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteRange(i+4, i+4); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	readers.Wait()
	if err := s.StoreLog(entry(1, 1)); !errors.Is(err, berrors.ErrDatabaseNotOpen) {
		t.Errorf("an append after Close ends with %v", err)
	}
}
