package dstream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// blocksOf makes the blocks of stream 0 at a time, one per partition.
func blocksOf[T any](tb testing.TB, at id.Time, parts ...[]T) map[lineagetest.Input][]byte {
	c, err := codec.For[T]()
	if err != nil {
		tb.Fatal(err)
	}
	blocks := map[lineagetest.Input][]byte{}
	for i, p := range parts {
		b := []byte{}
		for j := range p {
			b = c.AppendRow(b, &p[j])
		}
		blocks[lineagetest.Input{Time: at, Part: i}] = b
	}
	return blocks
}

// runOutput runs the output operation of an application over blocks at 1000 ms, then its commit.
func runOutput(t *testing.T, app dataset.App, run dataset.Batch, blocks map[lineagetest.Input][]byte) error {
	t.Helper()
	receipts, err := runTasks(t, app, run, blocks)
	if err != nil {
		return err
	}
	return app.Outputs()[0].Commit(t.Context(), run, receipts)
}

func runTasks(t *testing.T, app dataset.App, run dataset.Batch, blocks map[lineagetest.Input][]byte) ([][]byte, error) {
	t.Helper()
	e := &lineagetest.Engine{Blocks: blocks, Run: run}
	out := app.Outputs()[0]
	d, ok, err := app.Dataset(out.Stream(), run.Time, e)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	receipts := make([][]byte, d.Partitions())
	for part := range receipts {
		if err := e.Try(d, func(task dataset.Task) { receipts[part] = out.Run(task, d, part) }); err != nil {
			return nil, err
		}
		if len(receipts[part]) > dataset.MaxReceipt {
			t.Errorf("receipt of %d bytes", len(receipts[part]))
		}
	}
	return receipts, nil
}

func printed[T any](t *testing.T, n []int, parts ...[]T) string {
	t.Helper()
	var w bytes.Buffer
	r := dstream.NewRegistry()
	dstream.RegisterIn(r, "p", func(c *dstream.Context, _ none) error { stream[T](c).Print(n...); return nil })
	app, err := r.PrintTo(&w).Build(dataset.Spec{Name: "p", BatchMS: 1000, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := runOutput(t, app, dataset.Batch{App: 1, Time: 1000, Attempt: 1, Try: 1}, blocksOf(t, 1000, parts...)); err != nil {
		t.Fatal(err)
	}
	return w.String()
}

func TestPrintShowsTheFirstRecordsOfEveryBatch(t *testing.T) {
	const head = "-------------------------------------------\nTime: 1000 ms\n-------------------------------------------\n"
	for want, got := range map[string]string{
		head + "x1\nx2\nx3\n...\n\n": printed(t, []int{3}, []string{"x1", "x2", "x3", "x4"}),
		head + "1\n2\n3\n\n":         printed(t, []int{3}, []int{1, 2}, []int{3}),
		head + "1\n2\n...\n\n":       printed(t, []int{2}, []int{1}, nil, []int{2, 3, 4, 5}),
		head + "\n":                  printed[int](t, nil),
		head + "(a,1)\n\n":           printed(t, nil, []dstream.KV[string, int]{{Key: "a", Value: 1}}),
		head + "Some(3)\nNone\n\n":   printed(t, nil, []dstream.Opt[int]{dstream.Some(3), dstream.None[int]()}),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	many := printed(t, []int{1000}, slices.Repeat([]string{strings.Repeat("ä", 2000)}, 1100))
	if strings.Count(many, "\n") != 1000+5 || strings.Contains(many, "\ufffd") {
		t.Errorf("%d lines", strings.Count(many, "\n"))
	}
}

func saving[T any](t *testing.T, prefix, suffix string) dataset.App {
	return built(t, func(c *dstream.Context) { stream[T](c).SaveAsTextFiles(prefix, suffix) })
}

// files lists what is in a directory, with the content of parts.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = string(b)
	}
	return m
}

type word = dstream.KV[string, int64]

var words = [][]word{{{Key: "a", Value: 1}, {Key: "b", Value: -2}}, nil, {{Key: "c", Value: 3}}}

// Rule 13: a batch's directory is complete when it holds _SUCCESS, and a batch that is run again changes nothing.
func TestTextFilesAreCompleteWithTheirSuccess(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "made", "out")
	app := saving[word](t, prefix, "txt")
	first := dataset.Batch{App: 9, Time: 1000, Attempt: 4, Try: 1}
	if err := runOutput(t, app, first, blocksOf(t, 1000, words...)); err != nil {
		t.Fatal(err)
	}
	got := files(t, prefix+"-1000.txt")
	var success struct {
		Application int64
		Batch       int64 `json:"batch_ms"`
		Parts       []struct {
			Name           string
			Records, Bytes int64
			CRC32C         string
		}
	}
	if err := json.Unmarshal([]byte(got["_SUCCESS"]), &success); err != nil {
		t.Fatal(err)
	}
	if success.Application != 9 || success.Batch != 1000 || len(success.Parts) != 3 || success.Parts[0].Records != 2 || success.Parts[0].Bytes != 9 {
		t.Errorf("_SUCCESS %+v", success)
	}
	before := got["_SUCCESS"]
	delete(got, "_SUCCESS")
	if len(got) != 3 || got["part-00000"] != "a\t1\nb\t-2\n" || got["part-00001"] != "" || got["part-00002"] != "c\t3\n" {
		t.Errorf("files %q", got)
	}
	again := dataset.Batch{App: 9, Time: 1000, Attempt: 77, Try: 2}
	if err := runOutput(t, app, again, blocksOf(t, 1000, words...)); err != nil {
		t.Fatal(err)
	}
	if got := files(t, prefix+"-1000.txt"); got["_SUCCESS"] != before || len(got) != 4 {
		t.Errorf("changed by the second run: %q", got)
	}
}

