package table

import (
	"iter"
	"math"
	"runtime"
)

// Gone stamps a row whose key was removed.
const Gone = math.MinInt64

// PieceRows is how many rows a piece has, but for the last one.
const PieceRows = columnRows

// compactAt is how many rows a table has before it is worth compacting.
const compactAt = 64

// State is a table that lasts: every row carries the time of its last change, and keys can be removed. It may be read
// by several goroutines at a time; Set, Put, Remove, Compact and Forget exclude everything else.
//
// Iteration is in order of insertion, where a key that was removed and put again counts from then on. Compacting keeps
// the order and changes the numbers of rows: a number is good until the next Compact.
//
// Invariant: keys, vals and stamps are of one length, rows; the index has the rows that are not stamped Gone.
type State[K comparable, V any] struct {
	index  index
	keys   keyColumn[K]
	vals   column[V]
	stamps column[int64]
	rows   int
	live   int
	gone   []removal[K]
	hash   func(*K) uint64
}

// removal is a key that was removed at a time.
type removal[K comparable] struct {
	key K
	at  int64
}

// NewState makes an empty table. own makes a key independent of other memory when it is put, where it is no string; hash is
// what Find and Put are given for a key.
func NewState[K comparable, V any](own func(*K), hash func(*K) uint64) *State[K, V] {
	return &State[K, V]{index: newIndex(0), keys: keyColumn[K]{own: own}, hash: hash}
}

// Len is the number of keys.
func (t *State[K, V]) Len() int { return t.live }

// Rows is the number of rows, those of removed keys included: rows are numbered from 0.
func (t *State[K, V]) Rows() int { return t.rows }

// Live says whether the row has a key that was not removed.
func (t *State[K, V]) Live(row int) bool { return *t.stamps.at(row) != Gone }

// Stamp is the time of the row's last change.
func (t *State[K, V]) Stamp(row int) int64 { return *t.stamps.at(row) }

// Key gives the key of a row.
func (t *State[K, V]) Key(row int) K { return t.keys.at(row) }

// Value gives the value of a row; the table's own memory, not to be written to.
func (t *State[K, V]) Value(row int) *V { return t.vals.at(row) }

// Piece gives the values and stamps of the rows from first, a multiple of PieceRows, to the next such multiple or the last
// row: for loops over all rows. They are the table's own memory, not to be written to.
func (t *State[K, V]) Piece(first int) (vals []V, stamps []int64) {
	return t.vals.pieces[first/PieceRows], t.stamps.pieces[first/PieceRows]
}

// Find gives the row of a key, -1 if it has none.
func (t *State[K, V]) Find(hash uint64, key K) int {
	row, _ := t.search(uint32(hash), key)
	return row
}

// FindAll is Find for many keys, a hundred or so: rows gets the row of each, -1 for none. Each step is done for all keys
// before the next one, so that the memory that they need, anywhere in a large table, comes at the same time.
func (t *State[K, V]) FindAll(hashes []uint64, keys []K, rows []int32) {
	mask := t.index.mask()
	for i, hash := range hashes {
		h := uint32(hash)
		rows[i] = -1
		for at := h & mask; t.index.slots[at].row != 0; at = (at + 1) & mask {
			if t.index.slots[at].hash == h {
				rows[i] = int32(t.index.slots[at].row - 1)
				break
			}
		}
	}
	var touch uint32
	for _, row := range rows[:len(hashes)] {
		if row >= 0 {
			touch += t.keys.touch(int(row))
		}
	}
	runtime.KeepAlive(touch)
	for i, row := range rows[:len(hashes)] {
		if row >= 0 && t.keys.at(int(row)) != keys[i] { // another key of the same hash
			rows[i] = int32(t.Find(hashes[i], keys[i]))
		}
	}
}

// search is Find, and gives the empty slot where the search ended otherwise.
func (t *State[K, V]) search(h uint32, key K) (row int, free uint32) {
	mask := t.index.mask()
	for i := h & mask; ; i = (i + 1) & mask {
		s := &t.index.slots[i]
		if s.row == 0 {
			return -1, i
		}
		if s.hash == h && t.keys.at(int(s.row-1)) == key {
			return int(s.row - 1), i
		}
	}
}

// Set gives the row another value.
func (t *State[K, V]) Set(row int, v V, at int64) { *t.vals.at(row), *t.stamps.at(row) = v, at }

// Put gives the key a value, in its row or in a new last one.
func (t *State[K, V]) Put(hash uint64, key K, v V, at int64) {
	h := uint32(hash)
	row, free := t.search(h, key)
	if row >= 0 {
		t.Set(row, v, at)
		return
	}
	if t.rows >= maxRows {
		panic("table: more than 2^31 keys in one partition")
	}
	t.push(key, v, at)
	t.live++
	t.index.fill(free, h, t.rows-1, t.live)
}

func (t *State[K, V]) push(key K, v V, at int64) {
	t.keys.push(t.rows, key)
	t.vals.push(v)
	t.stamps.push(at)
	t.rows++
}

// Remove removes the row's key.
func (t *State[K, V]) Remove(row int, at int64) {
	t.gone = append(t.gone, removal[K]{t.keys.at(row), at})
	t.index.drop(uint32(t.hash(&t.gone[len(t.gone)-1].key)), row)
	*t.vals.at(row), *t.stamps.at(row) = *new(V), Gone
	t.live--
}

// Removed yields the keys that were removed after since, in the order of their removal; a key may come twice.
func (t *State[K, V]) Removed(since int64) iter.Seq[*K] {
	return func(yield func(*K) bool) {
		for i := range t.gone {
			if t.gone[i].at > since && !yield(&t.gone[i].key) {
				return
			}
		}
	}
}

// Forget drops the removals up to a time. Without it they add up: one for each removal.
func (t *State[K, V]) Forget(upTo int64) {
	kept := t.gone[:0:0]
	for _, g := range t.gone {
		if g.at > upTo {
			kept = append(kept, g)
		}
	}
	t.gone = kept
}

// Compact drops the rows of removed keys if they are more than half of all. It reports whether it did: rows have other
// numbers then.
func (t *State[K, V]) Compact() bool {
	if t.rows < compactAt || t.live*2 >= t.rows {
		return false
	}
	old := *t
	t.keys, t.vals, t.stamps, t.rows = keyColumn[K]{own: old.keys.own}, column[V]{}, column[int64]{}, 0
	moved := make([]uint32, old.rows) // by old row: one more than the new one
	for row := range old.rows {
		if at := *old.stamps.at(row); at != Gone {
			t.push(old.keys.at(row), *old.vals.at(row), at)
			moved[row] = uint32(t.rows)
		}
	}
	t.index = newIndex(t.live)
	for _, s := range old.index.slots {
		if s.row != 0 {
			t.index.add(slot{hash: s.hash, row: moved[s.row-1]})
		}
	}
	return true
}
