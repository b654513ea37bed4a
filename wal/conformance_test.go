package wal_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/internal/vfs"
	"github.com/raftstream/raftstream/wal"
)

// hundred are the records of Spark's suite.
func hundred() (all []string) {
	for i := range 100 {
		all = append(all, fmt.Sprint(i+1))
	}
	return all
}

// written is a log of small segments that holds the hundred, and where they are.
func written(t *testing.T) (wal.Config, *wal.Log, []wal.Position) {
	t.Helper()
	c := config(vfs.NewMem())
	c.SegmentBytes = 300
	l, _ := open(t, c)
	var at []wal.Position
	for _, s := range hundred() {
		at = append(at, add(t, l, s))
	}
	return c, l, at
}

// The facts are those of Spark's WriteAheadLogSuite family that hold here; docs/conformance.md has the others. What makes
// a new file is its size, not its age, and a record goes when it is released, not when it is old.
func TestWriteAheadLogSuite(t *testing.T) {
	readAll := func(t *testing.T) {
		c, l, _ := written(t)
		closeLog(t, l)
		l, got := open(t, c)
		if !slices.Equal(got.payloads, hundred()) {
			t.Errorf("read %q", got.payloads)
		}
		closeLog(t, l)
	}
	t.Run("FileBasedWriteAheadLog - read all logs", readAll)
	t.Run("FileBasedWriteAheadLog - read all logs after write", readAll)
	t.Run("BatchedWriteAheadLog - write logs", func(t *testing.T) {
		_, l, _ := written(t)
		if s := l.Stats(); s.Segments < 2 || s.Live != 100 {
			t.Errorf("stats %+v, expected several segments", s)
		}
		closeLog(t, l)
	})
	t.Run("BatchedWriteAheadLog - clean old logs (async and synchronous)", func(t *testing.T) {
		_, l, at := written(t)
		before := l.Stats().Segments
		must(t, l.Release(at[:50]...))
		if after := l.Stats().Segments; after >= before {
			t.Errorf("%d segments after half of the records went, before %d", after, before)
		}
		closeLog(t, l)
		closeLog(t, l)
	})
	t.Run("FileBasedWriteAheadLogWriter - writing data", func(t *testing.T) {
		_, l, at := written(t)
		for i, p := range at {
			if b, err := l.Read(p); err != nil || string(b) != hundred()[i] {
				t.Errorf("record %d: %q, %v", i, b, err)
			}
		}
		closeLog(t, l)
	})
	t.Run("FileBasedWriteAheadLogWriter - syncing of data by writing and reading immediately", func(t *testing.T) {
		l, _ := open(t, config(vfs.NewMem()))
		for _, s := range hundred() {
			if b, err := l.Read(add(t, l, s)); err != nil || string(b) != s {
				t.Errorf("record %s: %q, %v", s, b, err)
			}
		}
		closeLog(t, l)
	})
	t.Run("FileBasedWriteAheadLogRandomReader - reading data using random reader (2 tests)", func(t *testing.T) {
		_, l, at := written(t)
		for i := range at {
			k := i * 37 % len(at) // every record once, in another order
			if b, err := l.Read(at[k]); err != nil || string(b) != hundred()[k] {
				t.Errorf("record %d: %q, %v", k, b, err)
			}
		}
		closeLog(t, l)
	})
	t.Run("FileBasedWriteAheadLogReader - reading data written with writer after corrupted write", TestTornTailIsCutAtEveryByte)
	t.Run("failures in wrappedLog get bubbled up", TestFailedSyncPoisonsTheLogAndTellsTheProcess)
	t.Run("shutdown properly", TestClosedLogTakesNothing)
	t.Run("fail everything in queue during shutdown", TestCloseFailsAppendsThatWait)
}
