package lineage

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

// piece is how many bytes of rows are handed on at a time.
const piece = 64 << 10

// Rows hands the first limit records of a partition (all if limit < 0) to put, as rows of c in pieces that put must copy,
// and gives their number.
func (n *Node[T]) Rows(t dataset.Task, part, limit int, c *codec.Codec[T], put func(rows []byte)) (records int64) {
	var buf []byte
	cell := new(T) // c takes a pointer: one cell for the whole loop
	n.loop(t, part, func(v T) bool {
		if records == int64(limit) {
			return false
		}
		*cell = v
		buf = c.AppendRow(buf, cell)
		if records++; len(buf) >= piece {
			put(buf)
			buf = buf[:0]
		}
		return records != int64(limit)
	})
	if len(buf) > 0 {
		put(buf)
	}
	return records
}

// Count gives how many records a partition has.
func (n *Node[T]) Count(t dataset.Task, part int) (records int64) {
	n.loop(t, part, func(T) bool {
		records++
		return true
	})
	return records
}

// ReadRows appends the records that Rows gave to dst.
func ReadRows[T any](dst []T, rows []byte, records int64, c *codec.Codec[T]) ([]T, error) {
	if records < 0 || records > int64(len(rows)) {
		return dst, fmt.Errorf("%w: %d rows in %d bytes", codec.ErrDamaged, records, len(rows))
	}
	b := rows
	for i := range records {
		dst = append(dst, *new(T))
		var err error
		if b, err = c.ReadRow(b, &dst[len(dst)-1]); err != nil {
			return dst, fmt.Errorf("row %d of %d: %w", i+1, records, err)
		}
	}
	if len(b) > 0 {
		return dst, fmt.Errorf("%w: %d bytes after the last of %d rows", codec.ErrDamaged, len(b), records)
	}
	return dst, nil
}
