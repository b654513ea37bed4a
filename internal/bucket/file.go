package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"path"
	"strings"

	"github.com/raftstream/raftstream/internal/vfs"
)

const (
	// fileOps bounds the operations on a directory at a time. A shared directory whose server is gone answers never, and
	// nothing can end such an operation: so many goroutines are left behind at most.
	fileOps = 16
	// fileTries is how often a directory is made again that others removed because it was empty.
	fileTries = 5
)

// directory is a bucket in a directory that all nodes share.
type directory struct {
	fs   vfs.FS
	root string
	room chan struct{}
}

func checkFile(u *url.URL) error {
	switch {
	case u.Host != "":
		return fmt.Errorf("host %q, expected none: file:///DIR with three slashes", u.Host)
	case !strings.HasPrefix(u.Path, "/") || path.Clean(u.Path) == "/":
		return errors.New("expected the absolute path of a directory that all nodes share")
	case u.RawQuery != "":
		return fmt.Errorf("option %q, expected none for a directory", u.RawQuery)
	}
	return nil
}

func openFile(_ context.Context, u *url.URL, files vfs.FS) (objects, error) {
	return &directory{fs: files, root: path.Clean(u.Path), room: make(chan struct{}, fileOps)}, nil
}

func (d *directory) close() error { return nil }

// run does an operation on files, but does not wait for it beyond the end of ctx.
func run[T any](ctx context.Context, d *directory, f func() (T, error)) (T, error) {
	var none T
	select {
	case d.room <- struct{}{}:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() { // left behind where ctx ends first; see fileOps
		defer func() { <-d.room }()
		v, err := f()
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

func (d *directory) path(key string) string { return path.Join(d.root, key) }

func (d *directory) put(ctx context.Context, key string, data []byte) error {
	_, err := run(ctx, d, func() (struct{}, error) { return struct{}{}, d.write(key, data) })
	return err
}

// there says whether the bucket's directory is. It is never made: where a share is not mounted, objects would go to the
// node's own disk and nobody would find them.
func (d *directory) there() error {
	info, err := d.fs.Stat(d.root)
	if err != nil {
		return fmt.Errorf("directory of the bucket, which is not made by itself: %w", err)
	}
	if !info.Dir {
		return fmt.Errorf("%s is a file, expected a directory", d.root)
	}
	return nil
}

// write makes an object durable before it has its name, and then its name. The temporary name is nobody else's, also
// where two processes write the same object.
func (d *directory) write(key string, data []byte) (err error) {
	if err := d.there(); err != nil {
		return err
	}
	name := d.path(key)
	tmp := name + "." + rand.Text() + ".tmp"
	file, err := d.create(tmp)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = d.fs.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, vfs.RemoveIfExists(d.fs, tmp))
	}
	for dir := path.Dir(name); ; dir = path.Dir(dir) { // who made a directory above may not have come to sync it
		if err := d.fs.SyncDir(dir); err != nil {
			return err
		}
		if dir == d.root {
			return nil
		}
	}
}

// create makes a file and the directories above it, which prune may remove at the same time.
func (d *directory) create(name string) (file vfs.File, err error) {
	for range fileTries {
		if err = d.fs.MkdirAll(path.Dir(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if file, err = d.fs.Create(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return nil, err
}

func (d *directory) get(ctx context.Context, key string, limit int64) ([]byte, error) {
	return run(ctx, d, func() ([]byte, error) { return vfs.ReadFile(d.fs, d.path(key), limit) })
}

func (d *directory) remove(ctx context.Context, key string) error {
	_, err := run(ctx, d, func() (struct{}, error) {
		if err := vfs.RemoveIfExists(d.fs, d.path(key)); err != nil {
			return struct{}{}, err
		}
		d.prune(path.Dir(d.path(key)))
		return struct{}{}, nil
	})
	return err
}

// prune removes directories that are empty, from one upwards. What cannot be removed does no harm.
func (d *directory) prune(dir string) {
	for ; len(dir) > len(d.root); dir = path.Dir(dir) {
		if names, err := d.fs.List(dir); err != nil || len(names) > 0 || d.fs.Remove(dir) != nil {
			return
		}
	}
}

// entry is a name in a directory.
type entry struct {
	name string
	dir  bool
}

func (d *directory) list(ctx context.Context, dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		_, err := run(ctx, d, func() (struct{}, error) { return struct{}{}, d.there() })
		if err != nil {
			yield("", err)
			return
		}
		d.walk(ctx, dir, yield)
	}
}

// walk gives what is below a directory; false ends it. What is removed meanwhile is passed over.
func (d *directory) walk(ctx context.Context, dir string, yield func(string, error) bool) bool {
	entries, err := run(ctx, d, func() ([]entry, error) { return d.entries(dir) })
	if err != nil {
		yield("", err)
		return false
	}
	for _, e := range entries {
		key := path.Join(dir, e.name)
		if e.dir && !d.walk(ctx, key, yield) || !e.dir && !yield(key, nil) {
			return false
		}
	}
	return true
}

func (d *directory) entries(dir string) (all []entry, err error) {
	names, err := d.fs.List(d.path(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, name := range names {
		info, err := d.fs.Stat(d.path(path.Join(dir, name)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		default:
			all = append(all, entry{name, info.Dir})
		}
	}
	return all, nil
}
