package persist_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/persist"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "/kept"

func key(app, at, part int) job.Partition {
	return job.Partition{App: id.App(app), Dataset: dataset.ID{Stream: 1, Time: id.Time(at)}, Part: part, Content: 7}
}

// content is what a key's partition holds: two chunks that name it, so that a mix-up is noticed.
func content(k job.Partition, bytes int) [][]byte {
	text := fmt.Appendf(nil, "%+v", k)
	a := slices.Repeat([]byte{text[len(text)-2]}, bytes)
	return [][]byte{text, a}
}

// testingT is what testing.TB and *rapid.T share.
type testingT interface {
	Helper()
	Fatal(args ...any)
}

func open(tb testingT, fs vfs.FS, memory, disk int64) *persist.Store {
	tb.Helper()
	s, err := persist.New(persist.Config{FS: fs, Dir: dir, MemoryBytes: memory, DiskBytes: disk})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func files(tb testingT, fs vfs.FS) []string {
	tb.Helper()
	names, err := fs.List(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

// script is a random run against what must hold whatever is forgotten: Get gives what was put, or nothing.
type script struct {
	t    *rapid.T
	mem  *vfs.Mem
	s    *persist.Store
	want map[job.Partition][]byte // put and not dropped: may be held
}

func (x *script) key() job.Partition {
	k := key(rapid.IntRange(1, 2).Draw(x.t, "app"), rapid.IntRange(1, 4).Draw(x.t, "at"), rapid.IntRange(0, 3).Draw(x.t, "part"))
	k.Content = rapid.Uint64Range(1, 2).Draw(x.t, "content")
	return k
}

func (x *script) put(*rapid.T) {
	k := x.key()
	c := content(k, rapid.IntRange(0, 3000).Draw(x.t, "bytes"))
	x.s.Put(context.Background(), k, c, rapid.Bool().Draw(x.t, "spill"))
	if got, ok := x.s.Get(k); ok && x.want[k] == nil {
		x.want[k] = bytes.Join(got, nil)
		if !bytes.Equal(x.want[k], bytes.Join(c, nil)) {
			x.t.Fatalf("%v was put, another content is given", k)
		}
	}
	if _, ok := x.s.Get(k); !ok {
		delete(x.want, k)
	}
}

func (x *script) get(*rapid.T) {
	k := x.key()
	got, ok := x.s.Get(k)
	if !ok {
		delete(x.want, k)
		return
	}
	if want, known := x.want[k]; !known || !bytes.Equal(bytes.Join(got, nil), want) {
		x.t.Fatalf("%v: given is %d bytes, known %v", k, len(bytes.Join(got, nil)), known)
	}
}

func (x *script) progress(*rapid.T) {
	p := &job.Progress{
		App: id.App(rapid.IntRange(1, 2).Draw(x.t, "app")), Cleaned: id.Time(rapid.IntRange(0, 4).Draw(x.t, "cleaned")),
		Ended: rapid.IntRange(0, 9).Draw(x.t, "ended") == 0,
	}
	x.s.Progress(p)
	for k := range x.want {
		if k.App == p.App && (p.Ended || k.Dataset.Time <= p.Cleaned) {
			delete(x.want, k)
			if _, ok := x.s.Get(k); ok {
				x.t.Fatalf("%v is held after %+v", k, p)
			}
		}
	}
}

func (x *script) damage(*rapid.T) {
	names := files(x.t, x.mem)
	if len(names) == 0 {
		return
	}
	at := rapid.IntRange(0, 1<<20).Draw(x.t, "byte")
	x.mem.Corrupt(dir+"/"+rapid.SampledFrom(names).Draw(x.t, "file"), func(b []byte) []byte {
		if len(b) == 0 || at%3 == 0 {
			return b[:len(b)/2]
		}
		b = bytes.Clone(b)
		b[at%len(b)] ^= 1 << (at % 8)
		return b
	})
}

func (x *script) fail(*rapid.T) {
	kinds := []vfs.Kind{vfs.OpCreate, vfs.OpWrite, vfs.OpOpen, vfs.OpRead}
	broken := rapid.SampledFrom(kinds).Draw(x.t, "operation")
	on := rapid.Bool().Draw(x.t, "fails")
	x.mem.Inject(func(op vfs.Op) vfs.Fault {
		if on && op.Kind == broken {
			return vfs.Fault{Err: errors.New("disk error")}
		}
		return vfs.Fault{}
	})
}

func (x *script) check(*rapid.T) {
	st := x.s.Stats()
	held := files(x.t, x.mem)
	if st.MemoryBytes > 4000 || st.DiskBytes > 6000 || st.MemoryBytes < 0 || st.DiskBytes < 0 || len(held) > st.Partitions {
		x.t.Fatalf("holds %+v in %d files", st, len(held))
	}
	if st.Partitions == 0 && st.MemoryBytes+st.DiskBytes != 0 {
		x.t.Fatalf("holds nothing, and counts %+v", st)
	}
}

func TestWhatIsGivenIsWhatWasPutWhateverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewMem()
		x := &script{t: t, mem: mem, s: open(t, mem, 4000, 6000), want: map[job.Partition][]byte{}}
		t.Repeat(map[string]func(*rapid.T){
			"put": x.put, "get": x.get, "progress": x.progress, "damage": x.damage, "fail": x.fail, "": x.check,
		})
	})
}

