package dstream_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
)

func savingObjects[T any](t *testing.T, prefix string) dataset.App {
	return built(t, func(c *dstream.Context) { stream[T](c).SaveAsObjectFiles(prefix, "") })
}

// objects reads a directory up to its end or an error.
func objects[T any](dir string) (all []T, err error) {
	for v, e := range dstream.ReadObjectFiles[T](dir) {
		if e != nil {
			return all, e
		}
		all = append(all, v)
	}
	return all, nil
}

func TestObjectFilesAreReadBackAsTheyWere(t *testing.T) {
	n := 0
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		n++
		size := rapid.SampledFrom([]int{0, 1, 3, 2000}).Draw(rt, "size") // 2000 records need several groups
		records := rapid.Custom(func(rt *rapid.T) word {
			key := rapid.SampledFrom([]string{"", "a", strings.Repeat("long", 20)}).Draw(rt, "key")
			return word{Key: key, Value: rapid.Int64().Draw(rt, "value")}
		})
		var parts [][]word
		for range rapid.IntRange(0, 3).Draw(rt, "parts") {
			one := rapid.SliceOfN(records, min(size, 5), min(size, 5)).Draw(rt, "records")
			part := []word{}
			for len(part) < size {
				part = append(part, one...)
			}
			parts = append(parts, part)
		}
		prefix := filepath.Join(root, fmt.Sprint(n))
		app := savingObjects[word](t, prefix)
		if err := runOutput(t, app, dataset.Batch{App: 9, Time: 1000, Attempt: 1, Try: 1}, blocksOf(t, 1000, parts...)); err != nil {
			rt.Fatal(err)
		}
		if got, err := objects[word](prefix + "-1000"); err != nil || !slices.Equal(got, slices.Concat(parts...)) {
			rt.Errorf("%d records, %v; expected %d", len(got), err, len(slices.Concat(parts...)))
		}
	})
}

// Rule 13: as with text files.
func TestObjectFilesOfABatchThatRunsAgainAreTheSame(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	app := savingObjects[word](t, prefix)
	var before map[string]string
	for attempt := range 2 {
		run := dataset.Batch{App: 9, Time: 1000, Try: attempt + 1}
		if err := runOutput(t, app, run, blocksOf(t, 1000, words...)); err != nil {
			t.Fatal(err)
		}
		got := files(t, prefix+"-1000")
		if before != nil && !reflect.DeepEqual(before, got) {
			t.Errorf("before %q, after %q", before, got)
		}
		before = got
	}
	if len(before) != 4 || before["_SUCCESS"] == "" || before["part-00002"] == "" {
		t.Errorf("files %q", before)
	}
}

type appointment struct {
	At    time.Time
	Who   []string
	Notes []byte
}

func TestObjectFilesHoldWhatHasACodec(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	all := []appointment{{time.Unix(5, 6).UTC(), []string{"a", "b"}, []byte("x")}, {time.Unix(0, 0).UTC(), nil, nil}}
	if err := runOutput(t, savingObjects[appointment](t, prefix), dataset.Batch{App: 9, Time: 1000}, blocksOf(t, 1000, all)); err != nil {
		t.Fatal(err)
	}
	if got, err := objects[appointment](prefix + "-1000"); err != nil || !reflect.DeepEqual(got, all) {
		t.Errorf("%+v, %v", got, err)
	}
	_, err := build(t, func(c *dstream.Context) error {
		stream[int](c).SaveAsObjectFiles("p", "a/b")
		dstream.Map(stream[int](c), func(int) map[string]int { return nil }).SaveAsObjectFiles("p", "")
		return nil
	})
	says(t, err, "objectfiles_test.go:", `suffix "a/b"`, "saveAsObjectFiles: type map[string]int cannot be encoded")
}

func TestOtherFilesAreRefusedAsObjectFiles(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	dir := prefix + "-1000"
	run := dataset.Batch{App: 9, Time: 1000, Try: 1}
	receipts, err := runTasks(t, savingObjects[word](t, prefix), run, blocksOf(t, 1000, words...))
	if err != nil {
		t.Fatal(err)
	}
	_, err = objects[word](dir)
	says(t, err, dir, "the batch is not complete: there is no _SUCCESS")
	if err := savingObjects[word](t, prefix).Outputs()[0].Commit(t.Context(), run, receipts); err != nil {
		t.Fatal(err)
	}
	got, err := objects[dstream.KV[string, uint64]](dir)
	says(t, err, "part-00000", "the records are of type rdd.KV[string,int64]", "expected rdd.KV[string,uint64]")
	if len(got) > 0 {
		t.Errorf("records of another type: %v", got)
	}
	_, err = objects[func()](dir)
	says(t, err, "cannot be encoded")
	text := filepath.Join(t.TempDir(), "text")
	if err := runOutput(t, saving[string](t, text, ""), run, blocksOf(t, 1000, []string{strings.Repeat("a line", 10)})); err != nil {
		t.Fatal(err)
	}
	_, err = objects[string](text + "-1000")
	says(t, err, "this is no object file")
}

// What is read before an error is right, and no damage is without one.
func TestDamagedObjectFilesAreRefused(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	var all []string
	for i := range 3000 {
		all = append(all, fmt.Sprintf("record number %d, which is not long", i))
	}
	if err := runOutput(t, savingObjects[string](t, prefix), dataset.Batch{App: 9, Time: 1000}, blocksOf(t, 1000, all)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(prefix+"-1000", "part-00000")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte, most int) {
		t.Helper()
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := objects[string](prefix + "-1000")
		if err == nil || len(got) > most || !slices.Equal(got, all[:len(got)]) {
			t.Errorf("%s: %d records, error %v", what, len(got), err)
		}
	}
	for _, at := range []int{0, 7, 8, 12, 16, 17, 22, 26, 30, 34, 35, 100, 60000} {
		b := bytes.Clone(whole)
		b[at] ^= 4
		check(fmt.Sprint("byte ", at), b, 0)
	}
	for _, back := range []int{1, 8, 9, 12, 16, 20} {
		b := bytes.Clone(whole)
		b[len(b)-back] ^= 4
		check(fmt.Sprint("byte ", back, " from the end"), b, len(all))
	}
	for _, n := range []int{0, 1, 15, 30, 70000, len(whole) - 20, len(whole) - 1} {
		check(fmt.Sprint("cut at ", n), whole[:n], 0)
	}
	check("longer", append(bytes.Clone(whole), 0), 0)
	if err := os.WriteFile(name, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	n := 0
	for range dstream.ReadObjectFiles[string](prefix + "-1000") {
		if n++; n == 2500 {
			break
		}
	}
	if n != 2500 {
		t.Errorf("%d records before the end that was asked for", n)
	}
}
