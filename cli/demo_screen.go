package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// screen shows the demo to people: events stay, the status below them is drawn anew. Where the output is no terminal, or
// NO_COLOR is set, everything is plain lines. One goroutine uses it.
type screen struct {
	w     io.Writer
	live  bool
	start time.Time
	drawn int // lines of status on the terminal now
	last  time.Time
}

// Control sequences of terminals.
const (
	seqUp    = "\x1b[%dA\r\x1b[J"
	seqBold  = "\x1b[1m"
	seqGreen = "\x1b[32m"
	seqRed   = "\x1b[31m"
	seqReset = "\x1b[0m"
)

func newScreen(w io.Writer, getenv func(string) (string, bool)) *screen {
	s := &screen{w: w, start: time.Now()}
	f, isFile := w.(*os.File)
	noColor, _ := getenv("NO_COLOR")
	s.live = isFile && noColor == "" && term.IsTerminal(int(f.Fd()))
	return s
}

// print writes for people; what they miss when their terminal is gone changes nothing.
func (s *screen) print(text string) { _, _ = io.WriteString(s.w, text) }

func (s *screen) color(seq, text string) string {
	if !s.live {
		return text
	}
	return seq + text + seqReset
}

// event says that something happened.
func (s *screen) event(format string, args ...any) {
	s.wipe()
	s.print(fmt.Sprintf("%6.1f s  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...)))
}

// wipe takes the status off a terminal.
func (s *screen) wipe() {
	if s.drawn > 0 {
		s.print(fmt.Sprintf(seqUp, s.drawn))
		s.drawn = 0
	}
}

// Times between two drawings of the status: on a terminal, and as lines where they cannot be drawn anew.
const (
	liveEvery  = 100 * time.Millisecond
	plainEvery = 2 * time.Second
)

// usualWidth is the width of a terminal that does not tell it.
const usualWidth = 80

// status shows how things stand, not too often: all lines on a terminal, else the last one.
func (s *screen) status(lines ...string) {
	every := plainEvery
	if s.live {
		every = liveEvery
	}
	if time.Since(s.last) < every && (s.drawn > 0 || !s.live) {
		return
	}
	s.last = time.Now()
	if !s.live {
		s.event("%s", lines[len(lines)-1])
		return
	}
	s.wipe()
	width, _, err := term.GetSize(int(s.w.(*os.File).Fd()))
	if err != nil || width < 1 {
		width = usualWidth
	}
	for i, l := range lines {
		if len(l) >= width {
			lines[i] = l[:max(0, width-1)] // a line that wraps would not be wiped
		}
	}
	s.print(strings.Join(lines, "\n") + "\n")
	s.drawn = len(lines)
}

// bar draws done of all as a bar.
func bar(done, all int64, width int) string {
	filled := 0
	if all > 0 {
		filled = int(min(done, all) * int64(width) / all)
	}
	return "[" + strings.Repeat("#", filled) + strings.Repeat(".", width-filled) + "]"
}

// grouped writes a number with its digits in groups of three.
func grouped(n int64) string {
	digits := fmt.Sprint(n)
	var out strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			out.WriteByte(',')
		}
		out.WriteRune(d)
	}
	return out.String()
}
