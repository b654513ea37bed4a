package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// WriteEDN writes events as Jepsen does, one map a line, for its tools:
//
//	{:index 17, :time 123, :process 3, :type :ok, :f :add, :value [1 42]}
//
// The nemesis is :nemesis, and all its events are of type :info, as Jepsen wants it.
func WriteEDN(w io.Writer, events []Event) error {
	out := bufio.NewWriterSize(w, 1<<20)
	for i := range events {
		if err := writeEvent(out, &events[i]); err != nil {
			return fmt.Errorf("write event %d as EDN: %w", events[i].Index, err)
		}
	}
	return out.Flush()
}

func writeEvent(w *bufio.Writer, e *Event) error {
	process, kind := strconv.Itoa(e.Process), e.Type
	if e.Process == Nemesis {
		process, kind = ":nemesis", Info
	}
	value, err := ednOf(e.Value)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "{:index %d, :time %d, :process %s, :type :%s, :f %s, :value %s", e.Index, e.Time, process, kind, keyword(e.F), value)
	for _, member := range []struct{ name, text string }{{"workload", e.Workload}, {"node", e.Node}, {"error", e.Error}} {
		if member.text != "" {
			fmt.Fprintf(w, ", :%s %s", member.name, quote(member.text))
		}
	}
	if e.RaftIndex != 0 {
		fmt.Fprintf(w, ", :raft-index %d", e.RaftIndex)
	}
	if e.Term != 0 {
		fmt.Fprintf(w, ", :term %d", e.Term)
	}
	_, err = w.WriteString("}\n")
	return err
}

// ednOf translates a JSON value: objects become maps with keyword keys where the names allow it.
func ednOf(value json.RawMessage) (string, error) {
	if len(value) == 0 {
		return "nil", nil
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	var b strings.Builder
	ednValue(&b, v)
	return b.String(), nil
}

func ednValue(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("nil")
	case string:
		b.WriteString(quote(v))
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(' ')
			}
			ednValue(b, e)
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(keyword(name))
			b.WriteByte(' ')
			ednValue(b, v[name])
		}
		b.WriteByte('}')
	default: // numbers and booleans look the same
		fmt.Fprint(b, v)
	}
}

// symbol is what may follow the colon of a keyword, and is nothing else with it.
var symbol = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)

// keyword gives a name as a keyword, or as a string where it cannot be one.
func keyword(name string) string {
	if !symbol.MatchString(name) {
		return quote(name)
	}
	return ":" + strings.ReplaceAll(name, "_", "-")
}

// quote gives a string as EDN has it: the escapes are those of JSON but for \/, which is not written.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("history: a string failed to marshal: " + err.Error())
	}
	return strings.TrimSuffix(b.String(), "\n")
}
