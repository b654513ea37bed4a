package dstream_test

import (
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
)

// levels gives the persistence level of every stream of a graph by its operator.
func levels(t *testing.T, f func(*dstream.Context)) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, s := range built(t, f).Plan().Streams {
		m[s.Operator] = s.Persist
	}
	return m
}

func keep(s string) bool { return s != "" }

// Spark's WindowOperationsSuite, "window - persistence level".
func TestWindowPersistenceLevel(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		name        string
		window      func(s *dstream.DStream[string]) *dstream.DStream[string]
		parent, own string
	}{
		{"window", func(s *dstream.DStream[string]) *dstream.DStream[string] { return s.Window(5*second, second) }, "memory", ""},
		{"window that is persisted", func(s *dstream.DStream[string]) *dstream.DStream[string] {
			return s.Window(5*second, second).Persist(dstream.MemoryAndDisk)
		}, "memory+disk", ""},
		{"level of the parent that was set before", func(s *dstream.DStream[string]) *dstream.DStream[string] {
			return s.Persist(dstream.MemoryAndDisk).Window(5*second, second)
		}, "memory+disk", ""},
		{"window of a window", func(s *dstream.DStream[string]) *dstream.DStream[string] {
			return s.Window(2*second, 2*second).Window(4*second, 2*second).Persist()
		}, "memory", ""},
		{"windows that share no batch", func(s *dstream.DStream[string]) *dstream.DStream[string] { return s.Window(2*second, 2*second) }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := levels(t, func(ctx *dstream.Context) { c.window(stream[string](ctx).Filter(keep)).Print() })
			if got["filter"] != c.parent || got["window"] != c.own {
				t.Errorf("levels are %v, expected %q of the parent and %q of the window", got, c.parent, c.own)
			}
		})
	}
}

func TestPersistIsCheckedWhenTheGraphIsBuilt(t *testing.T) {
	_, err := build(t, func(c *dstream.Context) error {
		s := stream[string](c)
		s.Persist(7).Print()
		s.Persist(dstream.MemoryOnly, dstream.MemoryOnly)
		dstream.Map(s, func(string) func() { return nil }).Persist()
		return nil
	})
	says(t, err, "3 errors", "dstream/persist_test.go:", "persist: level StorageLevel(7), expected MemoryOnly or MemoryAndDisk",
		"persist: 2 levels", "persist: type func() cannot be encoded")
}

func TestWindowOfRecordsWithoutCodecIsNotPersisted(t *testing.T) {
	got := levels(t, func(c *dstream.Context) {
		fs := dstream.Map(stream[string](c), func(string) func() { return nil })
		fs.Window(2*time.Second, time.Second).Count().Print()
	})
	if got["map"] != "" {
		t.Errorf("levels are %v", got)
	}
}
