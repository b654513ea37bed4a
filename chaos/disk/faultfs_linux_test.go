package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// faultFS gives a file system that fails, which is unmounted at the end.
func faultFS(t *testing.T) *FaultFS {
	t.Helper()
	if err := FaultFSAvailable(); err != nil {
		t.Skipf("LEFT OUT, no file system failed: %v", err)
	}
	dir := t.TempDir()
	f, err := NewFaultFS(filepath.Join(dir, "backing"), filepath.Join(dir, "mount"))
	must(t, err)
	t.Cleanup(func() {
		if err := errors.Join(f.Close(), f.Close()); err != nil {
			t.Error(err)
		}
		nothingMounted(t, dir)
	})
	return f
}

// opened gives a file on the file system with the text in it, synced.
func opened(t *testing.T, f *FaultFS, name, text string) *os.File {
	t.Helper()
	path := filepath.Join(f.Dir(), name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	must(t, err)
	t.Cleanup(func() { _ = file.Close() })
	_, err = file.WriteString(text)
	must(t, err)
	must(t, file.Sync())
	return file
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("%s holds %d bytes %.40q, %v; expected %d bytes %.40q", filepath.Base(path), len(b), b, err, len(want), want)
	}
}

func TestGoodFaultFSIsAFileSystem(t *testing.T) {
	f := faultFS(t)
	file := opened(t, f, "a/b/c", "text")
	must(t, os.Rename(filepath.Join(f.Dir(), "a/b/c"), filepath.Join(f.Dir(), "a/d")))
	syncDir(t, filepath.Join(f.Dir(), "a"))
	_, err := file.WriteAt([]byte("next"), 2)
	must(t, err)
	holds(t, filepath.Join(f.Dir(), "a/d"), "tenext")
	holds(t, filepath.Join(f.backing, "a/d"), "tenext")
	must(t, os.Truncate(filepath.Join(f.Dir(), "a/d"), 3))
	holds(t, filepath.Join(f.backing, "a/d"), "ten")
	must(t, os.RemoveAll(filepath.Join(f.Dir(), "a")))
	if c := f.Counts(); c.Writes != 2 || c.Syncs != 2 || c.Reads == 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestNoProcessInheritsTheConnectionToTheKernel(t *testing.T) {
	faultFS(t)
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	must(t, err)
	if strings.Contains(string(out), "/dev/fuse") {
		t.Errorf("a process that was started holds it:\n%s", out)
	}
}

func TestNextSyncFailsOnce(t *testing.T) {
	f := faultFS(t)
	raft, wal := opened(t, f, "raft/raft.db", "one"), opened(t, f, "wal/1.wal", "one")
	rule := f.Begin(Rule{Trouble: SyncFails, Under: "raft", Times: 1})
	must(t, wal.Sync())
	if err := raft.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("sync below raft: %v, expected EIO", err)
	}
	must(t, raft.Sync())
	if n := rule.End(); n != 1 {
		t.Errorf("%d bites, expected 1", n)
	}
}

func TestSyncOfADirectoryFailsToo(t *testing.T) {
	f := faultFS(t)
	must(t, os.Mkdir(filepath.Join(f.Dir(), "raft"), 0o755))
	rule := f.Begin(Rule{Trouble: SyncFails, Times: 1})
	d, err := os.Open(filepath.Join(f.Dir(), "raft"))
	must(t, err)
	if err := d.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("sync of a directory: %v, expected EIO", err)
	}
	must(t, errors.Join(d.Sync(), d.Close()))
	if n := rule.End(); n != 1 {
		t.Errorf("%d bites, expected 1", n)
	}
}

// A sync that failed cannot be repeated: the next one says that all is well, and the bytes are not there.
func TestWhatAFailedSyncLeftOutIsGoneAfterDrop(t *testing.T) {
	f := faultFS(t)
	page := strings.Repeat("a", pageSize)
	file := opened(t, f, "f", page+page)
	write := func(text string, at int64) {
		_, err := file.WriteAt([]byte(text), at)
		must(t, err)
	}
	write("LOST", 10)
	write("LOST", 2*pageSize)
	write("LOST", 3*pageSize)
	f.Begin(Rule{Trouble: SyncFails, Times: 1})
	if err := file.Sync(); err == nil {
		t.Fatal("the sync is good, expected EIO")
	}
	must(t, file.Sync())
	seen, err := os.ReadFile(filepath.Join(f.Dir(), "f"))
	must(t, err)
	if string(seen[10:14]) != "LOST" {
		t.Error("the bytes are not read back before Drop")
	}
	write("kept", pageSize) // a page that was not lost, and one that is written once more
	write("kept", 3*pageSize+4)
	must(t, file.Sync())
	must(t, file.Close())
	n, err := f.Drop()
	must(t, err)
	want := page + "kept" + page[4:] + strings.Repeat("\x00", pageSize) + "LOSTkept"
	holds(t, filepath.Join(f.Dir(), "f"), want)
	if n != 2 {
		t.Errorf("%d pages were dropped, expected 2", n)
	}
}

