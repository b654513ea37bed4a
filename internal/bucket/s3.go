package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // opens s3://
	"gocloud.dev/gcerrors"

	"github.com/raftstream/raftstream/internal/vfs"
)

// onePart is larger than any object here: each is one request, which is there as a whole or not at all.
const onePart = 64 << 20

// validation is the option that says when checksums of answers are looked at.
const validation = "response_checksum_validation"

// s3Name is what S3 allows as a bucket's name.
var s3Name = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// s3Options are the options of the query, those with true or false as value marked.
var s3Options = map[string]bool{
	"region": false, "endpoint": false, "profile": false, "role": false, "ssetype": false, "kmskeyid": false,
	"request_checksum_calculation": false, validation: false,
	"use_path_style": true, "disable_https": true, "hostname_immutable": true, "dualstack": true, "fips": true,
	"anonymous": true,
}

func checkS3(u *url.URL) error {
	if !s3Name.MatchString(u.Host) {
		return fmt.Errorf("bucket %q, expected s3://BUCKET/PREFIX with 3 to 63 lower case letters, digits, dots and dashes", u.Host)
	}
	if p := prefixOf(u); p != "" {
		if err := checkKey(p); err != nil {
			return fmt.Errorf("prefix: %w", err)
		}
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return err
	}
	for name, values := range options {
		boolean, known := s3Options[name]
		switch {
		case !known:
			return fmt.Errorf("option %q is not known", name)
		case len(values) != 1:
			return fmt.Errorf("option %q is given %d times", name, len(values))
		case boolean:
			if _, err := strconv.ParseBool(values[0]); err != nil {
				return fmt.Errorf("option %q is %q, expected true or false", name, values[0])
			}
		}
	}
	return nil
}

func prefixOf(u *url.URL) string { return strings.Trim(u.Path, "/") }

// remote is a bucket of a service that gocloud.dev/blob speaks to.
type remote struct {
	bucket *blob.Bucket
	prefix string // of all keys, "" or with a slash at its end
}

func openS3(ctx context.Context, u *url.URL, _ vfs.FS) (objects, error) {
	r := &remote{}
	if p := prefixOf(u); p != "" {
		r.prefix = p + "/"
	}
	whole := *u
	whole.Path, whole.RawPath = "", ""
	if options := whole.Query(); !options.Has(validation) {
		options.Set(validation, "when_required") // who reads checks; else each answer without a checksum is a line on stderr
		whole.RawQuery = options.Encode()
	}
	var err error
	if r.bucket, err = blob.OpenBucket(ctx, whole.String()); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *remote) close() error { return r.bucket.Close() }

func (r *remote) put(ctx context.Context, key string, data []byte) error {
	return r.bucket.Upload(ctx, r.prefix+key, bytes.NewReader(data), &blob.WriterOptions{
		ContentType: "application/octet-stream", BufferSize: max(onePart, len(data)+1), MaxConcurrency: 1,
	})
}

func (r *remote) get(ctx context.Context, key string, limit int64) (_ []byte, err error) {
	in, err := r.bucket.NewReader(ctx, r.prefix+key, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if in.Size() < 0 || in.Size() > limit {
		return nil, &vfs.SizeError{Name: key, Size: in.Size(), Limit: limit}
	}
	data := make([]byte, in.Size())
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, err
	}
	return data, nil
}

func (r *remote) remove(ctx context.Context, key string) error {
	err := r.bucket.Delete(ctx, r.prefix+key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return err
}

func (r *remote) list(ctx context.Context, dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		all := r.bucket.List(&blob.ListOptions{Prefix: r.prefix + dir + "/"})
		for {
			o, err := next(ctx, all)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
			key := strings.TrimPrefix(o.Key, r.prefix)
			if o.IsDir || slices.Contains(strings.Split(key, "/"), "") || key != path.Clean(key) {
				continue // a key that nobody here has written
			}
			if !yield(key, nil) {
				return
			}
		}
	}
}

// next gives the next entry of a list. The driver takes some fields for given that a server may leave out.
func next(ctx context.Context, all *blob.ListIterator) (o *blob.ListObject, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the list has an entry that cannot be read: %v", r)
		}
	}()
	return all.Next(ctx)
}
