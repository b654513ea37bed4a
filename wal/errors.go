package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrReserve says that the disk's free space has come down to the reserve, or that the disk is full. Nothing was
	// appended; the same append may succeed later.
	ErrReserve = errors.New("disk reserve reached")
	// ErrClosed says that the log is closed.
	ErrClosed = errors.New("log is closed")
	// ErrPoisoned says that a write or sync failed before: what the disk holds is unknown and the process must end.
	ErrPoisoned = errors.New("log is unusable after a failed write or sync")
	// ErrNoRecord says that no record is at a position, or none any more.
	ErrNoRecord = errors.New("no record at this position")
)

// CorruptionError says that bytes which were durable have changed. They are never given out as data.
type CorruptionError struct {
	File   string
	Offset int64
	Reason string
}

// Error names the file, the offset and what is wrong there.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: %s", e.File, e.Offset, e.Reason)
}

// StoreError says that a segment was written by another store. Nothing was changed (rule 2).
type StoreError struct {
	File      string
	Has, Want string
}

// Error names the file and both stores.
func (e *StoreError) Error() string {
	return fmt.Sprintf("%s belongs to store %q, this is store %q", e.File, e.Has, e.Want)
}
