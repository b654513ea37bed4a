package files_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/files"
)

// ledger stands for the cluster: it keeps positions, and the plans that were committed.
type ledger struct {
	positions map[string]uint64
	committed []connector.Plan
	maxBytes  int64
	maxParts  int
}

func newLedger() *ledger {
	return &ledger{positions: map[string]uint64{}, maxBytes: 1 << 30, maxParts: connector.MaxPlanParts}
}

func (l *ledger) request() connector.PlanRequest {
	return connector.PlanRequest{
		Time: time.UnixMilli(1000), Interval: time.Second, MaxParts: l.maxParts, MaxBytes: l.maxBytes,
		Position: func(p string) uint64 { return l.positions[p] }, Positions: maps.All(l.positions),
	}
}

// commit takes a plan as the ledger does: as a whole, and only from where the positions are (rule 12).
func (l *ledger) commit(p connector.Plan) error {
	next := maps.Clone(l.positions)
	for _, part := range p.Parts {
		for _, r := range part.Ranges {
			if r.First != next[r.Partition]+1 || r.Last < r.First {
				return fmt.Errorf("range %+v after position %d", r, next[r.Partition])
			}
			next[r.Partition] = r.Last
		}
	}
	for _, f := range p.Forget {
		delete(next, f)
	}
	l.positions = next
	l.committed = append(l.committed, p)
	return nil
}

// TB is what helpers need of a test.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func source(t TB, dir string, opts ...files.Option) *files.Source {
	t.Helper()
	s, err := files.New(dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// write makes a file that was modified so many seconds after the epoch.
func write(t TB, dir, name, text string, second int) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, path, second)
}

func touch(t TB, path string, second int) {
	t.Helper()
	at := epoch.Add(time.Duration(second) * time.Second)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func plan(t TB, s *files.Source, l *ledger) connector.Plan {
	t.Helper()
	p, err := s.Plan(context.Background(), l.request())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// read gives the lines of a plan, and checks that they are as many as were planned.
func read(t TB, s *files.Source, p connector.Plan) []string {
	t.Helper()
	var all []string
	for _, part := range p.Parts {
		before := len(all)
		if err := s.Read(context.Background(), part, func(line string) bool { all = append(all, line); return true }); err != nil {
			t.Fatal(err)
		}
		if int64(len(all)-before) != part.Records {
			t.Fatalf("%d lines, planned were %d", len(all)-before, part.Records)
		}
	}
	return all
}

func TestFilesAreTakenOnceInOrderOfTimeAndName(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "late", "5\r\n6", 9)
	write(t, dir, "b", "3\n", 5)
	write(t, dir, "a", "2\n", 5)
	write(t, dir, "z", "\n1", 1)
	write(t, dir, "empty", "", 1)
	s, l := source(t, dir, files.Settle(0)), newLedger()
	p := plan(t, s, l)
	if got := strings.Join(read(t, s, p), ","); got != ",1,2,3,5,6" {
		t.Errorf("read %q", got)
	}
	if p.Mark != "2026-01-01T00:00:09.000000000Z late" || p.Warning != "" {
		t.Errorf("mark %q, warning %q", p.Mark, p.Warning)
	}
	if again := plan(t, s, l); len(again.Parts) != len(p.Parts) {
		t.Errorf("a plan that was not committed is made again with %d parts, want %d", len(again.Parts), len(p.Parts))
	}
	if err := l.commit(p); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "later", "7", 3)
	for _, planner := range []*files.Source{s, source(t, dir, files.Settle(0))} {
		if got := strings.Join(read(t, planner, plan(t, planner, l)), ","); got != "7" {
			t.Errorf("after the commit read %q, want what is new", got)
		}
	}
}

func TestUnfinishedNamesAndDirectoriesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".hidden", "_SUCCESS", "x~", "x.tmp", "x.part", "x._COPYING_"} {
		write(t, dir, name, "no\n", 1)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sub"), "x", "no\n", 1)
	elsewhere := t.TempDir()
	write(t, elsewhere, "target", "yes\n", 1)
	for name, target := range map[string]string{"link": filepath.Join(elsewhere, "target"), "dirlink": elsewhere, "dangling": filepath.Join(dir, "none")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := source(t, dir, files.Settle(0))
	p := plan(t, s, newLedger())
	if got := read(t, s, p); !slices.Equal(got, []string{"yes"}) || p.Warning != "" {
		t.Errorf("read %q, warning %q", got, p.Warning)
	}
}

func TestFileIsTakenWhenItHasNotChangedForTheSettleTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, l := source(t, dir), newLedger()
		write(t, dir, "a", "1\n", 1)
		expect := func(when string, parts int) {
			t.Helper()
			if p := plan(t, s, l); len(p.Parts) != parts || (parts == 0 && p.Mark != "") {
				t.Errorf("%s: %d parts, mark %q, want %d parts", when, len(p.Parts), p.Mark, parts)
			}
		}
		expect("when it is first seen", 0)
		time.Sleep(999 * time.Millisecond)
		expect("just before", 0)
		write(t, dir, "a", "1\n2\n", 1)
		time.Sleep(time.Millisecond)
		expect("when it has grown", 0)
		time.Sleep(500 * time.Millisecond)
		touch(t, filepath.Join(dir, "a"), 2)
		expect("when it was modified", 0)
		time.Sleep(999 * time.Millisecond)
		expect("just before again", 0)
		time.Sleep(time.Millisecond)
		expect("after a second", 1)
		s = source(t, dir)
		expect("with a new planner", 0)
	})
}

// Rule 12: what is read is what was planned, or it is missing.
func TestInputThatIsNotAsPlannedIsMissing(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, path string)
		says   []string
	}{
		{"removed", func(t *testing.T, path string) { remove(t, path) }, []string{"does not exist", "planned were 6 bytes", "00:00:07"}},
		{"grown", func(t *testing.T, path string) { write(t, filepath.Dir(path), "a", "1\n2\n3\n4\n", 7) }, []string{"has 8 bytes, planned were 6"}},
		{"touched", func(t *testing.T, path string) { touch(t, path, 8) }, []string{"modified at 2026-01-01T00:00:08", "planned was 2026-01-01T00:00:07"}},
		{"other content", func(t *testing.T, path string) { write(t, filepath.Dir(path), "a", "1\n2\n4\n", 7) }, []string{"6 bytes at 0", "checksum"}},
		{"a directory", func(t *testing.T, path string) {
			remove(t, path)
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, []string{"expected a regular file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "a", "1\n2\n3\n", 7)
			s := source(t, dir, files.Settle(0))
			p := plan(t, s, newLedger())
			c.change(t, filepath.Join(dir, "a"))
			n := 0
			err := s.Read(t.Context(), p.Parts[0], func(string) bool { n++; return true })
			if !errors.Is(err, connector.ErrMissing) || n > 0 {
				t.Fatalf("%v after %d lines, want ErrMissing before the first", err, n)
			}
			for _, w := range append(c.says, `"a"`, dir) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
				t.Fatal(err)
			}
			write(t, dir, "a", "1\n2\n3\n", 7)
			if got := read(t, s, p); len(got) != 3 {
				t.Errorf("put back, it has %q", got)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestReaderThatHasEnoughIsLeftInPeaceAndOneThatIsCancelledToldSo(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "1\n2\n3\n", 7)
	s := source(t, dir, files.Settle(0))
	p := plan(t, s, newLedger())
	n := 0
	if err := s.Read(t.Context(), p.Parts[0], func(string) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("%d lines, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Read(ctx, p.Parts[0], func(string) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := s.Plan(ctx, newLedger().request()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled plan: %v", err)
	}
}

// A file of several parts is taken as a whole, and its parts together are its lines.
func TestLargeFileIsCutIntoParts(t *testing.T) {
	dir := t.TempDir()
	line := strings.Repeat("0123456789", 100)
	text := strings.Repeat(line+"\n", 70<<10) + "the end"
	write(t, dir, "large", text, 1)
	write(t, dir, "small", "after\n", 2)
	s, l := source(t, dir, files.Settle(0)), newLedger()
	p := plan(t, s, l)
	if len(p.Parts) != 4 {
		t.Fatalf("%d parts", len(p.Parts))
	}
	if err := l.commit(p); err != nil {
		t.Fatal(err)
	}
	got := read(t, s, p)
	if len(got) != 70<<10+2 || got[0] != line || got[70<<10] != "the end" || got[70<<10+1] != "after" {
		t.Errorf("%d lines", len(got))
	}
	if l.positions["large"] != uint64(len(text)) || l.positions["small"] != 6 {
		t.Errorf("positions %v, want the files' sizes", l.positions)
	}
}
