package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// volume gives a mounted volume, which is unmounted at the end.
func volume(t *testing.T, bytes int64) *Volume {
	t.Helper()
	if err := VolumesAvailable(); err != nil {
		t.Skipf("LEFT OUT, no power was cut: %v", err)
	}
	dir := t.TempDir()
	v, err := NewVolume(dir, bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		nothingMounted(t, dir)
	})
	return v
}

func nothingMounted(t *testing.T, dir string) {
	t.Helper()
	for _, table := range []string{"/proc/self/mountinfo", "/proc/mounts"} {
		b, err := os.ReadFile(table)
		if err != nil || strings.Contains(string(b), dir) {
			t.Errorf("%s still names %s (%v)", table, dir, err)
		}
	}
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range backing {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), dir) {
			t.Errorf("%s is still attached: %s", file, b)
		}
	}
}

// put writes a file below the volume, synced or not.
func put(t *testing.T, path, text string, sync bool) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, err)
	if sync {
		must(t, f.Sync())
	}
	must(t, f.Close())
}

func syncDir(t *testing.T, path string) {
	t.Helper()
	d, err := os.Open(path)
	must(t, err)
	must(t, errors.Join(d.Sync(), d.Close()))
}

// A power cut takes what was not synced, names included, and nothing else.
func TestPowerCutTakesWhatWasNotSynced(t *testing.T) {
	v := volume(t, 32<<20)
	at := func(name string) string { return filepath.Join(v.Dir(), name) }
	put(t, at("synced"), "durable", true)
	put(t, at("renamed"), "old", true)
	put(t, at("overwritten"), "old", true)
	syncDir(t, v.Dir())

	put(t, at("renamed.tmp"), "new", true)
	syncDir(t, v.Dir())
	must(t, os.Rename(at("renamed.tmp"), at("renamed"))) // the directory is not synced
	put(t, at("unsynced"), "lost", false)
	f, err := os.OpenFile(at("overwritten"), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("new"), 0)
	must(t, err)

	must(t, v.Cut())
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		err = f.Sync()
		if !errors.Is(err, unix.EIO) {
			t.Errorf("sync after the cut: %v, expected EIO", err)
		}
	}
	if err := os.WriteFile(at("later"), nil, 0o644); !errors.Is(err, unix.EIO) {
		t.Errorf("a file after the cut: %v, expected EIO", err)
	}
	must(t, f.Close())
	cut, err := v.Remount()
	must(t, err)
	if !cut {
		t.Error("the witness of the cut has its bytes")
	}

	for name, want := range map[string]string{"synced": "durable", "renamed": "old", "renamed.tmp": "new", "overwritten": "old"} {
		if b, err := os.ReadFile(at(name)); err != nil || string(b) != want {
			t.Errorf("%s holds %q, %v; expected %q", name, b, err, want)
		}
	}
	for _, name := range []string{"unsynced", "later"} {
		if b, err := os.ReadFile(at(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %q, %v", name, b, err)
		}
	}
}

func TestVolumeIsFilledAndFreed(t *testing.T) {
	v := volume(t, 32<<20)
	before, err := v.Left()
	must(t, err)
	for _, left := range []int64{1 << 20, 0} {
		must(t, v.Fill(left))
		now, err := v.Left()
		must(t, err)
		if now > left+64<<10 || now < left-64<<10 {
			t.Errorf("%d bytes are left, expected about %d", now, left)
		}
	}
	if err := os.WriteFile(filepath.Join(v.Dir(), "more"), make([]byte, 1<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a write to a full volume: %v, expected ENOSPC", err)
	}
	must(t, os.Remove(filepath.Join(v.Dir(), "more")))
	must(t, v.Free())
	if now, err := v.Left(); err != nil || now < before-1<<20 {
		t.Errorf("%d bytes are left after Free (%v), %d were before", now, err, before)
	}
	must(t, os.WriteFile(filepath.Join(v.Dir(), "more"), make([]byte, 1<<20), 0o644))
}

// A cut and Close without Remount, files that are open, and a process that died before Close: nothing stays mounted.
func TestNothingStaysMounted(t *testing.T) {
	v := volume(t, 16<<20)
	f, err := os.Create(filepath.Join(v.Dir(), "open"))
	must(t, err)
	must(t, v.Cut())
	must(t, f.Close())
	must(t, v.Close())
	must(t, v.Close())

	dir := t.TempDir()
	left, err := NewVolume(dir, 16<<20)
	must(t, err)
	swept, err := Sweep(dir)
	must(t, err)
	if len(swept) != 1 || swept[0] != filepath.Join(dir, "mount") {
		t.Errorf("swept %v, expected the mount point below %s", swept, dir)
	}
	nothingMounted(t, dir)
	must(t, left.Close())
}
