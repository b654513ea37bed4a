package lineage

import (
	"encoding/binary"
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

// rows is a list of records: a result, or a bucket of Repartition. Encoding: count as varint, then rows of the codec.
type rows[T any] struct {
	vals  []T
	codec *codec.Codec[T]
}

func (r *rows[T]) Len() int { return len(r.vals) }

func (r *rows[T]) Encode(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(r.vals)))
	for i := range r.vals {
		dst = r.codec.AppendRow(dst, &r.vals[i])
	}
	return dst
}

// eachRow calls yield with the records of a chunk, which may be changed by who gets them. It reports whether yield
// wants more, and fails on a chunk that is not one of rows.
func eachRow[T any](chunk dataset.Chunk, c *codec.Codec[T], yield func(T) bool) (more bool, err error) {
	if chunk.Rows != nil {
		r, ok := chunk.Rows.(*rows[T])
		if !ok {
			return false, fmt.Errorf("a chunk of %T, expected %T", chunk.Rows, r)
		}
		for _, v := range r.vals {
			if !c.Fixed {
				c.Own(&v)
			}
			if !yield(v) {
				return false, nil
			}
		}
		return true, nil
	}
	n, b, err := codec.ReadCount(chunk.Bytes)
	if err != nil {
		return false, err
	}
	v := new(T)
	for i := range n {
		if b, err = c.ReadRow(b, v); err != nil {
			return false, fmt.Errorf("row %d of %d: %w", i+1, n, err)
		}
		if !yield(*v) {
			return false, nil
		}
	}
	if len(b) > 0 {
		return false, fmt.Errorf("%w: %d bytes after the last of %d rows", codec.ErrDamaged, len(b), n)
	}
	return true, nil
}
