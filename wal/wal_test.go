package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/internal/vfs"
	"github.com/raftstream/raftstream/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const store = "0123456789abcdef"

// found is what an Open gave out.
type found struct {
	positions []wal.Position
	payloads  []string
}

func config(f vfs.FS) wal.Config { return wal.Config{FS: f, Dir: "/wal", Store: store} }

func tryOpen(c wal.Config) (*wal.Log, *found, error) {
	var got found
	l, err := wal.Open(c, func(p wal.Position, payload []byte) error {
		got.positions = append(got.positions, p)
		got.payloads = append(got.payloads, string(payload))
		return nil
	})
	return l, &got, err
}

func open(t testing.TB, c wal.Config) (*wal.Log, *found) {
	t.Helper()
	l, got, err := tryOpen(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // its goroutine ends; whether it closed well is checked where it matters
	return l, got
}

func add(t testing.TB, l *wal.Log, payload string) wal.Position {
	t.Helper()
	p, err := l.Append(t.Context(), []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func closeLog(t testing.TB, l *wal.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func raw(t testing.TB, f vfs.FS, segment uint64) (name string, data []byte) {
	t.Helper()
	name = filepath.Join("/wal", fmt.Sprintf("%016x.wal", segment))
	data, err := vfs.ReadFile(f, name, 1<<30)
	must(t, err)
	return name, data
}

func TestRecordsAreReadBackNowAndAfterOpen(t *testing.T) {
	for name, f := range map[string]vfs.FS{"OS": vfs.OS{}, "Mem": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			c := config(f)
			c.Dir, c.SegmentBytes = t.TempDir()+"/wal", 300
			l, got := open(t, c)
			if len(got.payloads) != 0 {
				t.Fatalf("a new log holds %q", got.payloads)
			}
			var positions []wal.Position
			var want []string
			for i := range 20 {
				s := strings.Repeat(fmt.Sprint(i), i+1)
				p, err := l.Append(t.Context(), []byte(s[:1]), nil, []byte(s[1:]))
				must(t, err)
				positions, want = append(positions, p), append(want, s)
			}
			for round := range 2 {
				for i, p := range positions {
					if b, err := l.Read(p); err != nil || string(b) != want[i] {
						t.Fatalf("round %d, record %d: %q, %v", round, i, b, err)
					}
				}
				closeLog(t, l)
				l, got = open(t, c)
				if !slices.Equal(got.payloads, want) || !slices.Equal(got.positions, positions) {
					t.Fatalf("after open: %q at %v", got.payloads, got.positions)
				}
				if r := l.Recovered(); r.Records != 20 || r.CutBytes != 0 {
					t.Fatalf("recovered %+v", r)
				}
			}
			if s := l.Stats(); s.Segments < 3 || s.Live != 20 {
				t.Errorf("stats %+v, want several segments and 20 records", s)
			}
			closeLog(t, l)
		})
	}
}

func TestRecordOfABadSizeIsRefused(t *testing.T) {
	l, _ := open(t, config(vfs.NewMem()))
	defer closeLog(t, l)
	for _, size := range []int{0, wal.MaxRecord + 1} {
		if _, err := l.Append(t.Context(), make([]byte, size)); err == nil || !strings.Contains(err.Error(), fmt.Sprint(size)) {
			t.Errorf("record of %d bytes: %v", size, err)
		}
	}
	add(t, l, strings.Repeat("x", wal.MaxRecord))
}

// gated is a file system whose syncs of files wait for permission once closed is set.
type gated struct {
	vfs.FS
	gate chan struct{} // one receive per sync; nil: free
	mu   sync.Mutex
	n    int
}

type gatedFile struct {
	vfs.File
	g *gated
}

func (g *gated) Create(name string) (vfs.File, error) {
	f, err := g.FS.Create(name)
	return &gatedFile{f, g}, err
}

func (f *gatedFile) Sync() error {
	f.g.mu.Lock()
	gate := f.g.gate
	f.g.n++
	f.g.mu.Unlock()
	if gate != nil {
		gate <- struct{}{} // tells the test that a sync is due
		<-gate             // waits for its permission
	}
	return f.File.Sync()
}

func (g *gated) shut() chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate = make(chan struct{})
	return g.gate
}

func (g *gated) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gate = nil
}

// appendGroup has n appends share one sync: they queue while the sync of an append before them is held. It gives the
// payloads in the order of the log.
func appendGroup(t *testing.T, l *wal.Log, g *gated, n int) {
	t.Helper()
	gate := g.shut()
	var wait sync.WaitGroup
	for i := range n + 1 {
		wait.Go(func() {
			if _, err := l.Append(context.Background(), fmt.Appendf(nil, "group record %d", i)); err != nil {
				t.Error(err)
			}
		})
		if i == 0 {
			<-gate // its sync is held, so the others wait for the next group
		}
	}
	for l.Stats().Queued < n {
		runtime.Gosched() // the appends are about to queue; nothing else can happen meanwhile
	}
	g.open()
	gate <- struct{}{}
	wait.Wait()
}

func TestAppendsThatWaitShareOneSync(t *testing.T) {
	g := &gated{FS: vfs.NewMem()}
	l, _ := open(t, config(g))
	defer closeLog(t, l)
	g.mu.Lock()
	before := g.n
	g.mu.Unlock()
	appendGroup(t, l, g, 100)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n-before != 2 {
		t.Errorf("%d syncs for 1 + 100 appends, want 2", g.n-before)
	}
}

