package files_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/files"
)

func TestMissingDirectoryIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	_, err := source(t, dir).Plan(t.Context(), newLedger().request())
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "every executor must see") {
		t.Errorf("%v", err)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	if _, err := files.New("", files.Settle(-1)); err == nil ||
		!strings.Contains(err.Error(), `directory ""`) || !strings.Contains(err.Error(), "Settle(-1ns)") {
		t.Errorf("%v", err)
	}
}

// A file that cannot be taken, or was changed after it was, is named as long as that holds, and keeps no other waiting.
func TestWhatIsLeftOutIsNamedAndKeepsNothingElseWaiting(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, dir string, l *ledger)
		says  []string
	}{
		{"grown after it was taken", func(t *testing.T, dir string, _ *ledger) { write(t, dir, "a", "1\n2\n", 1) }, []string{`"a"`, "has 4 bytes, but 2 when it was taken", "new name"}},
		{"modified after it was taken", func(t *testing.T, dir string, _ *ledger) { write(t, dir, "a", "2\n", 2) }, []string{`"a"`, "modified at 2026-01-01T00:00:02", "after it was taken"}},
		{"line too long", func(t *testing.T, dir string, _ *ledger) {
			write(t, dir, "bad", "ok\n"+strings.Repeat("x", files.MaxLine+1)+"\n", 1)
		}, []string{`"bad"`, "line at byte 3", "longer than 16777216"}},
		{"larger than a batch", func(t *testing.T, dir string, l *ledger) {
			l.maxBytes = 100
			write(t, dir, "bad", strings.Repeat("x\n", 51), 1)
		}, []string{`"bad"`, "has 102 bytes, a batch holds at most 100"}},
		{"more parts than a batch", func(t *testing.T, dir string, l *ledger) {
			l.maxParts = 1
			write(t, dir, "bad", strings.Repeat("x\n", 17<<20), 1)
		}, []string{`"bad"`, "2 parts, a batch has at most 1"}},
		{"strange name", func(t *testing.T, dir string, _ *ledger) { write(t, dir, "bad\xff", "x\n", 1) }, []string{`"bad\xff"`, "not UTF-8"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s, l := source(t, dir, files.Settle(0)), newLedger()
			write(t, dir, "a", "1\n", 1)
			if err := l.commit(plan(t, s, l)); err != nil {
				t.Fatal(err)
			}
			plan(t, s, l)
			tt.spoil(t, dir, l)
			write(t, dir, "good", "3\n", 3)
			for range 2 {
				p := plan(t, s, l)
				if got := read(t, s, p); len(got) != 1 || got[0] != "3" {
					t.Errorf("read %q, want the good file", got)
				}
				for _, w := range tt.says {
					if !strings.Contains(p.Warning, w) {
						t.Errorf("warning %q does not say %q", p.Warning, w)
					}
				}
				if strings.Contains(p.Warning, "bad") && p.Mark != "" && tt.name != "strange name" {
					t.Errorf("mark %q passes over a file that was not taken", p.Mark)
				}
			}
			for _, bad := range []string{"a", "bad", "bad\xff"} {
				_ = os.Remove(filepath.Join(dir, bad)) // some of them are there
			}
			if p := plan(t, s, l); p.Warning != "" || !strings.HasSuffix(p.Mark, " good") {
				t.Errorf("after its removal: warning %q, mark %q", p.Warning, p.Mark)
			}
		})
	}
}

func TestPlansKeepTheirLimitsAndTheRestIsTakenLater(t *testing.T) {
	dir := t.TempDir()
	const n = 1200
	for i := range n {
		write(t, dir, fmt.Sprintf("%s-%04d", strings.Repeat("long-name-", 10), i), fmt.Sprintf("%d\n", i), i)
	}
	for _, limit := range []func(l *ledger){
		func(*ledger) {},
		func(l *ledger) { l.maxParts = 700 },
		func(l *ledger) { l.maxBytes = 3000 },
	} {
		s, l := source(t, dir, files.Settle(0)), newLedger()
		limit(l)
		seen := 0
		for len(l.positions) < n {
			p := plan(t, s, l)
			bytes := int64(0)
			for _, part := range p.Parts {
				bytes += part.Bytes
			}
			if len(p.Parts) == 0 || len(p.Parts) > l.maxParts || bytes > l.maxBytes || p.Size() > connector.MaxPlanBytes {
				t.Fatalf("a plan of %d parts, %d bytes, encoded in %d", len(p.Parts), bytes, p.Size())
			}
			for _, line := range read(t, s, p) {
				if line != fmt.Sprint(seen) {
					t.Fatalf("line %q, want %d", line, seen)
				}
				seen++
			}
			if err := l.commit(p); err != nil {
				t.Fatal(err)
			}
		}
		if p := plan(t, s, l); len(p.Parts) != 0 || seen != n {
			t.Errorf("%d lines and %d more parts, want %d lines", seen, len(p.Parts), n)
		}
	}
}

