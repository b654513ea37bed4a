package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/raftstream/raftstream/internal/vfs"
)

// both runs a test on the operating system's files and on those in memory.
func both(t *testing.T, f func(t *testing.T, f vfs.FS, dir string)) {
	t.Run("OS", func(t *testing.T) { f(t, vfs.OS{}, t.TempDir()) })
	t.Run("Mem", func(t *testing.T) {
		m := vfs.NewMem()
		must(t, m.MkdirAll("/d"))
		f(t, m, "/d")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, f vfs.File, s string) {
	t.Helper()
	if _, err := f.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, f vfs.FS, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(f, name, 1<<20)
	must(t, err)
	return string(b)
}

func TestFilesAppendReadAndTruncate(t *testing.T) {
	both(t, func(t *testing.T, f vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		file, err := f.Create(name)
		must(t, err)
		write(t, file, "one ")
		write(t, file, "two")
		must(t, file.Sync())
		if _, err := f.Create(name); !errors.Is(err, fs.ErrExist) {
			t.Errorf("second Create: %v, want ErrExist", err)
		}
		must(t, file.Truncate(4))
		write(t, file, "three")
		must(t, file.Close())
		again, err := f.Append(name)
		must(t, err)
		write(t, again, " four")
		buf := make([]byte, 5)
		if _, err := again.ReadAt(buf, 4); err != nil || string(buf) != "three" {
			t.Errorf("ReadAt: %q, %v", buf, err)
		}
		if n, err := again.ReadAt(buf, 12); n != 2 || !errors.Is(err, io.EOF) {
			t.Errorf("ReadAt over the end: %d, %v; want 2 and EOF", n, err)
		}
		must(t, again.Close())
		if got := read(t, f, name); got != "one three four" {
			t.Errorf("file holds %q", got)
		}
		info, err := f.Stat(name)
		if err != nil || info.Size != 14 || info.Dir {
			t.Errorf("Stat: %+v, %v", info, err)
		}
	})
}

func TestNamesAreListedRenamedAndRemoved(t *testing.T) {
	both(t, func(t *testing.T, f vfs.FS, dir string) {
		must(t, f.MkdirAll(filepath.Join(dir, "sub", "below")))
		for _, n := range []string{"b", "a", "c"} {
			must(t, vfs.WriteFile(f, dir, filepath.Join(dir, n), []byte(n)))
		}
		must(t, f.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "c")))
		must(t, f.Remove(filepath.Join(dir, "a")))
		must(t, vfs.RemoveIfExists(f, filepath.Join(dir, "a")))
		if err := f.Remove(filepath.Join(dir, "a")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Remove of nothing: %v, want ErrNotExist", err)
		}
		if _, err := f.Open(filepath.Join(dir, "a")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open of nothing: %v, want ErrNotExist", err)
		}
		names, err := f.List(dir)
		must(t, err)
		if want := []string{"c", "sub"}; !slices.Equal(names, want) {
			t.Errorf("List: %v, want %v", names, want)
		}
		if got := read(t, f, filepath.Join(dir, "c")); got != "b" {
			t.Errorf("renamed file holds %q", got)
		}
		if free, err := f.Free(dir); err != nil || free == 0 {
			t.Errorf("Free: %d, %v", free, err)
		}
	})
}

func TestLockExcludesASecondHolder(t *testing.T) {
	both(t, func(t *testing.T, f vfs.FS, dir string) {
		name := filepath.Join(dir, "LOCK")
		first, err := f.Lock(name)
		must(t, err)
		if _, err := f.Lock(name); !errors.Is(err, vfs.ErrLocked) {
			t.Fatalf("second Lock: %v, want ErrLocked", err)
		}
		must(t, first.Close())
		second, err := f.Lock(name)
		must(t, err)
		must(t, second.Close())
	})
}

func TestReadFileRefusesWhatIsTooLong(t *testing.T) {
	both(t, func(t *testing.T, f vfs.FS, dir string) {
		name := filepath.Join(dir, "long")
		must(t, vfs.WriteFile(f, dir, name, make([]byte, 100)))
		_, err := vfs.ReadFile(f, name, 99)
		if size := (*vfs.SizeError)(nil); !errors.As(err, &size) || size.Size != 100 {
			t.Errorf("ReadFile: %v, want a SizeError of 100 bytes", err)
		}
	})
}

