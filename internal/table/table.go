// Package table owns the hash table of combiners: keys and values in dense rows, in order of first insertion, behind an
// index of (hash, row) slots. It is engine internals, without compatibility promise.
//
// It promises that rows never move to another number, that keys are copied once, when they are first put, and that
// iteration is in order of insertion (rule 6). It must not know how keys are hashed or what values mean.
package table

import (
	"unsafe"
)

// slot is an entry of the index: the low half of the key's hash, and its row plus one. Row 0 marks an empty slot.
type slot struct {
	hash uint32
	row  uint32
}

const (
	firstSlots = 64
	maxRows    = 1 << 31
)

// Table maps keys to values. It is not safe for concurrent use.
//
// Invariant: len(keys) == len(vals), and at most three of four slots are in use.
type Table[K comparable, V any] struct {
	slots []slot
	keys  []K
	vals  []V
	own   func(*K)
	arena arena
}

// New makes an empty table. own makes a key independent of other memory when it is first put; strings go to an arena of
// the table instead. With a nil own, keys are kept as they come.
func New[K comparable, V any](own func(*K)) *Table[K, V] {
	t := &Table[K, V]{slots: make([]slot, firstSlots), own: own}
	if _, ok := any((*K)(nil)).(*string); ok && own != nil {
		t.own = func(k *K) {
			s := (*string)(unsafe.Pointer(k)) // K is string
			*s = t.arena.copy(*s)
		}
	}
	return t
}

// Len is the number of rows.
func (t *Table[K, V]) Len() int { return len(t.keys) }

// Row gives the value of the key, and whether it was there; else the key is put with a zero value. The pointer is
// valid until the next Row. The hash must be the same for every == key.
func (t *Table[K, V]) Row(hash uint64, key K) (v *V, found bool) {
	h, mask := uint32(hash), uint32(len(t.slots)-1)
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

// put adds a row for a key whose search ended at the empty slot i.
func (t *Table[K, V]) put(i, h uint32, key K) *V {
	if len(t.keys) >= maxRows {
		panic("table: more than 2^31 keys in one partition")
	}
	if t.own != nil {
		t.own(&key)
	}
	t.keys = append(t.keys, key)
	t.vals = append(t.vals, *new(V))
	t.slots[i] = slot{hash: h, row: uint32(len(t.keys))}
	if len(t.keys)*4 >= len(t.slots)*3 {
		t.grow()
	}
	return &t.vals[len(t.vals)-1]
}

// grow doubles the index. Slots keep enough of the hash, so that keys are not looked at.
func (t *Table[K, V]) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	mask := uint32(len(t.slots) - 1)
	for _, s := range old {
		if s.row == 0 {
			continue
		}
		i := s.hash & mask
		for t.slots[i].row != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = s
	}
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

func (a *arena) copy(s string) string {
	if len(s) > len(a.free) {
		if len(s) > maxChunk/4 {
			return string([]byte(s))
		}
		a.next = min(max(firstChunk, 2*a.next), maxChunk)
		a.free = make([]byte, max(a.next, len(s)))
	}
	n := copy(a.free, s)
	own := unsafe.String(unsafe.SliceData(a.free), n)
	a.free = a.free[n:]
	return own
}
