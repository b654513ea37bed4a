package lineage

import (
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/table"
)

// current is the value that a key had in the last window, where windows are computed from the one before.
type current[C any] struct {
	val C
	has bool
}

// keyedPanes is a partition of the state of a windowed stream: the panes that later windows need, and with an inverse the last
// window. A key has a row while it is in one of them; rows are in the order in which keys got theirs.
//
// Invariant: which panes there are follows from the time, and which rows from the panes and the last window (rule 6).
// The value of a row in the table is the number of panes that have it.
type keyedPanes[K comparable, C any] struct {
	PaneTimes
	inverse bool // last is used, and the panes of the last window are needed
	key     *codec.Codec[K]
	val     *codec.Codec[C]
	rows    *table.State[K, int32]
	last    []current[C]   // by row
	list    []keyedPane[C] // by index
	// blocks are made again where they are missing: they are no part of what is encoded.
	blocks map[blockID]run[C]
}

var _ dataset.State = (*keyedPanes[int, int])(nil)

// panesDelta is what one batch changes of panes, and the window that ends with it. Rows are those of the state that it was
// made over, then those of keys.
type panesDelta[K comparable, C any] struct {
	keys   []K     // without a row yet, in the order in which they get one
	rows   []int32 // that have data in this batch, in order
	pane   int64
	put    run[C] // the whole pane, as this batch leaves it; empty if it has no data
	next   run[C] // of keys whose value in the last window changes
	gone   []bool // by next: the key is not in the window any more
	blocks map[blockID]run[C]
	window run[C]    // without an inverse
	lists  *lists[C] // where values are gathered
}

var _ dataset.Delta = (*panesDelta[int, int])(nil)

// Len implements dataset.Delta.
func (d *panesDelta[K, C]) Len() int { return len(d.rows) + len(d.next.rows) }

// Len implements dataset.State.
func (s *keyedPanes[K, C]) Len() int { return s.rows.Len() }

// from is the first pane that is needed after a time.
func (s *keyedPanes[K, C]) from(at id.Time) int64 {
	if s.inverse {
		return s.lastFrom(at)
	}
	return s.nextFrom(at)
}

// idle says that no pane and no window has the row.
func (s *keyedPanes[K, C]) idle(row int) bool {
	return *s.rows.Value(row) == 0 && !s.lastOf(row).has
}

// put gives a key a row, idle as yet.
func (s *keyedPanes[K, C]) put(key K, at id.Time) int {
	row := s.rows.Rows()
	s.rows.Put(s.key.Hash(&key), key, 0, int64(at))
	if s.inverse {
		s.last = append(s.last, current[C]{})
	}
	return row
}

// setLast changes the value of a row in the last window.
func (s *keyedPanes[K, C]) setLast(row int, last current[C], at id.Time) {
	s.rows.Set(row, *s.rows.Value(row), int64(at))
	if s.inverse {
		s.last[row] = last
	}
}

// lastOf is the value of a row in the last window.
func (s *keyedPanes[K, C]) lastOf(row int) (c current[C]) {
	if s.inverse {
		c = s.last[row]
	}
	return c
}

// remove gives up the row if it is idle.
func (s *keyedPanes[K, C]) remove(row int, at id.Time) {
	if s.rows.Live(row) && s.idle(row) {
		s.rows.Remove(row, int64(at))
	}
}

// Install implements dataset.State.
func (s *keyedPanes[K, C]) Install(d dataset.Delta, at id.Time) {
	of, ok := d.(*panesDelta[K, C])
	if !ok {
		panic(fmt.Sprintf("lineage: a delta of type %T for panes that take %T", d, of))
	}
	for i := range of.keys {
		s.put(of.keys[i], at)
	}
	if len(of.put.rows) > 0 {
		s.install(of.rows, keyedPane[C]{of.pane, at, of.put})
	}
	for i, row := range of.next.rows {
		next := current[C]{}
		if !of.gone[i] {
			next = current[C]{of.next.vals[i], true}
		}
		s.setLast(int(row), next, at)
	}
	s.expire(at, func(row int) { s.remove(row, at) })
	for _, row := range of.next.rows {
		s.remove(int(row), at)
	}
	s.keepBlocks(of.blocks)
	s.compact()
}

