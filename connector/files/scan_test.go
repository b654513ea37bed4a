package files

import (
	"bytes"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever a file holds, and wherever its scan is interrupted: the parts are the file, end at line ends, are as long as
// may be, and say what they hold.
func TestPartsOfAFileAreAllOfItAndEndAtLineEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a\r]{0,12}`)).Draw(t, "lines")
		text := strings.Join(lines, "\n") + rapid.SampledFrom([]string{"", "\n", "x"}).Draw(t, "end")
		l := limits{buffer: rapid.Int64Range(1, 16).Draw(t, "buffer"), line: 13}
		l.part = rapid.Int64Range(l.line+1, 40).Draw(t, "part")
		every := rapid.IntRange(1, 5).Draw(t, "interrupted every")
		var s scan
		asked := 0
		err := errLater
		for errors.Is(err, errLater) {
			err = s.run(strings.NewReader(text), int64(len(text)), l, func() bool { asked++; return asked%(every+1) == 0 })
		}
		if err != nil {
			t.Fatal(err)
		}
		at := int64(0)
		for i, c := range s.parts {
			b := text[c.offset : c.offset+c.length]
			last := i == len(s.parts)-1
			want := int64(strings.Count(b, "\n"))
			if last && !strings.HasSuffix(b, "\n") {
				want++
			}
			switch {
			case c.offset != at || c.length == 0 || c.length > l.part:
				t.Fatalf("part %d: %d bytes at %d, want some, at most %d, at %d", i, c.length, c.offset, l.part, at)
			case !last && !strings.HasSuffix(b, "\n"):
				t.Fatalf("part %d ends within a line: %q", i, b)
			case !last && c.length+l.line+1 < l.part:
				t.Fatalf("part %d has %d bytes, and no line is that long", i, c.length)
			case c.lines != want || c.crc != crc32.Checksum([]byte(b), castagnoli):
				t.Fatalf("part %d has %d lines and checksum %08x: %q", i, c.lines, c.crc, b)
			}
			at += c.length
		}
		if at != int64(len(text)) {
			t.Fatalf("the parts have %d bytes of %d", at, len(text))
		}
	})
}

func TestLongestLineIsTakenAndALongerOneIsNamed(t *testing.T) {
	l := limits{buffer: 7, part: 100, line: 20}
	never := func() bool { return false }
	for _, end := range []string{"", "\n", "\nmore"} {
		text := "first\n" + strings.Repeat("x", 20) + end
		if err := new(scan).run(strings.NewReader(text), int64(len(text)), l, never); err != nil {
			t.Errorf("a line at the limit, then %q: %v", end, err)
		}
		text = "first\n" + strings.Repeat("x", 21) + end
		err := new(scan).run(strings.NewReader(text), int64(len(text)), l, never)
		if long, ok := errors.AsType[*lineError](err); !ok || long.offset != 6 {
			t.Errorf("a line beyond the limit, then %q: %v, want an error that names byte 6", end, err)
		}
	}
}

func TestFileThatShrinksIsAnErrorOfItsScan(t *testing.T) {
	if err := new(scan).run(bytes.NewReader([]byte("ab")), 3, usual, func() bool { return false }); err == nil {
		t.Error("three bytes were read of two")
	}
}
