package table

import (
	"iter"
	"math"
	"unsafe"
)

// never stamps a row whose key was removed.
const never = math.MinInt64

// compactAt is how many rows a table has before it is worth compacting.
const compactAt = 64

// State is a table that lasts: every row carries the time of its last change, and keys can be removed. It may be read
// by several goroutines at a time; Set, Put, Remove, Compact and Forget exclude everything else.
//
// Iteration is in order of insertion, where a key that was removed and put again counts from then on. Compacting keeps
// the order and changes the numbers of rows: a number is good until the next Compact.
//
// Invariant: keys, vals, hashes and stamps are of one length; the index has the rows that are not stamped never.
type State[K comparable, V any] struct {
	index  index
	keys   []K
	vals   []V
	hashes []uint32 // low halves, for Remove and Compact
	stamps []int64
	live   int
	gone   []removal[K]
	own    func(*K)
	arena  arena
}

// removal is a key that was removed at a time.
type removal[K comparable] struct {
	key K
	at  int64
}

// NewState makes an empty table. own makes a key independent of other memory when it is put; strings go to an arena of
// the table instead.
func NewState[K comparable, V any](own func(*K)) *State[K, V] {
	t := &State[K, V]{index: newIndex(0), own: own}
	if inArena[K]() {
		t.own = func(k *K) { t.arena.own((*string)(unsafe.Pointer(k))) } // K is string
	}
	return t
}

// Len is the number of keys.
func (t *State[K, V]) Len() int { return t.live }

// Rows is the number of rows, those of removed keys included: rows are numbered from 0.
func (t *State[K, V]) Rows() int { return len(t.keys) }

// Live says whether the row has a key that was not removed.
func (t *State[K, V]) Live(row int) bool { return t.stamps[row] != never }

// Stamp is the time of the row's last change.
func (t *State[K, V]) Stamp(row int) int64 { return t.stamps[row] }

// Key gives the key of a row.
func (t *State[K, V]) Key(row int) K { return t.keys[row] }

// Value gives the value of a row; the table's own memory, not to be written to.
func (t *State[K, V]) Value(row int) *V { return &t.vals[row] }

// Find gives the row of a key, -1 if it has none.
func (t *State[K, V]) Find(hash uint64, key K) int {
	row, _ := t.search(uint32(hash), key)
	return row
}

// FindAll is Find for many keys: rows gets the row of each, -1 for none.
func (t *State[K, V]) FindAll(hashes []uint64, keys []K, rows []int32) {
	for i, h := range hashes {
		rows[i] = int32(t.Find(h, keys[i]))
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
		if s.hash == h && t.keys[s.row-1] == key {
			return int(s.row - 1), i
		}
	}
}

// Set gives the row another value.
func (t *State[K, V]) Set(row int, v V, at int64) { t.vals[row], t.stamps[row] = v, at }

// Put gives the key a value, in its row or in a new last one.
func (t *State[K, V]) Put(hash uint64, key K, v V, at int64) {
	h := uint32(hash)
	row, free := t.search(h, key)
	if row >= 0 {
		t.Set(row, v, at)
		return
	}
	if len(t.keys) >= maxRows {
		panic("table: more than 2^31 keys in one partition")
	}
	t.own(&key)
	t.keys, t.vals = append(t.keys, key), append(t.vals, v)
	t.hashes, t.stamps = append(t.hashes, h), append(t.stamps, at)
	t.live++
	t.index.fill(free, h, len(t.keys)-1, t.live)
}

// Remove removes the row's key.
func (t *State[K, V]) Remove(row int, at int64) {
	t.index.drop(t.hashes[row], row)
	t.gone = append(t.gone, removal[K]{t.keys[row], at})
	t.keys[row], t.vals[row] = *new(K), *new(V)
	t.stamps[row] = never
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
	if len(t.keys) < compactAt || t.live*2 >= len(t.keys) {
		return false
	}
	old := *t
	t.index, t.arena = newIndex(t.live), arena{}
	t.keys, t.vals = make([]K, 0, t.live), make([]V, 0, t.live)
	t.hashes, t.stamps = make([]uint32, 0, t.live), make([]int64, 0, t.live)
	for row, at := range old.stamps {
		if at == never {
			continue
		}
		key := old.keys[row]
		if inArena[K]() {
			t.own(&key) // so that the old arena goes, with the strings of removed keys in it
		}
		t.keys, t.vals = append(t.keys, key), append(t.vals, old.vals[row])
		t.hashes, t.stamps = append(t.hashes, old.hashes[row]), append(t.stamps, at)
		t.index.add(slot{hash: old.hashes[row], row: uint32(len(t.keys))})
	}
	return true
}