func TestTooManyFilesAreAnErrorThatSaysWhatToRemove(t *testing.T) {
	dir := t.TempDir()
	for i := range files.MaxFiles {
		write(t, dir, fmt.Sprint(i), "", 1)
	}
	s := source(t, dir, files.Settle(0))
	plan(t, s, newLedger())
	write(t, dir, "one more", "x\n", 1)
	_, err := s.Plan(t.Context(), newLedger().request())
	if err == nil || !strings.Contains(err.Error(), "more than 10000 files: remove those that have been taken") {
		t.Errorf("%v", err)
	}
}

// Names are forgotten when there are many and their files are gone for long enough, so that neither a directory that is
// away for a while nor one that is listed in part lets a file in twice.
func TestNamesAreForgottenLateAndOnlyWhenThereAreMany(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, l := source(t, dir, files.Settle(0)), newLedger()
		many := func(n int) {
			for i := range n {
				l.positions[fmt.Sprintf("gone-%05d", i)] = 1
			}
		}
		forgets := func(when string, want bool) connector.Plan {
			t.Helper()
			p := plan(t, s, l)
			if (len(p.Forget) > 0) != want {
				t.Errorf("%s: %d names are forgotten", when, len(p.Forget))
			}
			return p
		}
		many(files.MaxFiles / 2)
		forgets("at first", false)
		time.Sleep(time.Hour)
		forgets("few names", false)
		l.positions["one-more"] = 1
		forgets("an empty directory", false)
		time.Sleep(time.Hour)
		forgets("an empty directory, still", false)
		write(t, dir, "here", "x\n", 1)
		s = source(t, dir, files.Settle(0)) // knows of nothing that is gone
		forgets("gone since now", false)
		time.Sleep(time.Minute - 1)
		forgets("gone for nearly a minute", false)
		time.Sleep(time.Nanosecond)
		p := forgets("gone for a minute", true)
		if err := l.commit(p); err != nil {
			t.Fatal(err)
		}
		many(files.MaxFiles)
		forgets("many again, some gone since now", true)
		write(t, dir, "other", "x\n", 1)
		p = plan(t, s, l)
		if len(p.Parts) != 0 || !strings.Contains(p.Warning, `"other"`) || !strings.Contains(p.Warning, "names of 10002 files") {
			t.Errorf("%d parts, warning %q, want none where names have no room", len(p.Parts), p.Warning)
		}
	})
}

// late is a context whose time is nearly over.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now(), true }

// A plan ends before its time does, with what it has until then.
func TestPlanWithoutTimeLeavesFilesToTheNextOne(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "1\n", 1)
	s, l := source(t, dir, files.Settle(0)), newLedger()
	if p, err := s.Plan(late{t.Context()}, l.request()); err != nil || len(p.Parts) != 0 || p.Mark != "" {
		t.Errorf("%+v, %v, want an empty plan", p, err)
	}
	if p := plan(t, s, l); len(p.Parts) != 1 {
		t.Errorf("%d parts", len(p.Parts))
	}
}

// Rate control, or dstream.MaxRate, says how many records a batch should have. A file is never cut.
func TestPlanHasNoMoreRecordsThanItsLimitButForOneFile(t *testing.T) {
	dir := t.TempDir()
	s, l := source(t, dir, files.Settle(0)), newLedger()
	for i, lines := range []int{3, 3, 3, 9, 1, 0, 7} {
		write(t, dir, fmt.Sprint("f", i), strings.Repeat("x\n", lines), i+1)
	}
	var sizes []int
	for range 10 {
		r := l.request()
		r.MaxRecords = 7
		p, err := s.Plan(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Parts) > 0 {
			sizes = append(sizes, len(read(t, s, p)))
		}
		if err := l.commit(p); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(sizes); got != "[6 3 9 1 7]" {
		t.Errorf("plans of %s records, expected [6 3 9 1 7]", got)
	}
}