func TestMemForgetsWhatWasNotSynced(t *testing.T) {
	m := vfs.NewMem()
	must(t, m.MkdirAll("/d"))
	kept, err := m.Create("/d/kept")
	must(t, err)
	write(t, kept, "synced")
	must(t, kept.Sync())
	must(t, m.SyncDir("/d"))
	write(t, kept, " and not")
	nameless, err := m.Create("/d/nameless")
	must(t, err)
	write(t, nameless, "bytes without a durable name")
	must(t, nameless.Sync())
	must(t, m.Remove("/d/kept"))

	after := m.Crash(nil)
	names, err := after.List("/d")
	must(t, err)
	if want := []string{"kept"}; !slices.Equal(names, want) {
		t.Fatalf("after the crash: %v, want %v", names, want)
	}
	if got := read(t, after, "/d/kept"); got != "synced" {
		t.Errorf("after the crash the file holds %q", got)
	}
	if _, err := kept.Write([]byte("x")); !errors.Is(err, vfs.ErrDown) {
		t.Errorf("write before the crash's machine: %v, want ErrDown", err)
	}
}

func TestMemCrashKeepsSyncedBytesWhateverItChooses(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	seen := map[string]bool{}
	for range 300 {
		m := vfs.NewMem()
		f, err := m.Create("/f")
		must(t, err)
		must(t, m.SyncDir("/"))
		write(t, f, "abc")
		must(t, f.Sync())
		write(t, f, "defghi")
		got := read(t, m.Crash(rng), "/f")
		if len(got) < 3 || got[:3] != "abc" || len(got) > 9 {
			t.Fatalf("after the crash %q", got)
		}
		seen[got] = true
	}
	if !seen["abc"] || !seen["abcdefghi"] || len(seen) < 8 {
		t.Errorf("crashes chose only %d outcomes", len(seen))
	}
}

func TestWriteFileIsAllOrNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	for n := range 12 {
		for range 20 {
			m := vfs.NewMem()
			must(t, vfs.WriteFile(m, "/", "/f", []byte("before")))
			m.StopAt(m.Ops()+n, rng)
			err := vfs.WriteFile(m, "/", "/f", []byte("afterwards"))
			got := read(t, m.Crash(rng), "/f")
			if got != "before" && got != "afterwards" {
				t.Fatalf("stopped at %d: file holds %q", n, got)
			}
			if err == nil && got != "afterwards" {
				t.Fatalf("stopped at %d: WriteFile returned, file holds %q", n, got)
			}
		}
	}
}

func TestMemDiskFillsUpInTheMiddleOfAWrite(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("/f")
	must(t, err)
	m.SetFree(4)
	n, err := f.Write([]byte("123456"))
	if n != 4 || !errors.Is(err, vfs.ErrFull) {
		t.Fatalf("Write: %d, %v; want 4 bytes and ErrFull", n, err)
	}
	must(t, f.Truncate(0))
	if free, err := m.Free("/"); err != nil || free != 4 {
		t.Errorf("Free after the cut: %d, %v", free, err)
	}
}

func TestMemInjectedFaultTearsAWrite(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("/f")
	must(t, err)
	boom := errors.New("boom")
	m.Inject(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpWrite {
			return vfs.Fault{Err: boom, Partial: 2}
		}
		return vfs.Fault{}
	})
	if _, err := f.Write([]byte("1234")); !errors.Is(err, boom) {
		t.Fatalf("Write: %v", err)
	}
	m.Inject(nil)
	if got := read(t, m, "/f"); got != "12" {
		t.Errorf("file holds %q", got)
	}
	must(t, m.SyncDir("/"))
	m.Corrupt("/f", bytes.ToUpper)
	m.Corrupt("/f", func(b []byte) []byte { return append(b, 'x') })
	if got := read(t, m.Crash(nil), "/f"); got != "12x" {
		t.Errorf("after damage and a crash the file holds %q", got)
	}
}
