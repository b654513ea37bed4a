package blocks_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/executor/blocks"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
	"github.com/raftstream/raftstream/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const self id.Store = "00000000000000aa"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func config(f vfs.FS) blocks.Config { return blocks.Config{FS: f, Dir: "/wal", Store: self} }

func open(t testing.TB, c blocks.Config) *blocks.Store {
	t.Helper()
	s, err := blocks.Open(c)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() }) // its goroutine ends; whether it closed well is checked where it matters
	return s
}

// name is block number n of stream 2, instance 7 of application 5.
func name(n uint64) id.Block { return id.Block{App: 5, Stream: 2, Instance: 7, Number: n} }

func block(b id.Block, text string) job.BlockData {
	return job.BlockData{
		ID: b, Records: int64(strings.Count(text, "\n")) + 1,
		CRC: crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)), Data: []byte(text),
	}
}

func text(n uint64) string { return strings.Repeat(fmt.Sprintf("line of block %d\n", n), int(n)) }

func put(t testing.TB, s *blocks.Store, ids ...id.Block) {
	t.Helper()
	for _, b := range ids {
		must(t, s.Put(t.Context(), block(b, text(b.Number))))
	}
}

func held(t testing.TB, s *blocks.Store, want ...id.Block) {
	t.Helper()
	if got := s.Inventory(); !slices.Equal(got, want) {
		t.Fatalf("holds %v, want %v", got, want)
	}
	for _, b := range want {
		if d, err := s.Get(b); err != nil || string(d.Data) != text(b.Number) || d.ID != b || d.Records == 0 {
			t.Fatalf("Get(%v): %q, %v", b, d.Data, err)
		}
	}
	if s.Stats().Blocks != len(want) {
		t.Fatalf("counts %d blocks, want %d", s.Stats().Blocks, len(want))
	}
}

func TestBlocksSurviveARestart(t *testing.T) {
	f := vfs.NewMem()
	s := open(t, config(f))
	put(t, s, name(2), name(1), name(3))
	held(t, s, name(1), name(2), name(3))
	again := open(t, config(f.Crash(nil)))
	held(t, again, name(1), name(2), name(3))
	if _, err := again.Get(name(4)); !errors.Is(err, job.ErrNoBlock) {
		t.Errorf("Get of an unknown block: %v, want ErrNoBlock", err)
	}
}

func TestPutAgainIsDoneAtOnceAndStoredOnce(t *testing.T) {
	f := vfs.NewMem()
	s := open(t, config(f))
	put(t, s, name(1))
	f.Inject(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpWrite {
			t.Error("a block that is held was written again")
		}
		return vfs.Fault{}
	})
	put(t, s, name(1))
	f.Inject(nil)
	err := s.Put(t.Context(), block(name(1), "other bytes"))
	if conflict := (*blocks.ConflictError)(nil); !errors.As(err, &conflict) || conflict.ID != name(1) {
		t.Errorf("other bytes under the same id: %v, want a ConflictError", err)
	}
	held(t, s, name(1))
}

func TestConcurrentPutsOfOneBlockStoreItOnce(t *testing.T) {
	s := open(t, config(vfs.NewMem()))
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if err := s.Put(context.Background(), block(name(1), text(1))); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if live := s.Stats().Log.Live; live != 1 {
		t.Errorf("%d records in the log, want 1", live)
	}
}

func TestBadBlockIsRefused(t *testing.T) {
	s := open(t, config(vfs.NewMem()))
	good := block(name(1), text(1))
	for what, change := range map[string]func(*job.BlockData){
		"checksum": func(d *job.BlockData) { d.CRC++ },
		"empty":    func(d *job.BlockData) { d.Data, d.CRC = nil, 0 },
		"too long": func(d *job.BlockData) { d.Data = make([]byte, blocks.MaxBlock+1) },
		"number":   func(d *job.BlockData) { d.ID.Number = 0 },
		"records":  func(d *job.BlockData) { d.Records = 0 },
	} {
		d := good
		change(&d)
		if err := s.Put(t.Context(), d); err == nil {
			t.Errorf("bad %s was taken", what)
		}
	}
	held(t, s)
}

func TestMemoryIsABoundedCacheOfTheLog(t *testing.T) {
	c := config(vfs.NewMem())
	c.MemoryBytes = 400
	s := open(t, c)
	var all []id.Block
	for n := range uint64(12) {
		all = append(all, name(n+1))
		put(t, s, name(n+1))
		if m := s.Stats().MemoryBytes; m > 400 {
			t.Fatalf("%d bytes in memory, want at most 400", m)
		}
	}
	held(t, s, all...)
	if m := s.Stats().MemoryBytes; m > 400 || m == 0 {
		t.Errorf("%d bytes in memory after reading, want 1 to 400", m)
	}
	c = config(vfs.NewMem())
	c.MemoryBytes = -1
	s = open(t, c)
	put(t, s, name(1))
	held(t, s, name(1))
	if m := s.Stats().MemoryBytes; m != 0 {
		t.Errorf("%d bytes in memory without a cache", m)
	}
}

