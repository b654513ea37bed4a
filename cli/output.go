package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// printJSON writes v as one line.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// table lines up columns. The first error of writing is given by flush.
type table struct {
	w   *tabwriter.Writer
	err error
}

func newTable(w io.Writer, header ...string) *table {
	t := &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.row(toAny(header)...)
	return t
}

func (t *table) row(cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(fmt.Sprint(c))
		if text[i] == "" {
			text[i] = "-"
		}
	}
	if _, err := fmt.Fprintln(t.w, strings.Join(text, "\t")); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) flush() error {
	if err := t.w.Flush(); t.err == nil {
		t.err = err
	}
	if t.err != nil {
		return fmt.Errorf("write output: %w", t.err)
	}
	return nil
}

func toAny(s []string) []any {
	out := make([]any, len(s))
	for i := range s {
		out[i] = s[i]
	}
	return out
}

// clock shows a time in Unix milliseconds for people, in local time.
func clock(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05.000")
}

// millis shows a duration in milliseconds.
func millis(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }

// perSecond shows a limit of records; 0 is none.
func perSecond(rate int64) string {
	if rate == 0 {
		return ""
	}
	return grouped(rate) + "/s"
}
