package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Load reads a whole history from its file. A line that is not an event, an index that is not the next one or a time that
// goes back is an error that names the line: what is judged is what was recorded, all of it.
func Load(path string) ([]Event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a history: %w", err)
	}
	defer f.Close() // only read
	events, err := Decode(f)
	if err != nil {
		return nil, fmt.Errorf("read history %s: %w", path, err)
	}
	return events, nil
}

// Decode reads a history as Load does.
func Decode(r io.Reader) ([]Event, error) {
	var events []Event
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return events, nil
		}
		at := len(events) + 1
		if err != nil {
			return nil, fmt.Errorf("line %d does not end: %w", at, err)
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", at, err)
		}
		if err := follows(events, &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", at, err)
		}
		events = append(events, e)
	}
}

// follows checks what must hold of an event where the others are before it.
func follows(events []Event, e *Event) error {
	switch e.Type {
	case Invoke, OK, Fail, Info:
	default:
		return fmt.Errorf("type %q, expected invoke, ok, fail or info", e.Type)
	}
	n := len(events)
	switch {
	case e.Index != int64(n):
		return fmt.Errorf("index %d, expected %d", e.Index, n)
	case e.F == "":
		return errors.New("it names no operation")
	case n > 0 && e.Time < events[n-1].Time:
		return fmt.Errorf("time %d is before that of the event before, %d", e.Time, events[n-1].Time)
	}
	return nil
}