// Rule 5: a block goes when it is cleaned, or when it lies above the last one of a closed instance, never otherwise.
func TestProgressDropsOnlyWhatTheLedgerDoesNotNeed(t *testing.T) {
	other := id.Block{App: 5, Stream: 2, Instance: 8, Number: 4}
	foreign := id.Block{App: 6, Stream: 2, Instance: 7, Number: 2}
	progress := func(cleaned, last uint64, closed bool) *job.Progress {
		return &job.Progress{App: 5, Instances: []job.InstanceProgress{
			{Stream: 2, Instance: 7, Cleaned: cleaned, Last: last, Closed: closed},
		}}
	}
	s := open(t, config(vfs.NewMem()))
	put(t, s, name(1), name(2), name(3), name(4), other, foreign)
	for _, step := range []struct {
		what string
		p    *job.Progress
		want []id.Block
	}{
		{"nothing is cleaned, the ledger has less than is held", progress(0, 2, false), []id.Block{name(1), name(2), name(3), name(4), other, foreign}},
		{"one is cleaned", progress(1, 3, false), []id.Block{name(2), name(3), name(4), other, foreign}},
		{"an older word comes late", progress(0, 2, false), []id.Block{name(2), name(3), name(4), other, foreign}},
		{"closed: what is above the last is an orphan", progress(1, 3, true), []id.Block{name(2), name(3), other, foreign}},
		{"the application is over", &job.Progress{App: 5, Ended: true}, []id.Block{foreign}},
	} {
		must(t, s.Progress(step.p))
		t.Log(step.what)
		held(t, s, step.want...)
	}
	for _, late := range []id.Block{name(9), other} {
		if err := s.Put(t.Context(), block(late, text(1))); !errors.Is(err, job.ErrFenced) {
			t.Errorf("late copy of %v: %v, want ErrFenced", late, err)
		}
	}
}

// Rule 7: a piece of a checkpoint is a block whose instance is the coordinator's office. While the office lasts, what it
// stores is kept although the ledger does not have it yet; when it is over, what the ledger does not have goes.
func TestPiecesAreKeptWhileTheirOfficeMayCommitThem(t *testing.T) {
	piece := func(n uint64) id.Block { return id.Block{App: 5, Stream: 1, Instance: 50, Number: n << job.PieceBits} }
	s := open(t, config(vfs.NewMem()))
	add := func(n uint64) { put(t, s, piece(n)) }
	told := func(cleaned, last uint64, closed bool) {
		p := job.InstanceProgress{Stream: 1, Instance: 50, Closed: closed, Cleaned: cleaned << job.PieceBits, Last: last << job.PieceBits}
		must(t, s.Progress(&job.Progress{App: 5, Instances: []job.InstanceProgress{p}}))
	}
	add(1)
	must(t, s.Progress(&job.Progress{App: 5})) // the ledger knows nothing of the office
	held(t, s, piece(1))
	told(0, 1, false)
	add(2) // and is not committed yet
	told(0, 1, false)
	held(t, s, piece(1), piece(2))
	told(1, 2, false) // the second is an image: the chain before it is over
	held(t, s, piece(2))
	add(3)
	told(1, 2, true) // the office is over before the third was committed
	held(t, s, piece(2))
}

func TestLateCopyOfAnOrphanIsRefused(t *testing.T) {
	s := open(t, config(vfs.NewMem()))
	must(t, s.Progress(&job.Progress{App: 5, Instances: []job.InstanceProgress{
		{Stream: 2, Instance: 7, Cleaned: 2, Last: 4, Closed: true},
	}}))
	for n, want := range map[uint64]error{2: job.ErrFenced, 3: nil, 4: nil, 5: job.ErrFenced} {
		if err := s.Put(t.Context(), block(name(n), text(n))); !errors.Is(err, want) {
			t.Errorf("Put of block %d: %v, want %v", n, err, want)
		}
	}
	held(t, s, name(3), name(4))
}

func TestDeleteDropsWhatTheInventoryAnswered(t *testing.T) {
	f := vfs.NewMem()
	c := config(f)
	c.SegmentBytes = 200
	s := open(t, c)
	put(t, s, name(1), name(2), name(3), name(4), name(5))
	must(t, s.Delete([]id.Block{name(1), name(2), name(3), name(4), {App: 99}}))
	held(t, s, name(5))
	if n := s.Stats().Log.Segments; n != 1 {
		t.Errorf("%d segments are left, want 1", n)
	}
	put(t, s, name(1)) // a block that was dropped may come back
	held(t, s, name(1), name(5))
	must(t, s.Close())
	held(t, open(t, c), name(1), name(5))
}

