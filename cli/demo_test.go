package cli

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCountWordsCutsAtEveryWhiteSpace(t *testing.T) {
	lines := []string{"", "  a\tb  a", "ä\u00a0ä\u2003x", "broken \xff\xfe bytes", "tail\r"}
	got, words := countWords(lines)
	want := map[string]int64{"a": 2, "b": 1, "ä": 2, "x": 1, "broken": 1, "\xff\xfe": 1, "bytes": 1, "tail": 1}
	if !maps.Equal(got, want) || words != 10 {
		t.Errorf("got %d words %v, expected 10 %v", words, got, want)
	}
	// The library's splitting is the application's: both must agree on any text.
	library := map[string]int64{}
	for _, l := range lines {
		for w := range strings.FieldsSeq(l) {
			library[w]++
		}
	}
	if !maps.Equal(got, library) {
		t.Errorf("got %v, the library cuts %v", got, library)
	}
}

func TestVerdictFindsLossAndDuplicates(t *testing.T) {
	var v verdict
	v.compare(map[string]int64{"same": 3, "less": 3, "gone": 2, "more": 1}, map[string]int64{"same": 3, "less": 1, "more": 4, "new": 5})
	if v.Lost != 4 || v.Duplicated != 8 || v.Counted != 13 || v.good() {
		t.Errorf("got %+v, expected 4 lost, 8 duplicated, 13 counted", v)
	}
	if len(v.examples) != 4 || !strings.Contains(v.examples[0], `"gone" counted 0 times, expected 2`) {
		t.Errorf("examples %q", v.examples)
	}
}

func TestSumOfBatches(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("words-1000/part-00000", "a\t1\nb\t2\n")
	write("words-1000/part-00001", "")
	write("words-1000/_SUCCESS", "{}")
	write("words-2000/part-00000", "a\t3\n")
	write("words-2000/_SUCCESS", "{}")
	write("other-2000/part-00000", "a\t99\n")
	prefix := filepath.Join(dir, "words")
	got, err := sumBatches(prefix)
	if err != nil || !maps.Equal(got, map[string]int64{"a": 4, "b": 2}) {
		t.Errorf("got %v, %v", got, err)
	}
	write("words-3000/part-00000", "a\tmany\n")
	if _, err := sumBatches(prefix); err == nil || !strings.Contains(err.Error(), "words-3000") {
		t.Errorf("batch without _SUCCESS: %v, expected an error that names it", err)
	}
	write("words-3000/_SUCCESS", "{}")
	if _, err := sumBatches(prefix); err == nil || !strings.Contains(err.Error(), "many") {
		t.Errorf("damaged part: %v, expected an error that shows the line", err)
	}
}

func TestReadTextTakesAsManyLinesAsAsked(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.go": "1\n2\n", "b.md": "3\n4", "c.bin": "no\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		count int
		want  string
	}{{3, "1 2 3"}, {9, "1 2 3 4"}} {
		if got, err := readText(dir, tt.count); err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%d lines: got %q, %v, expected %q", tt.count, got, err, tt.want)
		}
	}
	if _, err := readText(t.TempDir(), 1); err == nil || !strings.Contains(err.Error(), "--text") {
		t.Errorf("no text: %v, expected an error that says what to do", err)
	}
}

func TestScreenIsPlainWhereThereIsNoTerminal(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, func(string) (string, bool) { return "", false })
	s.event("%s", s.color(seqRed, "happened"))
	s.status("first", "second")
	s.status("first", "third")
	if text := out.String(); strings.Contains(text, "\x1b") || strings.Count(text, "\n") != 2 || !strings.Contains(text, "second") {
		t.Errorf("got %q, expected two plain lines: the event and the first status", text)
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %q, expected %q", n, got, want)
		}
	}
}
