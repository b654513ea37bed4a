package lineage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// pane is the records of one batch, as rows of the codec one after the other. Its bytes are never changed: strings that
// users have are views into them.
type pane struct {
	at    id.Time
	count int
	data  []byte
}

// freshPane is what one batch adds to a ring.
type freshPane struct{ pane }

var _ dataset.Delta = (*freshPane)(nil)

// Len implements dataset.Delta.
func (p *freshPane) Len() int { return p.count }

// ringState is a partition of a ring: its panes with records, oldest first. Some may be older than what is kept; who
// reads goes by their time.
type ringState[T any] struct {
	codec *codec.Codec[T]
	keep  id.Time
	panes []pane
}

var _ dataset.State = (*ringState[int])(nil)

// Len implements dataset.State: the number of records.
func (s *ringState[T]) Len() (n int) {
	for _, p := range s.panes {
		n += p.count
	}
	return n
}

// Size is about how many bytes the state has in memory.
func (s *ringState[T]) Size() (n int64) {
	const each = 64 // of a pane without its data
	for _, p := range s.panes {
		n += int64(len(p.data)) + each
	}
	return n
}

// Install implements dataset.State.
func (s *ringState[T]) Install(d dataset.Delta, at id.Time) {
	of, ok := d.(*freshPane)
	if !ok {
		panic(fmt.Sprintf("lineage: a delta of type %T for a state that takes %T", d, of))
	}
	s.trim(at, 0)
	if of.count > 0 {
		s.panes = append(s.panes, of.pane)
	}
}

// trim drops the panes that no time from at on reads, but for the newest few.
func (s *ringState[T]) trim(at id.Time, few int) {
	old := 0
	for old < len(s.panes)-few && s.panes[old].at <= at-s.keep {
		old++
	}
	s.panes = slices.Delete(s.panes, 0, old)
}

// Forget implements dataset.State: what changed since any time is known by the times of panes.
func (s *ringState[T]) Forget(id.Time) {}

// A chunk of a ring (docs/formats/state.md): a header, then runs of records of one pane.
const (
	runsMagic  = "RSKP\x00\x00\x00\x01" // the last byte is the version
	runsHeader = len(runsMagic) + 4
)

// Encode implements dataset.State.
func (s *ringState[T]) Encode(since id.Time, full bool, size int, yield func(chunk []byte, rows int64) bool) {
	w := &runWriter{size: size, yield: yield}
	v := new(T)
	for _, p := range s.panes {
		if !full && p.at <= since {
			continue
		}
		for first, rest := 0, p.data; first < p.count; {
			count, run := w.run(p.count-first, rest, func(b []byte) []byte {
				b, err := s.codec.ReadRow(b, v)
				if err != nil {
					panic(fmt.Sprintf("lineage: a kept record is unreadable: %v", err)) // it was written here, or checked by Decode
				}
				return b
			})
			if !w.add(p.at, first, count, run) {
				return
			}
			first, rest = first+count, rest[len(run):]
		}
	}
	w.flush()
}

// runWriter puts runs into chunks.
type runWriter struct {
	size  int
	yield func(chunk []byte, rows int64) bool
	buf   []byte // with room for the header
	rows  int64
}

// run gives the longest run of the first of count records that fits into a chunk of its own, at least one record; next
// cuts off a record.
func (w *runWriter) run(count int, data []byte, next func([]byte) []byte) (n int, run []byte) {
	if len(data) <= w.size {
		return count, data
	}
	rest := next(data)
	for n = 1; n < count; n++ {
		after := next(rest)
		if len(data)-len(after) > w.size {
			break
		}
		rest = after
	}
	return n, data[:len(data)-len(rest)]
}

// add appends a run, to a new chunk if the present one would be too large. False: nothing more is wanted.
func (w *runWriter) add(at id.Time, first, count int, run []byte) (more bool) {
	if w.rows > 0 && len(w.buf)+len(run) > w.size && !w.flush() {
		return false
	}
	if len(w.buf) == 0 {
		w.buf = make([]byte, runsHeader, runsHeader+3*binary.MaxVarintLen64+len(run))
	}
	w.buf = binary.AppendVarint(w.buf, int64(at))
	w.buf = binary.AppendUvarint(w.buf, uint64(first))
	w.buf = binary.AppendUvarint(w.buf, uint64(count))
	w.buf = append(w.buf, run...)
	w.rows += int64(count)
	return true
}

// flush hands the chunk on, unless there is nothing in it.
func (w *runWriter) flush() (more bool) {
	if w.rows == 0 {
		return true
	}
	chunk, rows := w.buf, w.rows
	w.buf, w.rows = nil, 0
	copy(chunk, runsMagic)
	binary.LittleEndian.PutUint32(chunk[len(runsMagic):], crc32.Checksum(chunk[runsHeader:], castagnoli))
	return w.yield(chunk, rows)
}

// Decode implements dataset.State. After an error the state is neither the old nor the new one and must be dropped.
func (s *ringState[T]) Decode(chunk []byte, at id.Time) error {
	if len(chunk) < runsHeader || string(chunk[:len(runsMagic)]) != runsMagic {
		return fmt.Errorf("%w: %d bytes are no chunk of kept records of version 1", codec.ErrDamaged, len(chunk))
	}
	sum, b := binary.LittleEndian.Uint32(chunk[len(runsMagic):]), chunk[runsHeader:]
	if got := crc32.Checksum(b, castagnoli); got != sum {
		return fmt.Errorf("%w: chunk of kept records has the checksum %08x, expected %08x", codec.ErrDamaged, got, sum)
	}
	for len(b) > 0 {
		var err error
		if b, err = s.decodeRun(b, at); err != nil {
			return err
		}
	}
	s.trim(at, 1) // the next chunk may have more of the newest one
	return nil
}

// decodeRun takes a run of a pane that is not newer than at, and gives the bytes after it.
func (s *ringState[T]) decodeRun(b []byte, upTo id.Time) (rest []byte, err error) {
	at, n := binary.Varint(b)
	first, m := binary.Uvarint(b[max(n, 0):])
	if n <= 0 || m <= 0 {
		return nil, fmt.Errorf("%w: time and place of a run of records in %d bytes", codec.ErrDamaged, len(b))
	}
	count, b, err := codec.ReadCount(b[n+m:])
	if err != nil {
		return nil, err
	}
	last := len(s.panes) - 1
	switch {
	case first == 0 && id.Time(at) <= upTo && (last < 0 || id.Time(at) > s.panes[last].at):
		s.panes = append(s.panes, pane{at: id.Time(at)})
		last++
	case last < 0 || id.Time(at) != s.panes[last].at || first != uint64(s.panes[last].count):
		return nil, fmt.Errorf("%w: a run of records of %d from the %dth on is not what follows in a chunk of %d", codec.ErrDamaged, at, first, upTo)
	}
	v, rest := new(T), b
	for i := range count {
		if rest, err = s.codec.ReadRow(rest, v); err != nil {
			return nil, fmt.Errorf("record %d of %d of %d: %w", i+1, count, at, err)
		}
	}
	p := &s.panes[last]
	p.data = append(p.data, b[:len(b)-len(rest)]...)
	p.count += count
	return rest, nil
}