func TestTextFilesOfABatchWithoutInput(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	if err := runOutput(t, saving[word](t, prefix, ""), dataset.Batch{App: 9, Time: 1000}, nil); err != nil {
		t.Fatal(err)
	}
	if got := files(t, prefix+"-1000"); len(got) != 1 || got["_SUCCESS"] == "" {
		t.Errorf("files %q", got)
	}
}

// Rules 2 and 13: a directory of another application is not touched, and both are named.
func TestTextFilesOfAnotherApplicationAreLeftAlone(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	app := saving[word](t, prefix, "")
	if err := runOutput(t, app, dataset.Batch{App: 9, Time: 1000, Try: 1}, blocksOf(t, 1000, words...)); err != nil {
		t.Fatal(err)
	}
	before := files(t, prefix+"-1000")
	other := dataset.Batch{App: 12, Time: 1000, Try: 1}
	_, err := runTasks(t, app, other, blocksOf(t, 1000, []word{{Key: "z", Value: 1}}))
	says(t, err, "application 9", "application 12", prefix+"-1000")
	says(t, app.Outputs()[0].Commit(t.Context(), other, nil), "application 9", "application 12")
	if after := files(t, prefix+"-1000"); len(after) != len(before) || after["part-00000"] != before["part-00000"] {
		t.Errorf("before %q, after %q", before, after)
	}
}

