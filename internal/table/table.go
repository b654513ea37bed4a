// Package table owns the hash tables of combiners (Table) and of keyed state (State): keys and values in dense rows, in
// order of insertion, behind an index of (hash, row) slots. It is engine internals, without compatibility promise.
//
// It promises that keys are copied when they are put, and that iteration is in order of insertion (rule 6). It must not
// know how keys are hashed, how rows are written or what values mean.
package table

import (
	"strings"
	"unsafe"
)

// Table maps keys to values; its rows keep their numbers. It is not safe for concurrent use.
//
// Invariant: len(keys) == len(vals).
type Table[K comparable, V any] struct {
	index
	keys  []K
	vals  []V
	own   func(*K)
	arena arena
}

// New makes an empty table. own makes a key independent of other memory when it is first put; strings go to an arena of
// the table instead. With a nil own, keys are kept as they come.
func New[K comparable, V any](own func(*K)) *Table[K, V] {
	t := &Table[K, V]{index: newIndex(0), own: own}
	if own != nil && isString[K]() {
		t.own = func(k *K) { t.arena.own((*string)(unsafe.Pointer(k))) } // K is string
	}
	return t
}

// Len is the number of rows.
func (t *Table[K, V]) Len() int { return len(t.keys) }

// Row gives the value of the key, and whether it was there; else the key is put with a zero value. The pointer is
// valid until the next Row. The hash must be the same for every == key.
func (t *Table[K, V]) Row(hash uint64, key K) (v *V, found bool) {
	h, mask := uint32(hash), t.mask()
	for i := h & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.row == 0 {
			return t.put(i, h, key), false
		}
		if s.hash == h && t.keys[s.row-1] == key {
			return &t.vals[s.row-1], true
		}
	}
}

// Find gives the number of the key's row, in the order of insertion, -1 if it has none.
func (t *Table[K, V]) Find(hash uint64, key K) int {
	h, mask := uint32(hash), t.mask()
	for i := h & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.row == 0 {
			return -1
		}
		if s.hash == h && t.keys[s.row-1] == key {
			return int(s.row - 1)
		}
	}
}

// FindAll is Find of many keys: what does not depend on each other is looked up at the same time.
func (t *Table[K, V]) FindAll(hashes []uint64, keys []K, rows []int32) {
	mask := t.mask()
	for i, hash := range hashes {
		h := uint32(hash)
		rows[i] = -1
		for at := h & mask; t.slots[at].row != 0; at = (at + 1) & mask {
			if t.slots[at].hash == h {
				rows[i] = int32(t.slots[at].row - 1)
				break
			}
		}
	}
	for i, row := range rows[:len(hashes)] {
		if row >= 0 && t.keys[row] != keys[i] { // another key of the same hash
			rows[i] = int32(t.Find(hashes[i], keys[i]))
		}
	}
}

// put adds a row for a key whose search ended at the empty slot i.
func (t *Table[K, V]) put(i, h uint32, key K) *V {
	if len(t.keys) >= maxRows {
		panic("table: more than 2^31 keys in one partition")
	}
	t.keys = append(t.keys, key)
	if t.own != nil {
		t.own(&t.keys[len(t.keys)-1])
	}
	t.vals = append(t.vals, *new(V))
	t.fill(i, h, len(t.keys)-1, len(t.keys))
	return &t.vals[len(t.vals)-1]
}

// Keys are the keys in order of insertion; the table's own memory.
func (t *Table[K, V]) Keys() []K { return t.keys }

// Values are the values in the order of Keys; the table's own memory.
func (t *Table[K, V]) Values() []V { return t.vals }

const (
	firstChunk = 4 << 10
	maxChunk   = 256 << 10
)

// arena copies strings into few large pieces of memory, which live as long as any of their strings.
type arena struct {
	free []byte
	next int
}

// own replaces *s by a copy of it in the arena.
func (a *arena) own(s *string) {
	if len(*s) > len(a.free) {
		if len(*s) > maxChunk/4 {
			*s = strings.Clone(*s)
			return
		}
		a.next = min(max(firstChunk, 2*a.next), maxChunk)
		a.free = make([]byte, max(a.next, len(*s)))
	}
	n := copy(a.free, *s)
	*s = unsafe.String(unsafe.SliceData(a.free), n)
	a.free = a.free[n:]
}
