package lineage

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/id"
)

// hasLast is the flag of a row whose key is in the last window.
const hasLast = 1

// Encode implements dataset.State.
func (s *keyedPanes[K, C]) Encode(since id.Time, full bool, size int, yield func(chunk []byte, rows int64) bool) {
	w := &chunkWriter{version: paneRows, size: size, yield: yield, buf: make([]byte, chunkHeader)}
	from := 0 // first pane of the changes: panes change in their order
	if !full {
		for key := range s.rows.Removed(int64(since)) {
			at := len(w.buf)
			w.buf = s.key.AppendRow(w.buf, key)
			if !w.cut(at) {
				return
			}
			w.removed++
		}
		for from < len(s.list) && s.list[from].at <= since {
			from++
		}
	}
	cell := new(K)
	values := listed(s.list[from:], s.rows.Rows(), func() {})
	for row := range s.rows.Rows() {
		if !s.rows.Live(row) || !full && s.rows.Stamp(row) <= int64(since) {
			continue
		}
		at := len(w.buf)
		w.buf = s.appendRow(w.buf, cell, row, values)
		if !w.cut(at) {
			return
		}
		w.rows++
	}
	w.flush()
}

// appendRow appends a key, what it was in the last window, and its values in panes.
func (s *keyedPanes[K, C]) appendRow(dst []byte, cell *K, row int, values *lists[C]) []byte {
	*cell = s.rows.Key(row)
	dst = s.key.Append(dst, cell)
	if last := s.lastOf(row); last.has {
		dst = append(dst, hasLast)
		dst = s.val.AppendRow(dst, &last.val)
	} else {
		dst = append(dst, 0)
	}
	refs := values.row(row)
	dst = binary.AppendUvarint(dst, uint64(len(refs)))
	before := int64(-1)
	for _, r := range refs {
		index := values.of[r.pane].index
		dst = binary.AppendUvarint(dst, uint64(index-before))
		dst = s.val.AppendRow(dst, values.value(r))
		before = index
	}
	return dst
}

