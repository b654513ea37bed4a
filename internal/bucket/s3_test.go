package bucket

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeS3 speaks as much of S3 as a bucket needs: objects of one bucket by path, put, got, deleted and listed, three to a
// page.
type fakeS3 struct {
	t  *testing.T
	mu sync.Mutex

	objects map[string][]byte
	down    bool
	terse   bool // lists have keys alone
	lists   int
}

func (s *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		s.fail(w, http.StatusForbidden, "AccessDenied")
		return
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=key/") {
		s.fail(w, http.StatusForbidden, "AccessDenied")
		return
	}
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if name != "states" {
		s.fail(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	switch {
	case r.Method == http.MethodGet && key == "":
		s.list(w, r.URL.Query())
	case r.Method == http.MethodPut:
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return // cut off: there is no object
		}
		if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
			data = unchunked(s.t, data)
		}
		s.objects[key] = data
	case r.Method == http.MethodGet && s.objects[key] != nil:
		w.Header().Set("Content-Length", fmt.Sprint(len(s.objects[key])))
		_, _ = w.Write(s.objects[key])
	case r.Method == http.MethodHead && s.objects[key] != nil:
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		s.fail(w, http.StatusNotFound, "NoSuchKey")
	}
}

func (s *fakeS3) fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the test wants it</Message></Error>", code)
}

func (s *fakeS3) list(w http.ResponseWriter, q url.Values) {
	const page = 3
	s.lists++
	type object struct {
		Key                string
		LastModified, ETag string `xml:",omitempty"`
		Size               int    `xml:",omitempty"`
	}
	result := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		Contents              []object
	}{}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		switch {
		case !strings.HasPrefix(key, q.Get("prefix")) || key <= q.Get("continuation-token"):
		case len(result.Contents) == page:
			result.IsTruncated, result.NextContinuationToken = true, result.Contents[page-1].Key
		default:
			o := object{key, "2026-01-02T03:04:05.000Z", "x", len(s.objects[key])}
			if s.terse {
				o = object{Key: key}
			}
			result.Contents = append(result.Contents, o)
		}
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(result)
}

// unchunked takes the frames of a streamed upload off: size in hexadecimal, a line each, then trailers.
func unchunked(t *testing.T, framed []byte) []byte {
	data, rest := []byte{}, string(framed)
	for {
		head, after, _ := strings.Cut(rest, "\r\n")
		var size int
		if _, err := fmt.Sscanf(head, "%x", &size); err != nil {
			t.Error(err)
			return nil
		}
		if size == 0 {
			return data
		}
		data = append(data, after[:size]...)
		rest = after[size+2:]
	}
}

// startS3 starts one and gives the URL of its bucket with a prefix.
func startS3(t *testing.T) (*fakeS3, string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_MAX_ATTEMPTS": "1",
		"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	s := &fakeS3{t: t, objects: map[string][]byte{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, "s3://states/one/two?region=eu-1&use_path_style=true&endpoint=" + url.QueryEscape(server.URL)
}

func TestObjectsOfS3(t *testing.T) {
	s, at := startS3(t)
	s.objects["one/two/c/1/2//odd"] = []byte("x") // not ours
	s.objects["elsewhere/c/1/2/9"] = []byte("x")
	exercise(t, openURL(t, at, nil))
	for key := range s.objects {
		if !strings.HasPrefix(key, "one/two/c/") && key != "elsewhere/c/1/2/9" {
			t.Errorf("object %s is not below the prefix", key)
		}
	}
	if s.lists < 4 {
		t.Errorf("%d pages were listed, expected the pages of long lists", s.lists)
	}
}

func TestS3ThatRefuses(t *testing.T) {
	s, at := startS3(t)
	b := openURL(t, at, nil)
	s.down = true
	if err := b.Put(t.Context(), "x", []byte("x")); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("put: %v", err)
	}
	if _, err := b.Get(t.Context(), "x", 1); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("get: %v", err)
	}
	if err := b.Delete(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "PermissionDenied") {
		t.Errorf("delete: %v", err)
	}
	for _, err := range b.List(t.Context(), "x") {
		if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("list: %v", err)
		}
	}
	if len(s.objects) != 0 {
		t.Errorf("%d objects", len(s.objects))
	}
}

// The sweeper lists: what a strange server answers must not end the process.
func TestListsWithoutSizesAreAnErrorAndNoPanic(t *testing.T) {
	s, at := startS3(t)
	b := openURL(t, at, nil)
	if err := b.Put(t.Context(), "x/1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	s.terse = true
	for key, err := range b.List(t.Context(), "x") {
		if err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("key %q, error %v", key, err)
		}
	}
}
