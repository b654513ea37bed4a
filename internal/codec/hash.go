package codec

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// Odd words without structure: fractions of the golden ratio and of the roots of 2, 3 and 5.
const (
	golden = 0x9e3779b97f4a7c15
	root2  = 0x6a09e667f3bcc909
	root3  = 0xbb67ae8584caa73b
	root5  = 0x3c6ef372fe94f82b
)

// fold multiplies to 128 bits and folds the halves together: every bit of a and b reaches every bit of the result.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hashWord hashes one word. The hash decides which reducer a key goes to: it must never change (rule 6).
func hashWord(v uint64) uint64 { return fold(fold(v^golden, root2)^root3, root5) }

// chain adds the hash of a further part to h.
func chain(h, part uint64) uint64 { return fold(h^root2, part^golden) }

// hashString hashes bytes: 16 at a time, the rest as two words that may overlap.
func hashString(s string) uint64 {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	n := len(b)
	h := uint64(root3)
	var first, last uint64
	switch {
	case n > 16:
		for ; len(b) > 16; b = b[16:] {
			h = fold(h^binary.LittleEndian.Uint64(b), golden^binary.LittleEndian.Uint64(b[8:]))
		}
		end := unsafe.Slice(unsafe.StringData(s), n)[n-16:]
		first, last = binary.LittleEndian.Uint64(end), binary.LittleEndian.Uint64(end[8:])
	case n >= 8:
		first, last = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[n-8:])
	case n >= 4:
		first, last = uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[n-4:]))
	case n > 0:
		first = uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16
	}
	return fold(fold(first^root2, last^h)^uint64(n), root5^h)
}

// Reducer maps a hash to one of n partitions by its high bits; hash tables use the low ones.
func Reducer(hash uint64, n int) int {
	hi, _ := bits.Mul64(hash, uint64(n))
	return int(hi)
}
