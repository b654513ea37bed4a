package raftnode

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Rule 2: a node whose raft state is wiped while its identity is kept would vote again as the voter that it was. It is
// refused, and nothing is made in place of what is gone.
func TestANodeWhoseRaftStateIsWipedIsRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "raft.db")
	if o, err := openFile(empty, "node-one"); err != nil {
		t.Fatal(err)
	} else if err := o.disk.Close(); err != nil {
		t.Fatal(err)
	}
	well, err := os.ReadFile(empty)
	if err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(t.TempDir(), "made.db")
	if b, err := openBolt(made); err != nil {
		t.Fatal(err)
	} else if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	blank, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	for name, left := range map[string][]byte{
		"no file": nil, "empty file": {}, "file without a record": blank, "file of another node": well,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "raft.db")
			if left != nil {
				if err := os.WriteFile(path, left, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := listen(t)
			defer s.Close()
			_, err := Open(Config{
				Dir: dir, ID: "node-two", Addr: s.Addr().String(), Stream: s, HasState: true,
				StampState: func() error { t.Error("stamped"); return nil },
				Fatal:      func(err error) { t.Error("fatal:", err) },
			})
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "node-two") {
				t.Errorf("error is %v, expected one that names %s and the node", err, path)
			}
			if now, err := os.ReadFile(path); left == nil != errors.Is(err, os.ErrNotExist) || len(now) != len(left) {
				t.Errorf("the file has now %d bytes (%v), before %d", len(now), err, len(left))
			}
		})
	}
}

// Rule 2: that there is state is known durably before the first vote can be given; a failure to say so ends the start.
func TestStateIsStampedBeforeRaftRuns(t *testing.T) {
	refuse := errors.New("no space")
	open := func(dir string, stamp func() error) error {
		s := listen(t)
		defer s.Close()
		n, err := Open(Config{
			Dir: dir, ID: "node-one", Addr: s.Addr().String(), Stream: s, StampState: stamp,
			Fatal: func(err error) { t.Error("fatal:", err) },
		})
		if err != nil {
			return err
		}
		return n.Close()
	}
	dir := filepath.Join(t.TempDir(), "raft")
	if err := open(dir, func() error { return refuse }); !errors.Is(err, refuse) {
		t.Fatalf("error is %v, expected %v", err, refuse)
	}
	o, err := openFile(filepath.Join(dir, "raft.db"), "node-one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.stable.Get([]byte("CurrentTerm")); !errors.Is(err, errNotFound) {
		t.Errorf("term is there (%v), though raft was not to run", err)
	}
	if err := o.disk.Close(); err != nil {
		t.Fatal(err)
	}
	stamped := 0
	if err := open(dir, func() error { stamped++; return nil }); err != nil || stamped != 1 {
		t.Errorf("stamped %d times, error %v, expected once", stamped, err)
	}
}
