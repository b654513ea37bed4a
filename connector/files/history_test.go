package files_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/files"
)

// world is a directory, its writer and the cluster that reads it.
type world struct {
	dir     string
	s       *files.Source
	l       *ledger
	written []string // lines of all files
	names   int
	read    []string // lines of completed batches
	done    int      // plans whose batch is completed
	dropped []connector.Plan
}

// Rules 4 and 12: whatever is written, planned, lost and repeated, each line is in exactly one batch.
func TestEveryLineIsInExactlyOneBatchWhateverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "files-history")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		w := &world{dir: dir, s: source(t, dir, files.Settle(0)), l: newLedger()}
		w.l.maxBytes = rapid.Int64Range(40, 400).Draw(t, "bytes of a batch")
		w.l.maxParts = rapid.IntRange(1, 5).Draw(t, "parts of a batch")
		t.Repeat(map[string]func(*rapid.T){
			"a file is written":                 w.write,
			"a plan is committed":               w.commit,
			"a plan is lost":                    func(t *rapid.T) { w.dropped = append(w.dropped, plan(t, w.s, w.l)) },
			"a lost plan comes late":            w.late,
			"the coordinator dies":              func(t *rapid.T) { w.s = source(t, dir, files.Settle(0)) },
			"a batch is run":                    w.run,
			"a file of a batch is away":         w.away,
			"files that are not needed go away": w.remove,
		})
		w.finish(t)
	})
}

func (w *world) write(t *rapid.T) {
	var lines []string
	for range rapid.IntRange(0, 5).Draw(t, "lines") {
		lines = append(lines, fmt.Sprintf("line %d", len(w.written)+len(lines)))
	}
	text := strings.Join(lines, "\n")
	if rapid.Bool().Draw(t, "ended") && text != "" {
		text += "\n"
	}
	w.written = append(w.written, lines...)
	w.names++
	write(t, w.dir, fmt.Sprintf("%d-%d", rapid.IntRange(0, 9).Draw(t, "name"), w.names), text, rapid.IntRange(0, 9).Draw(t, "second"))
}

func (w *world) commit(t *rapid.T) {
	if err := w.l.commit(plan(t, w.s, w.l)); err != nil {
		t.Fatal(err)
	}
}

// late brings a plan that was made at older positions: if the ledger takes it, it was still right.
func (w *world) late(t *rapid.T) {
	if len(w.dropped) == 0 {
		t.Skip("no plan was lost")
	}
	_ = w.l.commit(w.dropped[0]) // refused or taken as a whole
	w.dropped = w.dropped[1:]
}

// run runs the next batch, on an executor of its own, some times over.
func (w *world) run(t *rapid.T) {
	if w.done == len(w.l.committed) {
		t.Skip("no batch is waiting")
	}
	p := w.l.committed[w.done]
	got := read(t, source(t, w.dir), p)
	if again := read(t, w.s, p); !slices.Equal(got, again) {
		t.Fatalf("read %q, then %q", got, again)
	}
	w.read = append(w.read, got...)
	w.done++
}

// away moves a file that a batch needs out of the directory while the batch is tried and planning goes on.
func (w *world) away(t *rapid.T) {
	if w.done == len(w.l.committed) || len(w.l.committed[w.done].Parts) == 0 {
		t.Skip("no batch is waiting")
	}
	p := w.l.committed[w.done].Parts[0]
	name := p.Ranges[0].Partition
	aside := filepath.Join(w.dir, "_aside")
	if err := os.Rename(filepath.Join(w.dir, name), aside); err != nil {
		t.Fatal(err)
	}
	if err := w.s.Read(t.Context(), p, func(string) bool { return true }); !errors.Is(err, connector.ErrMissing) {
		t.Fatalf("%v, want ErrMissing", err)
	}
	w.commit(t)
	if err := os.Rename(aside, filepath.Join(w.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// remove takes away files of completed batches.
func (w *world) remove(t *rapid.T) {
	for _, p := range w.l.committed[:w.done] {
		for _, part := range p.Parts {
			if rapid.Bool().Draw(t, "this one") {
				_ = os.Remove(filepath.Join(w.dir, part.Ranges[0].Partition)) // it may be gone already
			}
		}
	}
}

func (w *world) finish(t *rapid.T) {
	for {
		p := plan(t, w.s, w.l)
		if p.Warning != "" {
			t.Fatalf("warning %q", p.Warning)
		}
		if len(p.Parts) == 0 {
			break
		}
		if err := w.l.commit(p); err != nil {
			t.Fatal(err)
		}
	}
	for w.done < len(w.l.committed) {
		w.run(t)
	}
	slices.Sort(w.read)
	slices.Sort(w.written)
	if !slices.Equal(w.read, w.written) {
		t.Fatalf("read %q, written %q", w.read, w.written)
	}
}