func TestTheEndOfAFileGoesWithALostSync(t *testing.T) {
	f := faultFS(t)
	file := opened(t, f, "f", "synced")
	_, err := file.WriteAt([]byte(" and lost"), 6)
	must(t, err)
	f.Begin(Rule{Trouble: SyncFails, Times: 1})
	if err := file.Sync(); err == nil {
		t.Fatal("the sync is good, expected EIO")
	}
	must(t, file.Close())
	_, err = f.Drop()
	must(t, err)
	holds(t, filepath.Join(f.Dir(), "f"), "synced")
}

// The runtime of Go sends its threads signals. One that comes in a slow sync ends it: it is asked for again, and was no failure.
func TestSyncThatASignalEndsLosesNothing(t *testing.T) {
	f := faultFS(t)
	file := opened(t, f, "f", "synced")
	_, err := file.WriteAt([]byte(" again"), 6)
	must(t, err)
	rule := f.Begin(Rule{Trouble: SyncSlow, Delay: time.Minute})
	before := f.Counts().Syncs
	thread, ended := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		ended <- unix.Fsync(int(file.Fd()))
	}()
	id := <-thread
	for f.Counts().Syncs == before {
		runtime.Gosched()
	}
	must(t, unix.Tgkill(os.Getpid(), id, unix.SIGURG))
	if err := <-ended; !errors.Is(err, unix.EINTR) {
		t.Fatalf("the sync ends with %v, expected EINTR", err)
	}
	rule.End()
	must(t, file.Sync())
	must(t, file.Close())
	if pages, err := f.Drop(); err != nil || pages != 0 {
		t.Errorf("%d pages are taken back, %v", pages, err)
	}
	holds(t, filepath.Join(f.Dir(), "f"), "synced again")
}

func TestEverySyncIsSlow(t *testing.T) {
	f := faultFS(t)
	file := opened(t, f, "f", "")
	const delay = 50 * time.Millisecond
	rule := f.Begin(Rule{Trouble: SyncSlow, Delay: delay})
	began := time.Now()
	for range 3 {
		must(t, file.Sync())
	}
	if took := time.Since(began); took < 3*delay {
		t.Errorf("three syncs took %v, expected %v at least", took, 3*delay)
	}
	if n := rule.End(); n != 3 {
		t.Errorf("%d bites, expected 3", n)
	}
	began = time.Now()
	must(t, file.Sync())
	if took := time.Since(began); took >= delay {
		t.Errorf("a sync after End took %v", took)
	}
}

func TestDiskIsFullAfterSomeBytes(t *testing.T) {
	f := faultFS(t)
	file := opened(t, f, "f", "before")
	rule := f.Begin(Rule{Trouble: NoSpace, Bytes: 100_000})
	var st unix.Statfs_t
	must(t, unix.Statfs(f.Dir(), &st))
	if free := int64(st.Bavail) * st.Bsize; free > 100_000 {
		t.Errorf("%d bytes are said to be free, expected 100000 at most", free)
	}
	_, err := file.WriteAt([]byte("BEFORE"), 0) // takes no space
	must(t, err)
	if _, err := file.WriteAt(make([]byte, 150_000), 6); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write: %v, expected ENOSPC", err)
	}
	holds(t, filepath.Join(f.backing, "f"), "BEFORE"+strings.Repeat("\x00", 100_000)) // what there was space for
	if err := file.Truncate(200_000); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a longer file: %v, expected ENOSPC", err)
	}
	must(t, file.Truncate(6)) // what is given back can be used again
	_, err = file.WriteAt(make([]byte, 60_000), 6)
	must(t, err)
	other := opened(t, f, "g", strings.Repeat("x", 40_000))
	must(t, other.Close())
	if err := os.WriteFile(filepath.Join(f.Dir(), "h"), []byte("x"), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("one byte more: %v, expected ENOSPC", err)
	}
	must(t, os.Remove(filepath.Join(f.Dir(), "g")))
	must(t, os.WriteFile(filepath.Join(f.Dir(), "h"), make([]byte, 40_000), 0o644))
	if n := rule.End(); n != 5 { // the write is two
		t.Errorf("%d bites, expected 5", n)
	}
	must(t, os.WriteFile(filepath.Join(f.Dir(), "i"), make([]byte, 1<<20), 0o644))
}

