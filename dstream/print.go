package dstream

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

const (
	defaultPrint = 10
	maxPrint     = 1000
	maxPrintLine = 1000 // bytes; MaxReceipt holds maxPrint+1 of them
)

// Print writes the first n (10) records of every batch to the standard output of the coordinator's process, under the batch time.
// It may print a batch again after a failure.
func (s *DStream[T]) Print(n ...int) {
	o := s.output("print")
	num := defaultPrint
	if len(n) > 0 {
		num = n[0]
	}
	if num < 1 || num > maxPrint || len(n) > 1 {
		s.c.fail("print", fmt.Errorf("Print(%v), expected one number from 1 to %d", n, maxPrint))
		return
	}
	lines, err := codec.For[[]string]()
	if err != nil {
		panic("dstream: strings have no codec: " + err.Error())
	}
	s.c.outputs = append(s.c.outputs, printer[T]{output: o, num: num, out: s.c.out, lines: lines})
}

type printer[T any] struct {
	output
	num   int
	out   io.Writer
	lines *codec.Codec[[]string]
}

// Run gives the partition's first num+1 records as text: one more than is printed shows that there are more.
func (o printer[T]) Run(t dataset.Task, d dataset.Dataset, part int) []byte {
	var lines []string
	node[T](t, d).Each(t, part, func(v T) bool {
		lines = append(lines, cut(fmt.Sprint(v)))
		return len(lines) <= o.num
	})
	return o.lines.Append(nil, &lines)
}

// cut shortens a line to maxPrintLine bytes, between characters.
func cut(line string) string {
	if len(line) <= maxPrintLine {
		return line
	}
	end := maxPrintLine - len("...")
	for end > 0 && !utf8.RuneStart(line[end]) {
		end--
	}
	return line[:end] + "..."
}

// Commit prints the batch in one write (Spark: print's format).
func (o printer[T]) Commit(_ context.Context, b dataset.Batch, receipts [][]byte) error {
	const rule = "-------------------------------------------\n"
	var w strings.Builder
	fmt.Fprintf(&w, "%sTime: %d ms\n%s", rule, b.Time, rule)
	left := o.num
	for part, r := range receipts {
		var lines []string
		if _, err := o.lines.Read(r, &lines); err != nil {
			return fmt.Errorf("%s: receipt of partition %d: %w", o.name, part, err)
		}
		for _, l := range lines {
			if left--; left < 0 {
				break
			}
			w.WriteString(l)
			w.WriteByte('\n')
		}
	}
	if left < 0 {
		w.WriteString("...\n")
	}
	w.WriteByte('\n')
	if _, err := io.WriteString(o.out, w.String()); err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	return nil
}