func TestNothingIsAcknowledgedBeforeItsSync(t *testing.T) {
	m := vfs.NewMem()
	g := &gated{FS: m}
	l, _ := open(t, config(g))
	gate := g.shut()
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(context.Background(), []byte("x"))
		done <- err
	}()
	<-gate
	select {
	case err := <-done:
		t.Fatalf("Append returned before the sync: %v", err)
	default:
	}
	g.open()
	gate <- struct{}{}
	must(t, <-done)
	closeLog(t, l)
}

// An append whose caller has gone is not live: nobody could ever release it.
func TestAbandonedAppendIsNotLive(t *testing.T) {
	g := &gated{FS: vfs.NewMem()}
	l, _ := open(t, config(g))
	gate := g.shut()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(ctx, []byte("abandoned"))
		done <- err
	}()
	<-gate
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("Append: %v, want Canceled", err)
	}
	g.open()
	gate <- struct{}{}
	add(t, l, "next")
	if s := l.Stats(); s.Live != 1 {
		t.Errorf("%d live records, want 1", s.Live)
	}
	closeLog(t, l)
}

func TestClosedLogTakesNothing(t *testing.T) {
	l, _ := open(t, config(vfs.NewMem()))
	closeLog(t, l)
	closeLog(t, l)
	if _, err := l.Append(t.Context(), []byte("x")); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("Append: %v, want ErrClosed", err)
	}
}

func TestCloseFailsAppendsThatWait(t *testing.T) {
	for range 50 {
		l, _ := open(t, config(vfs.NewMem()))
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for {
					if _, err := l.Append(context.Background(), []byte("x")); err != nil {
						if !errors.Is(err, wal.ErrClosed) {
							t.Errorf("Append: %v, want ErrClosed", err)
						}
						return
					}
				}
			})
		}
		closeLog(t, l)
		wait.Wait()
	}
}

func TestSealedSegmentGoesWithItsLastRecord(t *testing.T) {
	f := vfs.NewMem()
	c := config(f)
	c.SegmentBytes = 280
	l, _ := open(t, c)
	var all []wal.Position
	for i := range 10 {
		all = append(all, add(t, l, strings.Repeat("r", 40)+fmt.Sprint(i)))
	}
	last := all[len(all)-1].Segment
	var first []wal.Position
	for _, p := range all {
		if p.Segment == all[0].Segment {
			first = append(first, p)
		}
	}
	if len(first) < 2 || last < 3 {
		t.Fatalf("positions %v do not suit the test", all)
	}
	must(t, l.Release(first[0]))
	if b, err := l.Read(first[0]); err != nil || len(b) == 0 {
		t.Errorf("released record of a kept segment: %v", err)
	}
	must(t, l.Release(first[1:]...))
	if _, err := l.Read(first[1]); !errors.Is(err, wal.ErrNoRecord) {
		t.Errorf("record of a deleted segment: %v, want ErrNoRecord", err)
	}
	must(t, l.Release(all[len(first):]...))
	names, err := f.List("/wal")
	must(t, err)
	if want := []string{fmt.Sprintf("%016x.wal", last)}; !slices.Equal(names, want) {
		t.Errorf("files %v, want the active segment only: %v", names, want)
	}
	closeLog(t, l)
	l, got := open(t, c)
	for _, p := range got.positions {
		if p.Segment != last {
			t.Errorf("record at %v came back", p)
		}
	}
	next := add(t, l, strings.Repeat("n", 300))
	if next.Segment != last+1 {
		t.Errorf("segment %d follows %d", next.Segment, last)
	}
	closeLog(t, l)
}

func TestPositionWithoutRecordIsNoRecord(t *testing.T) {
	l, _ := open(t, config(vfs.NewMem()))
	defer closeLog(t, l)
	p := add(t, l, "record")
	for _, bad := range []wal.Position{{}, {Segment: 2, Offset: 64}, {Segment: 1, Offset: p.Offset + 34}, {Segment: 1, Offset: 3}} {
		if _, err := l.Read(bad); !errors.Is(err, wal.ErrNoRecord) {
			t.Errorf("Read(%v): %v, want ErrNoRecord", bad, err)
		}
	}
}

// Rule 2: the log of another store is refused and nothing of it is changed.
func TestLogOfAnotherStoreIsRefused(t *testing.T) {
	f := vfs.NewMem()
	l, _ := open(t, config(f))
	add(t, l, "x")
	closeLog(t, l)
	_, before := raw(t, f, 1)
	c := config(f)
	c.Store = "fedcba9876543210"
	_, _, err := tryOpen(c)
	other := (*wal.StoreError)(nil)
	if !errors.As(err, &other) || other.Has != store || other.Want != c.Store {
		t.Fatalf("Open: %v, want a StoreError", err)
	}
	if _, after := raw(t, f, 1); !bytes.Equal(before, after) {
		t.Error("the segment was changed")
	}
	c.Store = "short"
	if _, _, err := tryOpen(c); err == nil {
		t.Error("a store id of 5 bytes was taken")
	}
}

func TestStrangeFileIsRefused(t *testing.T) {
	f := vfs.NewMem()
	must(t, f.MkdirAll("/wal"))
	must(t, vfs.WriteFile(f, "/wal", "/wal/notes.txt", []byte("mine")))
	if _, _, err := tryOpen(config(f)); err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("Open: %v, want an error that names the file", err)
	}
}

func TestErrorOfTheReaderEndsOpen(t *testing.T) {
	f := vfs.NewMem()
	l, _ := open(t, config(f))
	add(t, l, "x")
	closeLog(t, l)
	boom := errors.New("boom")
	if _, err := wal.Open(config(f), func(wal.Position, []byte) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("Open: %v, want the reader's error", err)
	}
}