func TestWriteIsTorn(t *testing.T) {
	f := faultFS(t)
	file := opened(t, f, "f", "")
	rule := f.Begin(Rule{Trouble: WriteTorn, Times: 1})
	if n, err := file.WriteString("abcdef"); !errors.Is(err, unix.EIO) || n != 0 {
		t.Errorf("wrote %d, %v; expected EIO", n, err)
	}
	holds(t, filepath.Join(f.backing, "f"), "abc")
	_, err := file.WriteAt([]byte("ABCDEF"), 0)
	must(t, err)
	holds(t, filepath.Join(f.backing, "f"), "ABCDEF")
	if n := rule.End(); n != 1 {
		t.Errorf("%d bites, expected 1", n)
	}
}

func TestReadsOfAFileFail(t *testing.T) {
	f := faultFS(t)
	opened(t, f, "bad", "text")
	opened(t, f, "good", "text")
	rule := f.Begin(Rule{Trouble: ReadFails, Under: "bad"})
	if _, err := os.ReadFile(filepath.Join(f.Dir(), "bad")); !errors.Is(err, unix.EIO) {
		t.Errorf("read: %v, expected EIO", err)
	}
	holds(t, filepath.Join(f.Dir(), "good"), "text")
	if n := rule.End(); n == 0 {
		t.Error("no bites")
	}
	holds(t, filepath.Join(f.Dir(), "bad"), "text")
}

// helper is the environment variable that makes the test binary a user of bbolt, which maps its file into memory: not in
// the process that serves the file.
const helper = "CHAOS_DISK_BOLT"

func TestMain(m *testing.M) {
	if path := os.Getenv(helper); path != "" {
		if err := useBolt(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// useBolt counts up in a bbolt file until a transaction fails, and prints each number that was committed.
func useBolt(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	key := []byte("n")
	for {
		n := 0
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(key)
			if err != nil {
				return err
			}
			n, _ = strconv.Atoi(string(b.Get(key)))
			n++
			return errors.Join(b.Put(key, []byte(strconv.Itoa(n))), b.Put([]byte(strconv.Itoa(n)), bytes.Repeat(key, 3000)))
		})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// bbolt maps its file: what it wrote is what it reads there, a failing sync ends it, and the file is whole after that.
func TestBoltWorksThroughFaultFS(t *testing.T) {
	f := faultFS(t)
	path := filepath.Join(f.Dir(), "raft/raft.db")
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	last := 0
	for round := range 3 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), helper+"="+path)
		out, err := c.StdoutPipe()
		must(t, err)
		must(t, c.Start())
		before := f.Counts().Syncs
		await(t, "transactions", func() bool { return f.Counts().Syncs > before+60 })
		rule := f.Begin(Rule{Trouble: SyncFails, Under: "raft", Times: 1})
		b, err := io.ReadAll(out)
		must(t, err)
		if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != 1 {
			t.Fatalf("round %d ended with %v, expected status 1: %s", round, err, b)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if says := lines[len(lines)-1]; !strings.Contains(says, "input/output error") {
			t.Fatalf("round %d: last words %q", round, says)
		}
		first, err := strconv.Atoi(lines[0])
		must(t, err)
		if first <= last || first > last+2 { // the transaction that failed may be there
			t.Fatalf("round %d begins with %d, the one before committed %d", round, first, last)
		}
		last, err = strconv.Atoi(lines[len(lines)-2])
		must(t, err)
		if n := rule.End(); n != 1 || len(lines) < 20 {
			t.Errorf("round %d: %d bites, %d transactions", round, n, len(lines)-1)
		}
		_, err = f.Drop()
		must(t, err)
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("no %s within 20 s", what)
		}
	}
}
