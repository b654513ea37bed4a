package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Log writes the history of a run to a file of JSON lines. Its methods may be called from several goroutines.
type Log struct {
	start time.Time

	mu      sync.Mutex
	file    *os.File
	w       *bufio.Writer
	index   int64
	process int
	err     error // the first failed write, kept for Close
}

// Create begins a history in a new file.
func Create(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create a history: %w", err)
	}
	return &Log{start: time.Now(), file: f, w: bufio.NewWriter(f)}, nil
}

// Since is the time of the run at t, in the unit of Event.Time.
func (l *Log) Since(t time.Time) int64 { return t.Sub(l.start).Nanoseconds() }

// Process gives an id that no process had before.
func (l *Log) Process() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.process++
	return l.process - 1
}

// Append records an event now: it sets Index and Time. value, which may be nil, becomes Value.
func (l *Log) Append(e Event, value any) Event {
	var err error
	if value != nil {
		e.Value, err = json.Marshal(value)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Index, e.Time = l.index, l.Since(time.Now())
	l.index++
	line, failed := json.Marshal(e)
	_, wrote := l.w.Write(append(line, '\n'))
	if l.err == nil {
		l.err = errors.Join(err, failed, wrote)
	}
	return e
}

// Close makes the history durable. Its error also says that an earlier event could not be written.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.w.Flush(), l.file.Sync(), l.file.Close())
}
