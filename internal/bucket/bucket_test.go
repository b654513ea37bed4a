package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestURLsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"", `scheme "", expected one of file, s3`},
		{"/dir", `scheme "", expected one of file, s3`},
		{"gs://b", `scheme "gs", expected one of file, s3`},
		{"file://dir/sub", `host "dir", expected none: file:///DIR with three slashes`},
		{"file:///", "expected the absolute path of a directory"},
		{"file:dir", "expected file://..."},
		{"file:///dir?metadata=skip", `option "metadata=skip", expected none`},
		{"s3://", `bucket "", expected s3://BUCKET/PREFIX`},
		{"s3://B_/x", `bucket "B_", expected s3://BUCKET/PREFIX`},
		{"s3://bucket/../x", "prefix"},
		{"s3://bucket?regoin=x", `option "regoin" is not known`},
		{"s3://bucket?region=x&region=y", `option "region" is given 2 times`},
		{"s3://bucket?use_path_style=2x", `option "use_path_style" is "2x", expected true or false`},
		{"s3://key:secret@bucket/x", "credentials come from the environment"},
		{"s3://bucket/x#y", "expected s3://..."},
		{"s3://bucket/%zz", "invalid URL escape"},
		{"file:///" + strings.Repeat("x", maxURL), "expected at most 1024"},
	} {
		err := Check(tt.url)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, expected %q", tt.url, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	for _, good := range []string{"file:///dir", "file:///dir/sub/", "s3://bucket", "s3://my.bucket-1/a/b/", "s3://bucket?region=eu-1&endpoint=http://h:1&use_path_style=true"} {
		if err := Check(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

// open opens a file bucket on a disk that has its directory.
func open(t *testing.T, disk *vfs.Mem) *Bucket {
	t.Helper()
	if err := disk.MkdirAll("/shared"); err != nil {
		t.Fatal(err)
	}
	return openURL(t, "file:///shared", disk)
}

func openURL(t *testing.T, url string, files vfs.FS) *Bucket {
	t.Helper()
	b, err := Open(t.Context(), url, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func keys(t *testing.T, b *Bucket, dir string) (all []string) {
	t.Helper()
	for key, err := range b.List(t.Context(), dir) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}

// exercise does with a bucket of any kind what a bucket is for.
func exercise(t *testing.T, b *Bucket) {
	t.Helper()
	ctx := t.Context()
	big := bytes.Repeat([]byte("0123456789abcdef"), 12<<16) // 12 MiB, the largest piece
	want := map[string][]byte{"c/1/2/3": []byte("three"), "c/1/2/4": big, "c/1/10/3": []byte("other"), "c/2/2/3": {}}
	for key, data := range want {
		if err := b.Put(ctx, key, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Put(ctx, "c/1/2/3", []byte("again")); err != nil {
		t.Fatal(err)
	}
	want["c/1/2/3"] = []byte("again")
	for key, data := range want {
		got, err := b.Get(ctx, key, 12<<20)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s has %d bytes, %v, expected %d", key, len(got), err, len(data))
		}
	}
	if _, err := b.Get(ctx, "c/1/2/4", 5); err == nil {
		t.Error("an object beyond the limit was read")
	}
	if _, err := b.Get(ctx, "c/1/2/5", 5); err == nil || !strings.Contains(err.Error(), "get c/1/2/5 in bucket "+b.url) {
		t.Errorf("an object that is not there: %v", err)
	}
	if got := fmt.Sprint(keys(t, b, "c/1")); got != "[c/1/10/3 c/1/2/3 c/1/2/4]" {
		t.Errorf("list is %s", got)
	}
	if got := keys(t, b, "nothing"); len(got) != 0 {
		t.Errorf("list of a directory that is not there is %v", got)
	}
	for key := range b.List(ctx, "c") { // who leaves early gets no more
		_ = key
		break
	}
	for range 2 { // what is gone is deleted
		if err := b.Delete(ctx, "c/1/2/3"); err != nil {
			t.Error(err)
		}
	}
	if got := fmt.Sprint(keys(t, b, "c")); got != "[c/1/10/3 c/1/2/4 c/2/2/3]" {
		t.Errorf("list after a deletion is %s", got)
	}
	for _, bad := range []string{"", "/x", "../x", "x//y", "x/../y", ".x"} {
		if err := b.Put(ctx, bad, nil); err == nil || !strings.Contains(err.Error(), "expected a path of plain names") {
			t.Errorf("key %q: %v", bad, err)
		}
	}
}

func TestObjectsOfADirectory(t *testing.T) {
	t.Run("in memory", func(t *testing.T) { exercise(t, open(t, vfs.NewMem())) })
	t.Run("on disk", func(t *testing.T) {
		dir := t.TempDir()
		exercise(t, openURL(t, "file://"+dir, vfs.OS{}))
		if entries, err := os.ReadDir(filepath.Join(dir, "c", "1", "2")); err != nil || len(entries) != 1 {
			t.Errorf("%v, %v, expected one file and nothing temporary", entries, err)
		}
	})
}

// An object whose Put has returned is there after a crash at any operation of the next ones, and no object is ever
// there in part.
func TestPutIsDurableWheneverTheMachineFails(t *testing.T) {
	data := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 1000+i) }
	for stop := 0; ; stop++ {
		disk := vfs.NewMem()
		b := open(t, disk)
		rng := rand.New(rand.NewPCG(7, uint64(stop)))
		disk.StopAt(disk.Ops()+stop, rng)
		stored := map[int]bool{}
		for i := range 4 {
			if b.Put(t.Context(), fmt.Sprintf("c/%d/%d", i/2, i), data(i)) == nil {
				stored[i] = true
			}
		}
		after := open(t, disk.Crash(rng))
		for i := range 4 {
			got, err := after.Get(t.Context(), fmt.Sprintf("c/%d/%d", i/2, i), 1<<20)
			switch {
			case err == nil && !bytes.Equal(got, data(i)):
				t.Fatalf("crash at operation %d: object %d has %d bytes, expected %d", stop, i, len(got), len(data(i)))
			case err != nil && stored[i]:
				t.Fatalf("crash at operation %d: object %d is lost: %v", stop, i, err)
			}
		}
		if len(stored) == 4 {
			return
		}
	}
}

// A share that is not mounted must not become a directory of the node's own.
func TestDirectoryOfABucketIsNotMade(t *testing.T) {
	disk := vfs.NewMem()
	b := openURL(t, "file:///not/mounted", disk)
	if err := b.Put(t.Context(), "x", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("put: %v", err)
	}
	for _, err := range b.List(t.Context(), "x") {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("list: %v", err)
		}
	}
	if _, err := disk.Stat("/not"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

// What fails leaves no object and nothing temporary, wherever it fails.
func TestPutThatFailsLeavesNothing(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpRename} {
		disk := vfs.NewMem()
		b := open(t, disk)
		disk.Inject(func(op vfs.Op) vfs.Fault {
			if op.Kind == kind {
				return vfs.Fault{Err: vfs.ErrFull}
			}
			return vfs.Fault{}
		})
		if err := b.Put(t.Context(), "c/1", []byte("x")); !errors.Is(err, vfs.ErrFull) {
			t.Errorf("fault %d: %v", kind, err)
		}
		disk.Inject(nil)
		if got := keys(t, b, "c"); len(got) != 0 {
			t.Errorf("fault %d: %v is left", kind, got)
		}
	}
}

// Directories that become empty go, also while others write into them.
func TestWritersAndDeletersOfOneDirectory(t *testing.T) {
	b := openURL(t, "file://"+t.TempDir(), vfs.OS{})
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			key := fmt.Sprintf("c/1/%d", w)
			for i := range 100 {
				data := []byte(fmt.Sprint(w, i))
				if err := b.Put(t.Context(), key, data); err != nil {
					t.Error(err)
					return
				}
				if got, err := b.Get(t.Context(), key, 100); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s is %q, %v", key, got, err)
				}
				if err := b.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if entries, err := os.ReadDir(b.objects.(*directory).root); err != nil || len(entries) != 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
}

// A server that does not answer holds up no more than fileOps goroutines, and nobody beyond their patience.
func TestDirectoryThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		b := openURL(t, "file:///shared", &silent{vfs.NewMem(), back})
		ctx, cancel := context.WithCancelCause(t.Context())
		patience := errors.New("patience is over")
		errs := make(chan error)
		for i := range 2 * fileOps {
			go func() { errs <- b.Put(ctx, fmt.Sprint("c/", i), nil) }()
		}
		synctest.Wait()
		cancel(patience)
		for range 2 * fileOps {
			if err := <-errs; !errors.Is(err, patience) {
				t.Errorf("put: %v", err)
			}
		}
		if n := len(b.objects.(*directory).room); n != fileOps {
			t.Errorf("%d operations hang, expected %d", n, fileOps)
		}
		close(back)
	})
}

// silent is a file system whose Stat waits.
type silent struct {
	vfs.FS
	back chan struct{}
}

func (s *silent) Stat(name string) (vfs.Info, error) {
	<-s.back
	return s.FS.Stat(name)
}