// What was deleted but shares a segment with what was not comes back at a restart, once, and can be deleted again.
func TestBlockStoredTwiceIsOneAfterARestart(t *testing.T) {
	c := config(vfs.NewMem())
	s := open(t, c)
	put(t, s, name(1), name(2))
	must(t, s.Delete([]id.Block{name(1)}))
	put(t, s, name(1))
	must(t, s.Close())
	s = open(t, c)
	held(t, s, name(1), name(2))
	if live := s.Stats().Log.Live; live != 2 {
		t.Errorf("%d live records, want 2", live)
	}
}

// Rule 10: at the disk reserve a store is full, which is to be tried again later.
func TestStoreIsFullAtTheReserve(t *testing.T) {
	f := vfs.NewMem()
	c := config(f)
	c.ReserveBytes = 1000
	s := open(t, c)
	f.SetFree(1000)
	if err := s.Put(t.Context(), block(name(1), text(1))); !errors.Is(err, job.ErrFull) {
		t.Errorf("Put: %v, want ErrFull", err)
	}
	held(t, s)
	f.SetFree(-1)
	put(t, s, name(1))
	held(t, s, name(1))
}

func TestFailedSyncIsFatalAndNotAStoredBlock(t *testing.T) {
	f := vfs.NewMem()
	c := config(f)
	fatal := make(chan error, 1)
	c.Fatal = func(err error) { fatal <- err }
	s := open(t, c)
	f.Inject(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpSync {
			return vfs.Fault{Err: errors.New("input/output error")}
		}
		return vfs.Fault{}
	})
	if err := s.Put(t.Context(), block(name(1), text(1))); !errors.Is(err, wal.ErrPoisoned) {
		t.Errorf("Put: %v, want ErrPoisoned", err)
	}
	<-fatal
	held(t, s)
}

// Rule 15: bytes that changed on the disk are never given out.
func TestDamagedBlockIsNotRead(t *testing.T) {
	f := vfs.NewMem()
	c := config(f)
	c.MemoryBytes = -1
	s := open(t, c)
	put(t, s, name(1), name(2))
	f.Corrupt("/wal/0000000000000001.wal", func(b []byte) []byte { b[64+28+44+3] ^= 4; return b })
	damage := (*wal.CorruptionError)(nil)
	if _, err := s.Get(name(1)); !errors.As(err, &damage) {
		t.Errorf("Get: %v, want a CorruptionError", err)
	}
	if _, err := s.Get(name(2)); err != nil {
		t.Errorf("the other block: %v", err)
	}
	must(t, s.Close())
	if _, err := blocks.Open(c); !errors.As(err, &damage) {
		t.Errorf("Open: %v, want a CorruptionError", err)
	}
}

func TestStoredBlocksSurviveACrashAtEveryOperation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 6))
	for n := range 80 {
		f := vfs.NewMem()
		f.StopAt(n, rng)
		c := config(f)
		c.SegmentBytes = 500
		needed := map[id.Block]bool{}
		if s, err := blocks.Open(c); err == nil {
			for i := range uint64(10) {
				if s.Put(t.Context(), block(name(i+1), text(i+1))) == nil {
					needed[name(i+1)] = true
				}
				if i%3 == 2 { // the disk may be down: what is dropped is not needed in any case
					_ = s.Progress(&job.Progress{App: 5, Instances: []job.InstanceProgress{{Stream: 2, Instance: 7, Cleaned: i, Last: i + 1}}})
					for k := range i {
						delete(needed, name(k+1))
					}
				}
			}
			_ = s.Close() // likewise
		}
		c.FS = f.Crash(rng)
		s := open(t, c)
		for b := range needed {
			if d, err := s.Get(b); err != nil || string(d.Data) != text(b.Number) {
				t.Fatalf("stopped at %d: block %v: %q, %v", n, b, d.Data, err)
			}
		}
		must(t, s.Close())
	}
}

func TestDropWhileABlockIsBeingStored(t *testing.T) {
	s := open(t, config(vfs.NewMem()))
	for round := range uint64(200) {
		app := id.App(round + 1)
		b := id.Block{App: app, Stream: 1, Instance: 1, Number: 1}
		done := make(chan error, 1)
		go func() { done <- s.Put(context.Background(), block(b, text(1))) }()
		must(t, s.Progress(&job.Progress{App: app, Ended: true}))
		if err := <-done; err != nil && !errors.Is(err, job.ErrFenced) {
			t.Fatalf("Put: %v, want nil or ErrFenced", err)
		}
		must(t, s.Progress(&job.Progress{App: app, Ended: true}))
	}
	held(t, s)
	if live := s.Stats().Log.Live; live != 0 {
		t.Errorf("%d live records are left", live)
	}
}