func TestWhatWasNotUsedForLongestGoesFirst(t *testing.T) {
	s := open(t, vfs.NewMem(), 10_000, 0)
	for part := range 4 {
		s.Put(t.Context(), key(1, 1, part), content(key(1, 1, part), 2000), false)
	}
	s.Get(key(1, 1, 0))
	s.Put(t.Context(), key(1, 1, 4), content(key(1, 1, 4), 2000), false)
	for part, want := range []bool{true, false, true, true, true} {
		if _, ok := s.Get(key(1, 1, part)); ok != want {
			t.Errorf("partition %d held: %v", part, ok)
		}
	}
}

func TestPartitionOfMoreThanAQuarterIsNotKept(t *testing.T) {
	s := open(t, vfs.NewMem(), 10_000, 0)
	s.Put(t.Context(), key(1, 1, 0), [][]byte{make([]byte, s.Room())}, true)
	if st := s.Stats(); st.Partitions != 0 {
		t.Errorf("holds %+v", st)
	}
}

func TestPartitionsForWhichMemoryHasNoRoomGoToFiles(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, 10_000, 0)
	for part := range 20 {
		s.Put(t.Context(), key(1, 1, part), content(key(1, 1, part), 1000), true)
	}
	for part := range 20 {
		got, ok := s.Get(key(1, 1, part))
		if !ok || !bytes.Equal(bytes.Join(got, nil), bytes.Join(content(key(1, 1, part), 1000), nil)) {
			t.Errorf("partition %d held: %v", part, ok)
		}
	}
	if st := s.Stats(); st.Partitions != 20 || st.Hits != 20 || st.DiskBytes == 0 {
		t.Errorf("holds %+v", st)
	}
	s.Progress(&job.Progress{App: 1, Ended: true})
	if names := files(t, mem); len(names) > 0 {
		t.Errorf("files stay: %v", names)
	}
}

func TestDamagedFileIsForgotten(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"magic":             func(b []byte) []byte { b[0] ^= 1; return b },
		"version":           func(b []byte) []byte { b[7]++; return b },
		"length":            func(b []byte) []byte { b[8]++; return b },
		"checksum":          func(b []byte) []byte { b[16] ^= 1; return b },
		"first record byte": func(b []byte) []byte { b[20] ^= 1; return b },
		"last record byte":  func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut":               func(b []byte) []byte { return b[:len(b)-1] },
		"cut to nothing":    func([]byte) []byte { return nil },
		"cut in the header": func(b []byte) []byte { return b[:12] },
		"longer":            func(b []byte) []byte { return append(b, 0) },
		"much longer":       func(b []byte) []byte { return append(b, make([]byte, 9999)...) },
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			s := open(t, mem, 4000, 0)
			for part := range 6 {
				s.Put(t.Context(), key(1, 1, part), content(key(1, 1, part), 500), true)
			}
			names := files(t, mem)
			if len(names) == 0 {
				t.Fatal("no file was made")
			}
			for _, n := range names {
				mem.Corrupt(dir+"/"+n, func(b []byte) []byte { return change(bytes.Clone(b)) })
			}
			lost := 0
			for part := range 6 {
				if _, ok := s.Get(key(1, 1, part)); !ok {
					lost++
				}
			}
			if st := s.Stats(); lost != len(names) || len(files(t, mem)) != 0 || st.DiskBytes != 0 || st.Partitions != 6-lost {
				t.Errorf("%d of %d damaged files are forgotten, %+v", lost, len(names), st)
			}
		})
	}
}

func TestFilesLeaveTheReserveOfTheDisk(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetFree(50_000)
	s, err := persist.New(persist.Config{FS: mem, Dir: dir, MemoryBytes: 10_000, ReserveBytes: 60_000})
	if err != nil {
		t.Fatal(err)
	}
	for part := range 20 {
		s.Put(t.Context(), key(1, 1, part), content(key(1, 1, part), 1000), true)
	}
	if st := s.Stats(); st.DiskBytes > 0 || st.MemoryBytes > 10_000 {
		t.Errorf("holds %+v", st)
	}
}

func TestNothingIsKeptForATaskThatHasEnded(t *testing.T) {
	s := open(t, vfs.NewMem(), 10_000, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Put(ctx, key(1, 1, 0), content(key(1, 1, 0), 10), true)
	if st := s.Stats(); st.Partitions != 0 {
		t.Errorf("holds %+v", st)
	}
}

func TestFilesOfAnEarlierProcessAreRemoved(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, 4000, 0)
	for part := range 8 {
		s.Put(t.Context(), key(1, 1, part), content(key(1, 1, part), 500), true)
	}
	if len(files(t, mem)) == 0 {
		t.Fatal("no file was made")
	}
	open(t, mem, 4000, 0)
	if names := files(t, mem); len(names) > 0 {
		t.Errorf("files stay: %v", names)
	}
}

func TestReadersWritersAndProgressAtATime(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, 8000, 8000)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 300 {
				k := key(1, i%7, (i+g)%11)
				if got, ok := s.Get(k); ok && !bytes.Equal(bytes.Join(got, nil), bytes.Join(content(k, 900), nil)) {
					t.Errorf("%v has another content", k)
				} else if !ok {
					s.Put(t.Context(), k, content(k, 900), g%2 == 0)
				}
				if i%50 == 49 {
					s.Progress(&job.Progress{App: 1, Cleaned: id.Time(i % 7)})
				}
			}
		})
	}
	all.Wait()
	s.Progress(&job.Progress{App: 1, Ended: true})
	if st := s.Stats(); st.Partitions != 0 || st.MemoryBytes != 0 || st.DiskBytes != 0 || len(files(t, mem)) != 0 {
		t.Errorf("holds %+v, files %v", st, files(t, mem))
	}
}
