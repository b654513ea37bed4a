package table

import (
	"fmt"
	"unsafe"
)

const (
	columnBits = 12
	columnRows = 1 << columnBits
	textBits   = 8
	textRows   = 1 << textBits
	// MaxKey bounds the bytes of a string key: positions in a piece of texts have 32 bits.
	MaxKey = 1<<32/textRows - 1
)

// column is one value for each row, in pieces of columnRows: it grows by a piece, without copying what is there.
type column[T any] struct{ pieces [][]T }

func (c *column[T]) at(row int) *T { return &c.pieces[row>>columnBits][row&(columnRows-1)] }

func (c *column[T]) push(v T) {
	last := len(c.pieces) - 1
	switch {
	case last < 0:
		c.pieces, last = append(c.pieces, nil), 0
	case len(c.pieces[last]) == columnRows:
		c.pieces, last = append(c.pieces, make([]T, 0, columnRows)), last+1
	}
	c.pieces[last] = append(c.pieces[last], v)
}

// keyColumn is one key for each row. Strings have no header of their own: so they take little memory, and the garbage
// collector has nothing to look at.
type keyColumn[K comparable] struct {
	keys  column[K]
	texts []texts // of string keys, in pieces of textRows
	own   func(*K)
}

// texts are strings one after the other. Bytes that were written stay as they are: strings are views into them.
type texts struct {
	bytes []byte
	ends  *[textRows]uint32
}

func isString[K any]() bool {
	_, ok := any((*K)(nil)).(*string)
	return ok
}

// KeyBytes is the length of a key that is a string, else 0.
func KeyBytes[K comparable](key K) int {
	if !isString[K]() {
		return 0
	}
	return len(*(*string)(unsafe.Pointer(&key))) // K is string
}

func (c *keyColumn[K]) at(row int) K {
	if isString[K]() {
		s := c.text(row)
		return *(*K)(unsafe.Pointer(&s)) // K is string
	}
	return *c.keys.at(row)
}

func (c *keyColumn[K]) text(row int) string {
	t := &c.texts[row>>textBits]
	i := row & (textRows - 1)
	from := uint32(0)
	if i > 0 {
		from = t.ends[i-1]
	}
	return unsafe.String(unsafe.SliceData(t.bytes[from:]), t.ends[i]-from)
}

// touch reads where the bytes of a string key are.
func (c *keyColumn[K]) touch(row int) uint32 {
	if !isString[K]() {
		return 0
	}
	return c.texts[row>>textBits].ends[row&(textRows-1)]
}

// push adds the key of row, the next one, independent of other memory.
func (c *keyColumn[K]) push(row int, key K) {
	if !isString[K]() {
		c.keys.push(key)
		c.own(c.keys.at(row))
		return
	}
	s := *(*string)(unsafe.Pointer(&key)) // K is string
	if len(s) > MaxKey {
		panic(fmt.Sprintf("table: a key of %d bytes, at most %d are possible", len(s), MaxKey))
	}
	i := row & (textRows - 1)
	if i == 0 {
		c.texts = append(c.texts, texts{ends: new([textRows]uint32)})
	}
	t := &c.texts[row>>textBits]
	t.bytes = append(t.bytes, s...)
	if t.ends[i] = uint32(len(t.bytes)); i == textRows-1 && cap(t.bytes) > len(t.bytes) {
		t.bytes = append(make([]byte, 0, len(t.bytes)), t.bytes...) // no more come
	}
}
