package connector

import (
	"errors"
	"fmt"
)

// ErrPosition says that records do not follow what is stored already: some are missing or were taken before.
var ErrPosition = errors.New("records do not start at the next position")

// ErrRecord says that a record is not one of its source's kind: sending it again cannot help. A Push with such a record
// is refused as a whole.
var ErrRecord = errors.New("record is not acceptable")

// PositionError is an ErrPosition with its numbers.
type PositionError struct {
	Partition string
	Got, Want uint64
}

// Error names the partition, the position given and the one expected.
func (e *PositionError) Error() string {
	return fmt.Sprintf("partition %q: records start at position %d, expected %d", e.Partition, e.Got, e.Want)
}

// Unwrap makes the error an ErrPosition.
func (e *PositionError) Unwrap() error { return ErrPosition }
