package wal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/vfs"
	"github.com/raftstream/raftstream/wal"
)

// life is a log and what must be in it, over crashes, restarts and full disks.
type life struct {
	t     *rapid.T
	disk  *vfs.Mem
	log   *wal.Log
	rng   *rand.Rand
	next  int
	kept  []*kept         // acknowledged, in any order
	maybe map[string]bool // appended without an answer, or released: they may be there or not
}

type kept struct {
	payload string
	at      wal.Position
}

// What was acknowledged and is not released is there after any crash, once and as it was; what was never appended is not;
// and a log that is closed loses nothing (invariants 1 and 8).
func TestLogAgreesWithAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{
			t: t, disk: vfs.NewMem(), maybe: map[string]bool{},
			rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)),
		}
		l.open()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"append", "append", "append", "many", "release", "release", "close", "crash", "stop", "full"}).Draw(t, "step") {
			case "append":
				l.append(1)
			case "many":
				l.append(rapid.IntRange(2, 8).Draw(t, "at a time"))
			case "release":
				l.release()
			case "close":
				l.close()
				l.open()
			case "crash":
				l.crash()
			case "stop": // the power is cut in the middle of what comes next
				l.disk.StopAt(l.disk.Ops()+rapid.IntRange(0, 6).Draw(t, "operation"), l.rng)
				l.append(rapid.IntRange(1, 4).Draw(t, "at a time"))
				l.release()
				l.crash()
			case "full":
				l.disk.SetFree(rapid.Int64Range(0, 400).Draw(t, "free"))
				l.append(3)
				l.disk.SetFree(-1)
			}
			l.compare()
		}
		l.close()
	})
}

// open reads the log and holds what it finds against what must and may be there.
func (l *life) open() {
	c := config(l.disk)
	c.SegmentBytes = 300
	log, got, err := tryOpen(c)
	if err != nil {
		l.t.Fatalf("open: %v", err)
	}
	l.log = log
	places := map[string]wal.Position{}
	for i, p := range got.payloads {
		if _, twice := places[p]; twice {
			l.t.Fatalf("record %q is there twice", p)
		}
		if i > 0 && !before(got.positions[i-1], got.positions[i]) {
			l.t.Fatalf("record at %v comes after %v", got.positions[i], got.positions[i-1])
		}
		places[p] = got.positions[i]
	}
	for _, k := range l.kept {
		if at, ok := places[k.payload]; !ok || at != k.at {
			l.t.Fatalf("acknowledged record %q of %v is at %v, there: %t", k.payload, k.at, at, ok)
		}
		delete(places, k.payload)
	}
	var free []wal.Position
	for p, at := range places {
		if !l.maybe[p] {
			l.t.Fatalf("record %q at %v was never appended", p, at)
		}
		free = append(free, at) // nobody needs it
	}
	if err := l.log.Release(free...); err != nil {
		l.t.Fatalf("release: %v", err)
	}
}

func before(a, b wal.Position) bool {
	return a.Segment < b.Segment || a.Segment == b.Segment && a.Offset < b.Offset
}

// append appends records at the same time.
func (l *life) append(n int) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for range n {
		l.next++
		payload := fmt.Sprintf("%d:%s", l.next, strings.Repeat("x", rapid.IntRange(0, 120).Draw(l.t, "bytes")))
		l.maybe[payload] = true
		all.Go(func() {
			at, err := l.log.Append(l.t.Context(), []byte(payload))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				l.kept = append(l.kept, &kept{payload, at})
			} else if !errors.Is(err, wal.ErrReserve) && !errors.Is(err, wal.ErrPoisoned) && !errors.Is(err, vfs.ErrDown) {
				l.t.Errorf("append: %v", err)
			}
		})
	}
	all.Wait()
	for _, k := range l.kept {
		delete(l.maybe, k.payload)
	}
}

// release gives up some records. A crash may bring them back, as long as their segment is there.
func (l *life) release() {
	if len(l.kept) == 0 {
		return
	}
	from := rapid.IntRange(0, len(l.kept)-1).Draw(l.t, "released from")
	to := rapid.IntRange(from, len(l.kept)).Draw(l.t, "released to")
	var free []wal.Position
	for _, k := range l.kept[from:to] {
		l.maybe[k.payload] = true
		free = append(free, k.at)
	}
	l.kept = slices.Delete(l.kept, from, to)
	if err := l.log.Release(free...); err != nil && !errors.Is(err, vfs.ErrDown) {
		l.t.Fatalf("release: %v", err)
	}
}

func (l *life) close() {
	if err := l.log.Close(); err != nil {
		l.t.Fatalf("close: %v", err)
	}
}

// crash cuts the power, and finds of what was not synced what chance has left.
func (l *life) crash() {
	after := l.disk.Crash(l.rng)
	_ = l.log.Close() // of a machine that is down: its goroutine ends
	l.disk = after
	l.open()
}

func (l *life) compare() {
	for _, k := range l.kept {
		if got, err := l.log.Read(k.at); err != nil || string(got) != k.payload {
			l.t.Fatalf("record at %v is %q, %v, expected %q", k.at, got, err, k.payload)
		}
	}
	if s := l.log.Stats(); s.Live != len(l.kept) {
		l.t.Fatalf("%d live records, expected %d", s.Live, len(l.kept))
	}
}