// Rule 13: the coordinator sees what it commits.
func TestTextFilesAreNotCompleteWithoutAllParts(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	dir := prefix + "-1000"
	app := saving[word](t, prefix, "")
	run := dataset.Batch{App: 9, Time: 1000, Attempt: 1, Try: 1}
	receipts, err := runTasks(t, app, run, blocksOf(t, 1000, words...))
	if err != nil {
		t.Fatal(err)
	}
	commit := func() error { return app.Outputs()[0].Commit(t.Context(), run, receipts) }
	part := filepath.Join(dir, "part-00002")
	content, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(part); err != nil {
		t.Fatal(err)
	}
	says(t, commit(), "part-00002", "share the directory "+dir)
	put(part, strings.ToUpper(string(content)))
	says(t, commit(), part+" has 4 bytes with checksum")
	put(part, string(content))
	stray := filepath.Join(dir, "part-00003")
	put(stray, "old\n")
	says(t, commit(), stray+" is not of this batch")
	if _, err := os.Stat(filepath.Join(dir, "_SUCCESS")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("complete")
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	put(filepath.Join(dir, "._SUCCESS.left"), "{")
	if err := commit(); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 4 {
		t.Errorf("files %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := app.Outputs()[0].Commit(ctx, dataset.Batch{App: 9, Time: 2000}, receipts); !errors.Is(err, context.Canceled) {
		t.Errorf("commit without its context: %v", err)
	}
}

// Rule 6: what depends on more than its input is noticed where it would change a complete batch.
func TestTextFilesOfACompleteBatchDoNotChange(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	app := saving[word](t, prefix, "")
	run := dataset.Batch{App: 9, Time: 1000, Attempt: 1, Try: 1}
	if err := runOutput(t, app, run, blocksOf(t, 1000, words...)); err != nil {
		t.Fatal(err)
	}
	before := files(t, prefix+"-1000")
	receipts, err := runTasks(t, app, run, blocksOf(t, 1000, words[0], nil, []word{{Key: "other", Value: 3}}))
	if err != nil {
		t.Fatal(err) // the parts are as they were written: nothing is computed
	}
	if err := app.Outputs()[0].Commit(t.Context(), run, receipts); err != nil {
		t.Error(err)
	}
	damaged := filepath.Join(prefix+"-1000", "part-00002")
	if err := os.WriteFile(damaged, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = runTasks(t, app, run, blocksOf(t, 1000, words[0], nil, []word{{Key: "other", Value: 3}}))
	says(t, err, "is complete and holds another part-00002")
	if err := runOutput(t, app, run, blocksOf(t, 1000, words...)); err != nil {
		t.Error(err)
	}
	if after := files(t, prefix+"-1000"); after["part-00002"] != before["part-00002"] || after["_SUCCESS"] != before["_SUCCESS"] {
		t.Errorf("not repaired: %q", after)
	}
	success := filepath.Join(prefix+"-1000", "_SUCCESS")
	if err := os.WriteFile(success, []byte(strings.Replace(before["_SUCCESS"], `"records":2`, `"records":3`, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	says(t, runOutput(t, app, run, blocksOf(t, 1000, words...)), "_SUCCESS is damaged")
}

// Rule 13: a task that fails half-way leaves nothing under a final name.
func TestTextFilesOfAFailedTaskAreNotVisible(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	app := built(t, func(c *dstream.Context) {
		dstream.Map(stream[int](c), func(i int) int {
			if i == 3 {
				panic("three")
			}
			return i
		}).SaveAsTextFiles(prefix, "")
	})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = runTasks(t, app, dataset.Batch{App: 9, Time: 1000}, blocksOf(t, 1000, []int{1, 2, 3}))
	}()
	var left []string
	err := filepath.WalkDir(prefix+"-1000", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Rule 13: whoever lists a batch's directory finds whole parts only.
func TestPartsAreNotVisibleWhileTheyAreWritten(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	looked := 0
	app := built(t, func(c *dstream.Context) {
		dstream.Map(stream[int](c), func(i int) int {
			looked++
			seen, err := filepath.Glob(filepath.Join(prefix+"-1000", "part-*"))
			if err != nil || len(seen) > 0 {
				t.Errorf("a part is there while it is written: %v, %v", seen, err)
			}
			return i
		}).SaveAsTextFiles(prefix, "")
	})
	if _, err := runTasks(t, app, dataset.Batch{App: 9, Time: 1000}, blocksOf(t, 1000, []int{1, 2, 3})); err != nil {
		t.Fatal(err)
	}
	if looked != 3 {
		t.Errorf("looked %d times, expected once at each of 3 records", looked)
	}
}

// Rule 1: a coordinator that was deposed and does not know it may commit at any moment. Whoever is first completes the
// batch, and nothing changes after that.
func TestTextFilesAreTheSameWhicheverCoordinatorCommits(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	meanwhile := func() {}
	app := built(t, func(c *dstream.Context) {
		dstream.Map(stream[int](c), func(v int) int { meanwhile(); return v }).SaveAsTextFiles(prefix, "")
	})
	blocks := blocksOf(t, 1000, []int{1}, []int{2})
	deposed, current := dataset.Batch{App: 9, Time: 1000, Attempt: 1, Try: 1}, dataset.Batch{App: 9, Time: 1000, Attempt: 5, Try: 1}
	old, err := runTasks(t, app, deposed, blocks)
	if err != nil {
		t.Fatal(err)
	}
	late := func() {
		meanwhile = func() {}
		if err := app.Outputs()[0].Commit(t.Context(), deposed, old); err != nil {
			t.Errorf("commit of the deposed coordinator: %v", err)
		}
	}
	meanwhile = late // in the middle of a part of the current attempt, whose file it takes away
	if _, err = runTasks(t, app, current, blocks); err == nil || !strings.Contains(err.Error(), "part-00000") {
		t.Errorf("the part whose file was taken away: %v", err)
	}
	before := files(t, prefix+"-1000")
	current.Try = 2
	if err := runOutput(t, app, current, blocks); err != nil {
		t.Error(err)
	}
	late()
	after := files(t, prefix+"-1000")
	if len(after) != 3 || after["_SUCCESS"] != before["_SUCCESS"] || after["part-00000"] != "1\n" || after["part-00001"] != "2\n" {
		t.Errorf("before %q, after %q", before, after)
	}
}

// A coordinator dies at any point of its commit; what it leaves is completed or left alone by the next one.
func TestTextFilesAreCompletedAfterACrash(t *testing.T) {
	for _, left := range [][]string{
		{"_temporary/part-00000.1.1.x", "_temporary/part-00007.1.2.y"}, // of tasks that died
		{"._SUCCESS.x"}, // before the rename of _SUCCESS
	} {
		prefix := filepath.Join(t.TempDir(), "out")
		app := saving[word](t, prefix, "")
		if _, err := runTasks(t, app, dataset.Batch{App: 9, Time: 1000, Attempt: 1, Try: 1}, blocksOf(t, 1000, words...)); err != nil {
			t.Fatal(err)
		}
		for _, name := range left {
			if err := os.WriteFile(filepath.Join(prefix+"-1000", name), []byte("half"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := runOutput(t, app, dataset.Batch{App: 9, Time: 1000, Attempt: 2, Try: 1}, blocksOf(t, 1000, words...)); err != nil {
			t.Error(err)
		}
		if got := files(t, prefix+"-1000"); len(got) != 4 || got["_SUCCESS"] == "" {
			t.Errorf("after %v: %q", left, got)
		}
	}
}

func TestOutputDirectoriesHaveSparksNames(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		prefix, suffix, dir string
		at                  id.Time
	}{
		{"p", "txt", "p-1000.txt", 1000}, {"p", "", "p-1000", 1000}, {"", "txt", "1000.txt", 1000}, {"", "", "1000", 1000}, {"x/dir/p", "", "x/dir/p-2000", 2000},
	} {
		if err := runOutput(t, saving[int](t, c.prefix, c.suffix), dataset.Batch{App: 1, Time: c.at}, nil); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(c.dir, "_SUCCESS")); err != nil {
			t.Error(err)
		}
	}
	_, err := build(t, func(c *dstream.Context) error {
		s := stream[int](c)
		s.SaveAsTextFiles("p", "")
		s.SaveAsTextFiles("p", "")
		return nil
	})
	says(t, err, `prefix "p" and suffix "" are those of saveAsTextFiles-0 already`)
}

type badText struct{ N int }

func (b badText) MarshalText() ([]byte, error) {
	if b.N > 1 {
		return nil, errors.New("too large")
	}
	return []byte("one"), nil
}

func TestRecordsAsText(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "out")
	text := func(app dataset.App, blocks map[lineagetest.Input][]byte) (string, error) {
		if err := os.RemoveAll(prefix + "-1000"); err != nil {
			t.Fatal(err)
		}
		if err := runOutput(t, app, dataset.Batch{App: 1, Time: 1000}, blocks); err != nil {
			return "", err
		}
		return files(t, prefix+"-1000")["part-00000"], nil
	}
	check := func(app dataset.App, blocks map[lineagetest.Input][]byte, want string) {
		t.Helper()
		if got, err := text(app, blocks); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	check(saving[string](t, prefix, ""), blocksOf(t, 1000, []string{"a line", ""}), "a line\n\n")
	check(saving[float64](t, prefix, ""), blocksOf(t, 1000, []float64{1.5, 2}), "1.5\n2\n")
	check(saving[time.Time](t, prefix, ""), blocksOf(t, 1000, []time.Time{at}), "2026-01-02T03:04:05Z\n")
	check(saving[netip.Addr](t, prefix, ""), blocksOf(t, 1000, []netip.Addr{netip.IPv6Loopback()}), "::1\n")
	type nested = dstream.KV[netip.Addr, dstream.KV[int, []string]]
	check(saving[nested](t, prefix, ""), blocksOf(t, 1000, []nested{dstream.Pair(netip.IPv6Loopback(), dstream.Pair(3, []string{"x", "y"}))}), "::1\t3\t[x y]\n")
	check(saving[badText](t, prefix, ""), blocksOf(t, 1000, []badText{{1}}), "one\n")
	_, err := text(saving[badText](t, prefix, ""), blocksOf(t, 1000, []badText{{1}, {2}}))
	says(t, err, "record 2 as text: too large")
}

func TestForeachPartitionKnowsItsPartition(t *testing.T) {
	var got []dstream.Partition
	var sum int
	app := built(t, func(c *dstream.Context) {
		dstream.ForeachPartition(stream[int](c), func(ctx context.Context, p dstream.Partition, seq iter.Seq[int]) error {
			got = append(got, p)
			for v := range seq {
				if v < 0 {
					return errors.New("negative")
				}
				sum += v
			}
			return ctx.Err()
		})
	})
	if err := runOutput(t, app, dataset.Batch{App: 1, Time: 1000, Attempt: 99, Try: 3}, blocksOf(t, 1000, []int{1, 2}, []int{3})); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1, 0).UTC()
	want := []dstream.Partition{{Output: "foreachPartition-0", Time: at, Count: 2, Attempt: 3}, {Output: "foreachPartition-0", Time: at, Index: 1, Count: 2, Attempt: 3}}
	if !slices.Equal(got, want) || sum != 6 {
		t.Errorf("got %+v, sum %d", got, sum)
	}
	err := runOutput(t, app, dataset.Batch{App: 1, Time: 1000}, blocksOf(t, 1000, []int{-1}))
	says(t, err, "foreachPartition-0, partition 0: negative")
}

// Conformance: "print format".
func TestPrintFormat(t *testing.T) {
	dashes := strings.Repeat("-", 43) + "\n"
	if got, want := printed(t, []int{3}, []string{"x1", "x2", "x3", "x4"}), dashes+"Time: 1000 ms\n"+dashes+"x1\nx2\nx3\n...\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := printed[string](t, []int{3}), dashes+"Time: 1000 ms\n"+dashes+"\n"; got != want {
		t.Errorf("an empty batch: got %q, want %q", got, want)
	}
}