// Decode implements dataset.State. After an error the state is neither the old nor the new one and must be dropped.
func (s *keyedPanes[K, C]) Decode(chunk []byte, at id.Time) error {
	removed, rows, b, err := openChunk(chunk, paneRows)
	if err != nil {
		return err
	}
	s.expire(at, func(int) {}) // rows that are idle now come again, or among the removed keys
	key := new(K)
	for i := range removed {
		if b, err = s.key.ReadRow(b, key); err != nil {
			return fmt.Errorf("removed key %d of %d: %w", i+1, removed, err)
		}
		row := s.rows.Find(s.key.Hash(key), *key)
		if row < 0 {
			continue
		}
		if *s.rows.Value(row) > 0 {
			return fmt.Errorf("%w: removed key %d of %d has values that windows need", codec.ErrDamaged, i+1, removed)
		}
		s.setLast(row, current[C]{}, at)
		s.remove(row, at)
	}
	in := paneReader[K, C]{s: s, at: at, before: -1}
	for i := range rows {
		if b, err = in.row(b); err != nil {
			return fmt.Errorf("row %d of %d: %w", i+1, rows, err)
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes after the last of %d rows", codec.ErrDamaged, len(b), rows)
	}
	in.install()
	s.compact()
	return nil
}

// paneReader reads the rows of a chunk.
type paneReader[K comparable, C any] struct {
	s      *keyedPanes[K, C]
	at     id.Time
	before int // row
	key    K
	val    C
	panes  []keyedPane[C] // by index
	next   int            // of panes, at or after that of the row's last value
}

func (p *paneReader[K, C]) value(b []byte) ([]byte, error) {
	b, err := p.s.val.ReadRow(b, &p.val)
	if err == nil && !p.s.val.Plain {
		p.s.val.Own(&p.val) // the chunk must not live as long as a string in it
	}
	return b, err
}

// row reads a row. Its values wait for install: a pane may have had them before.
func (p *paneReader[K, C]) row(b []byte) (_ []byte, err error) {
	s := p.s
	if b, err = s.key.Read(b, &p.key); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	row := s.rows.Find(s.key.Hash(&p.key), p.key)
	if row < 0 {
		row = s.put(p.key, p.at)
	}
	if row <= p.before {
		return nil, fmt.Errorf("%w: the key is not in its place", codec.ErrDamaged)
	}
	p.before, p.next = row, 0
	if len(b) == 0 || b[0] > hasLast || b[0] == hasLast && !s.inverse {
		return nil, fmt.Errorf("%w: no flags of a key in panes", codec.ErrDamaged)
	}
	last := current[C]{has: b[0] == hasLast}
	if b = b[1:]; last.has {
		if b, err = p.value(b); err != nil {
			return nil, fmt.Errorf("value in the last window: %w", err)
		}
		last.val = p.val
	}
	s.setLast(row, last, p.at)
	n, b, err := codec.ReadCount(b)
	if err != nil {
		return nil, err
	}
	index := int64(-1)
	for i := range n {
		if index, b, err = p.index(b, index); err != nil {
			return nil, fmt.Errorf("value %d of %d: %w", i+1, n, err)
		}
		if b, err = p.value(b); err != nil {
			return nil, fmt.Errorf("value %d of %d: %w", i+1, n, err)
		}
		p.add(index, int32(row))
	}
	return b, nil
}

// index reads the pane of the next value.
func (p *paneReader[K, C]) index(b []byte, before int64) (int64, []byte, error) {
	step, k := binary.Uvarint(b)
	if last := p.s.index(p.at); k <= 0 || step == 0 || last < before || step > uint64(last-before) {
		return 0, nil, fmt.Errorf("%w: no pane up to %d after pane %d", codec.ErrDamaged, last, before)
	}
	return before + int64(step), b[k:], nil
}

// add notes the value of a row in a pane, unless no window needs that any more. The panes of a row come in order.
func (p *paneReader[K, C]) add(index int64, row int32) {
	if index < p.s.from(p.at) {
		return
	}
	if p.next < len(p.panes) && p.panes[p.next].index < index { // the next one, or one far behind it
		if p.next++; p.next < len(p.panes) && p.panes[p.next].index < index {
			n, _ := slices.BinarySearchFunc(p.panes[p.next:], index, byIndex[C])
			p.next += n
		}
	}
	if p.next == len(p.panes) || p.panes[p.next].index > index {
		p.panes = slices.Insert(p.panes, p.next, keyedPane[C]{index: index, at: p.at})
	}
	to := &p.panes[p.next]
	to.rows, to.vals = append(to.rows, row), append(to.vals, p.val)
}

// install puts the values of all rows into their panes.
func (p *paneReader[K, C]) install() {
	s := p.s
	old := s.list
	s.list = nil
	for _, read := range p.panes {
		for len(old) > 0 && old[0].index < read.index {
			s.list, old = append(s.list, old[0]), old[1:]
		}
		if len(old) > 0 && old[0].index == read.index {
			s.list, old = append(s.list, old[0]), old[1:]
		}
		over := read
		if n := len(s.list); n > 0 && s.list[n-1].index == read.index {
			over.run = overlay(s.list[n-1].run, read.run)
		}
		s.install(read.rows, over)
	}
	s.list = append(s.list, old...)
}

// overlay puts the values of one run in the place of those of another. a is not used any more: an image comes in chunks
// of rows that follow each other, and the values before them are not moved for each.
func overlay[C any](a, b run[C]) (out run[C]) {
	if n := len(a.rows); n == 0 || a.rows[n-1] < b.rows[0] {
		return run[C]{append(a.rows, b.rows...), append(a.vals, b.vals...)}
	}
	for i, j := 0, 0; i < len(a.rows) || j < len(b.rows); {
		if j == len(b.rows) || i < len(a.rows) && a.rows[i] < b.rows[j] {
			out.rows, out.vals = append(out.rows, a.rows[i]), append(out.vals, a.vals[i])
			i++
			continue
		}
		if i < len(a.rows) && a.rows[i] == b.rows[j] {
			i++
		}
		out.rows, out.vals = append(out.rows, b.rows[j]), append(out.vals, b.vals[j])
		j++
	}
	return out
}