// install puts a pane that has data of the given rows, which it may have had before.
func (s *keyedPanes[K, C]) install(rows []int32, p keyedPane[C]) {
	had := []int32(nil)
	if n := len(s.list); n > 0 && s.list[n-1].index == p.index {
		had = s.list[n-1].rows
		s.list[n-1] = p
	} else {
		s.list = append(s.list, p)
	}
	for _, row := range rows {
		for len(had) > 0 && had[0] < row {
			had = had[1:]
		}
		by := int32(1)
		if len(had) > 0 && had[0] == row {
			by = 0
		}
		s.rows.Set(int(row), *s.rows.Value(int(row))+by, int64(p.at))
	}
}

// expire drops what no window after a time needs, and calls lost with the rows of that.
func (s *keyedPanes[K, C]) expire(at id.Time, lost func(row int)) {
	from, n := s.from(at), 0
	for ; n < len(s.list) && s.list[n].index < from; n++ {
		for _, r := range s.list[n].rows {
			row := int(r)
			s.rows.Set(row, *s.rows.Value(row)-1, s.rows.Stamp(row)) // what is written of it does not change
			lost(row)
		}
	}
	s.list = slices.Delete(s.list, 0, n)
	for b := range s.blocks {
		if b.from() < from {
			delete(s.blocks, b)
		}
	}
}

// keepBlocks takes blocks that a window needed. Of the two halves of a block, no window needs the older one any more:
// windows begin with the block or after it.
func (s *keyedPanes[K, C]) keepBlocks(made map[blockID]run[C]) {
	for b, r := range made {
		if s.blocks == nil {
			s.blocks = map[blockID]run[C]{}
		}
		s.blocks[b] = r
	}
	for b := range made {
		if b.level > 1 {
			delete(s.blocks, blockID{b.level - 1, 2 * b.n})
		}
	}
}

// compact drops the rows of removed keys if they are many.
func (s *keyedPanes[K, C]) compact() {
	moves := s.rows.Moves()
	if moves == nil {
		return
	}
	s.rows.Compact()
	if s.inverse {
		last := make([]current[C], 0, s.rows.Rows())
		for row, to := range moves {
			if to >= 0 {
				last = append(last, s.last[row])
			}
		}
		s.last = last
	}
	for i := range s.list {
		s.list[i].run = s.list[i].moved(moves)
	}
	for b, r := range s.blocks {
		s.blocks[b] = r.moved(moves)
	}
}

// Forget implements dataset.State.
func (s *keyedPanes[K, C]) Forget(upTo id.Time) { s.rows.Forget(int64(upTo)) }

// Size is about how many bytes the state holds, without what keys and values refer to.
func (s *keyedPanes[K, C]) Size() int64 {
	const perRow = 4 + 8 + 4 + 12 // pane count, stamp, hash, and its share of the index
	value := int64(unsafe.Sizeof(*new(C)))
	size := int64(s.rows.Rows())*(perRow+int64(unsafe.Sizeof(*new(K)))) + int64(cap(s.last))*(value+8)
	for i := range s.list {
		size += int64(len(s.list[i].rows)) * (value + 4)
	}
	for _, r := range s.blocks {
		size += int64(len(r.rows)) * (value + 4)
	}
	return size
}

// ref is a value of a row in a list of panes.
type ref struct{ pane, at int32 }

// lists are the values of each row over panes, oldest first.
type lists[C any] struct {
	of   []keyedPane[C]
	ends []int32 // by row: where its refs end
	refs []ref
}

// listed turns panes, whose rows are below the given number, into lists by row.
func listed[C any](of []keyedPane[C], rows int, look func()) *lists[C] {
	l := &lists[C]{of: of, ends: make([]int32, rows+1)}
	total := 0
	for _, p := range of {
		look()
		for _, row := range p.rows {
			l.ends[row+1]++
		}
		total += len(p.rows)
	}
	if total > math.MaxInt32 {
		panic("lineage: more than 2^31 values of keys in the panes of one partition")
	}
	for row := range rows {
		l.ends[row+1] += l.ends[row]
	}
	l.refs = make([]ref, total)
	for i, p := range of {
		look()
		for j, row := range p.rows {
			l.refs[l.ends[row]] = ref{int32(i), int32(j)}
			l.ends[row]++
		}
	}
	return l
}

// of gives where the values of a row are.
func (l *lists[C]) row(row int) []ref {
	from := int32(0)
	if row > 0 {
		from = l.ends[row-1]
	}
	return l.refs[from:l.ends[row]]
}

// value is what a ref refers to; it must not be written to.
func (l *lists[C]) value(r ref) *C { return &l.of[r.pane].vals[r.at] }
