// Package bucket owns objects in a place outside the cluster that a URL names: a directory that all nodes share, or a
// bucket of S3. It promises that an object is durable and whole when Put returns, and that nothing partial has its key
// before; it must not know what the objects hold nor who reads them.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/raftstream/raftstream/internal/vfs"
)

// maxURL bounds a bucket's URL in bytes.
const maxURL = 1024

// Bucket is an open bucket. Its methods may be called concurrently. Keys are paths of plain names.
type Bucket struct {
	objects objects
	url     string
}

// objects is what a kind of bucket does; keys are good.
type objects interface {
	put(ctx context.Context, key string, data []byte) error
	get(ctx context.Context, key string, limit int64) ([]byte, error)
	remove(ctx context.Context, key string) error // nil where there is none
	list(ctx context.Context, dir string) iter.Seq2[string, error]
	close() error
}

// driver is a kind of bucket: check looks at a URL without leaving the process, open may read the process's
// environment.
type driver struct {
	check func(*url.URL) error
	open  func(context.Context, *url.URL, vfs.FS) (objects, error)
}

// drivers are the kinds of buckets by the scheme of their URLs. Another kind of gocloud.dev/blob is a line here.
var drivers = map[string]driver{
	"file": {checkFile, openFile},
	"s3":   {checkS3, openS3},
}

// Check says what is wrong with a bucket's URL as such; whether there is such a bucket is seen when it is used.
func Check(text string) error {
	_, _, err := parse(text)
	return err
}

func parse(text string) (*url.URL, driver, error) {
	schemes := slices.Sorted(maps.Keys(drivers))
	fail := func(format string, args ...any) (*url.URL, driver, error) {
		return nil, driver{}, fmt.Errorf("bucket URL: "+format, args...)
	}
	if len(text) > maxURL {
		return fail("%d bytes, expected at most %d", len(text), maxURL)
	}
	u, err := url.Parse(text)
	if err != nil {
		return fail("%w", errors.Unwrap(err)) // the text itself may have a password in it
	}
	d, ok := drivers[u.Scheme]
	switch {
	case !ok:
		return fail("scheme %q, expected one of %s", u.Scheme, strings.Join(schemes, ", "))
	case u.User != nil:
		return fail("it names a user: credentials come from the environment of the executors, not from a URL that everybody can read")
	case u.Opaque != "" || u.Fragment != "":
		return fail("%q, expected %s://...", text, u.Scheme)
	}
	if err := d.check(u); err != nil {
		return fail("%q: %w", text, err)
	}
	return u, d, nil
}

// Open opens a bucket. Directories are looked for in files.
func Open(ctx context.Context, text string, files vfs.FS) (*Bucket, error) {
	u, d, err := parse(text)
	if err != nil {
		return nil, err
	}
	o, err := d.open(ctx, u, files)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", text, err)
	}
	return &Bucket{objects: o, url: text}, nil
}

// Put writes an object, or replaces one; on return it is durable. After an error it is there or not, but whole.
func (b *Bucket) Put(ctx context.Context, key string, data []byte) error {
	return b.do("put", key, func() error { return b.objects.put(ctx, key, data) })
}

// Get reads an object of at most limit bytes; a longer one is an error.
func (b *Bucket) Get(ctx context.Context, key string, limit int64) (data []byte, err error) {
	err = b.do("get", key, func() (err error) {
		data, err = b.objects.get(ctx, key, limit)
		return err
	})
	return data, err
}

// Delete removes an object; it is no error where there is none.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return b.do("delete", key, func() error { return b.objects.remove(ctx, key) })
}

// List gives the keys below a directory, in no order that is promised. A file bucket gives also what a Put that was cut
// short left behind: its key is that of the object, a dot and more. An error is the last thing given.
func (b *Bucket) List(ctx context.Context, dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := checkKey(dir); err != nil {
			yield("", b.failed("list", dir, err))
			return
		}
		for key, err := range b.objects.list(ctx, dir) {
			if err != nil {
				yield("", b.failed("list", dir, err))
				return
			}
			if !yield(key, nil) {
				return
			}
		}
	}
}

// Close frees what the open bucket holds.
func (b *Bucket) Close() error {
	if err := b.objects.close(); err != nil {
		return fmt.Errorf("close bucket %s: %w", b.url, err)
	}
	return nil
}

func (b *Bucket) do(what, key string, f func() error) error {
	if err := checkKey(key); err != nil {
		return b.failed(what, key, err)
	}
	if err := f(); err != nil {
		return b.failed(what, key, err)
	}
	return nil
}

func (b *Bucket) failed(what, key string, err error) error {
	return fmt.Errorf("%s %s in bucket %s: %w", what, key, b.url, err)
}

func checkKey(key string) error {
	if key == "" || key != path.Clean(key) || strings.HasPrefix(key, "/") || strings.HasPrefix(key, ".") {
		return fmt.Errorf("key %q, expected a path of plain names", key)
	}
	return nil
}
