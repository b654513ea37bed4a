package lineage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/table"
)

// A chunk is a part of an image of keyed state, or of its changes since a time (docs/formats/state.md): a header, the
// keys that were removed, then the rows that were put, both in order.
const (
	chunkMagic  = "RSKS\x00\x00\x00" // the version follows
	chunkHeader = len(chunkMagic) + 1 + 4 + 4 + 4

	plainRows = 1 // version: rows are key and state
	timedRows = 2 // version: rows are key, state and the time of the last change
	paneRows  = 3 // version: rows are key, value in the last window and values in panes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunkWriter cuts encoded removals and rows into chunks.
type chunkWriter struct {
	version       byte
	size          int
	yield         func(chunk []byte, rows int64) bool
	buf           []byte // with room for the header
	removed, rows uint32
}

// cut is called when an item was appended at the offset. If the chunk is too large by that, it ends before the item.
// False: nothing more is wanted.
func (w *chunkWriter) cut(at int) (more bool) {
	if len(w.buf) <= w.size || at == chunkHeader {
		return true
	}
	next := make([]byte, chunkHeader, max(w.size, chunkHeader+len(w.buf)-at))
	next = append(next, w.buf[at:]...)
	w.buf = w.buf[:at]
	more = w.flush()
	w.buf = next
	return more
}

// flush hands the chunk on, unless there is nothing in it.
func (w *chunkWriter) flush() (more bool) {
	n := int64(w.removed) + int64(w.rows)
	if n == 0 {
		return true
	}
	h := w.buf[:chunkHeader]
	copy(h, chunkMagic)
	h[len(chunkMagic)] = w.version
	counts := h[len(chunkMagic)+5:]
	binary.LittleEndian.PutUint32(counts, w.removed)
	binary.LittleEndian.PutUint32(counts[4:], w.rows)
	binary.LittleEndian.PutUint32(h[len(chunkMagic)+1:], crc32.Checksum(w.buf[len(chunkMagic)+5:], castagnoli))
	w.removed, w.rows = 0, 0
	return w.yield(w.buf, n)
}

// version says what the rows in chunks of the state have.
func (s *state[K, S]) version() byte {
	if s.wheel != nil {
		return timedRows
	}
	return plainRows
}

// Encode implements dataset.State.
func (s *state[K, S]) Encode(since id.Time, full bool, size int, yield func(chunk []byte, rows int64) bool) {
	w := &chunkWriter{version: s.version(), size: size, yield: yield, buf: make([]byte, chunkHeader)}
	if !full {
		for key := range s.rows.Removed(int64(since)) {
			at := len(w.buf)
			w.buf = s.key.AppendRow(w.buf, key)
			if !w.cut(at) {
				return
			}
			w.removed++
		}
	}
	key, timed := new(K), s.wheel != nil
	for first := 0; first < s.rows.Rows(); first += table.PieceRows {
		vals, stamps := s.rows.Piece(first)
		for i, stamp := range stamps {
			if stamp == table.Gone || !full && stamp <= int64(since) {
				continue
			}
			at := len(w.buf)
			*key = s.rows.Key(first + i)
			w.buf = s.key.Append(w.buf, key)
			w.buf = s.value.AppendRow(w.buf, &vals[i])
			if timed {
				w.buf = binary.AppendVarint(w.buf, stamp)
			}
			if !w.cut(at) {
				return
			}
			w.rows++
		}
	}
	w.flush()
}

// Decode implements dataset.State. After an error the state is neither the old nor the new one and must be dropped.
func (s *state[K, S]) Decode(chunk []byte, at id.Time) error {
	removed, rows, b, err := openChunk(chunk, s.version())
	if err != nil {
		return err
	}
	if s.wheel != nil {
		s.wheel.drop()
	}
	key, val := new(K), new(S)
	for i := range removed {
		if b, err = s.key.ReadRow(b, key); err != nil {
			return fmt.Errorf("removed key %d of %d: %w", i+1, removed, err)
		}
		if row := s.rows.Find(s.key.Hash(key), *key); row >= 0 {
			s.rows.Remove(row, int64(at))
		}
	}
	for i := range rows {
		if b, err = s.key.Read(b, key); err != nil {
			return fmt.Errorf("key of row %d of %d: %w", i+1, rows, err)
		}
		if b, err = s.value.ReadRow(b, val); err != nil {
			return fmt.Errorf("value of row %d of %d: %w", i+1, rows, err)
		}
		if !s.value.Plain {
			s.value.Own(val) // the chunk must not live as long as a string in it
		}
		stamp := int64(at)
		if s.wheel != nil {
			if stamp, b, err = readStamp(b, stamp); err != nil {
				return fmt.Errorf("time of row %d of %d: %w", i+1, rows, err)
			}
		}
		s.rows.Put(s.key.Hash(key), *key, *val, stamp)
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes after the last of %d rows", codec.ErrDamaged, len(b), rows)
	}
	s.rows.Compact()
	return nil
}

// readStamp reads the time of a row's last change, which is not after the time of its chunk.
func readStamp(b []byte, at int64) (int64, []byte, error) {
	stamp, n := binary.Varint(b)
	switch {
	case n <= 0:
		return 0, nil, fmt.Errorf("%w: no time", codec.ErrDamaged)
	case stamp < 0 || stamp > at:
		return 0, nil, fmt.Errorf("%w: %d is not from 0 to %d", codec.ErrDamaged, stamp, at)
	}
	return stamp, b[n:], nil
}

// openChunk checks the header and gives the items after it. There are as many bytes as items at least.
func openChunk(chunk []byte, version byte) (removed, rows uint32, items []byte, err error) {
	if len(chunk) < chunkHeader || string(chunk[:len(chunkMagic)]) != chunkMagic || chunk[len(chunkMagic)] != version {
		return 0, 0, nil, fmt.Errorf("%w: %d bytes are no chunk of keyed state of version %d", codec.ErrDamaged, len(chunk), version)
	}
	sum := binary.LittleEndian.Uint32(chunk[len(chunkMagic)+1:])
	rest := chunk[len(chunkMagic)+5:]
	if got := crc32.Checksum(rest, castagnoli); got != sum {
		return 0, 0, nil, fmt.Errorf("%w: chunk of keyed state has the checksum %08x, expected %08x", codec.ErrDamaged, got, sum)
	}
	removed, rows = binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
	items = rest[8:]
	if uint64(removed)+uint64(rows) > uint64(len(items)) {
		return 0, 0, nil, fmt.Errorf("%w: %d keys and %d rows in %d bytes", codec.ErrDamaged, removed, rows, len(items))
	}
	return removed, rows, items, nil
}
