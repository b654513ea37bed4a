package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unsafe"
)

func damaged(what string, args ...any) error {
	return fmt.Errorf("%w: "+what, append([]any{ErrDamaged}, args...)...)
}

func nothing[T any](*T) {}

func equal[T comparable](a, b *T) bool { return *a == *b }

// readLen reads a length and checks that as many units of unit bytes can follow.
func readLen(src []byte, unit int, what string) (int, []byte, error) {
	n, k := binary.Uvarint(src)
	if k <= 0 {
		return 0, nil, damaged("length of a %s cut off or too long", what)
	}
	src = src[k:]
	if n > uint64(len(src)/unit) {
		return 0, nil, damaged("%s of length %d in %d bytes", what, n, len(src))
	}
	return int(n), src, nil
}

var stringCodec = Codec[string]{
	Name: "string", Min: 1, Fixed: true,
	Append: func(dst []byte, v *string) []byte {
		return append(binary.AppendUvarint(dst, uint64(len(*v))), *v...)
	},
	Read: func(src []byte, v *string) ([]byte, error) {
		// Most strings are short: their length is one byte.
		if len(src) > 0 && src[0] < 0x80 && int(src[0]) < len(src) {
			n := int(src[0])
			*v = unsafe.String(unsafe.SliceData(src[1:]), n)
			return src[1+n:], nil
		}
		n, src, err := readLen(src, 1, "string")
		if err != nil {
			return nil, err
		}
		*v = unsafe.String(unsafe.SliceData(src), n)
		return src[n:], nil
	},
	Own:  func(v *string) { *v = strings.Clone(*v) },
	Same: equal[string],
	Hash: func(v *string) uint64 { return hashString(*v) },
}

// bytesCodec copies on reading: user code may write to a []byte, and a block must not change.
var bytesCodec = Codec[[]byte]{
	Name: "[]uint8", Min: 1,
	Append: func(dst []byte, v *[]byte) []byte {
		return append(binary.AppendUvarint(dst, uint64(len(*v))), *v...)
	},
	Read: func(src []byte, v *[]byte) ([]byte, error) {
		n, src, err := readLen(src, 1, "[]byte")
		if err != nil {
			return nil, err
		}
		*v = cloneBytes(src[:n])
		return src[n:], nil
	},
	Own:  func(v *[]byte) { *v = cloneBytes(*v) },
	Same: func(a, b *[]byte) bool { return bytes.Equal(*a, *b) },
	Hash: func(v *[]byte) uint64 { return hashString(unsafe.String(unsafe.SliceData(*v), len(*v))) },
}

// cloneBytes copies b to exactly its length; nothing becomes nil.
func cloneBytes(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	c := make([]byte, len(b))
	copy(c, b)
	return c
}

func signed[T int | int16 | int32 | int64](name string) *Codec[T] {
	return &Codec[T]{
		Name: name, Min: 1, Plain: true, Fixed: true,
		Append: func(dst []byte, v *T) []byte { return binary.AppendVarint(dst, int64(*v)) },
		Read: func(src []byte, v *T) ([]byte, error) {
			x, k := binary.Varint(src)
			if k <= 0 || int64(T(x)) != x {
				return nil, damaged("no %s", name)
			}
			*v = T(x)
			return src[k:], nil
		},
		Own:  nothing[T],
		Same: equal[T],
		Hash: func(v *T) uint64 { return hashWord(uint64(*v)) },
	}
}

func unsigned[T uint | uint16 | uint32 | uint64](name string) *Codec[T] {
	return &Codec[T]{
		Name: name, Min: 1, Plain: true, Fixed: true,
		Append: func(dst []byte, v *T) []byte { return binary.AppendUvarint(dst, uint64(*v)) },
		Read: func(src []byte, v *T) ([]byte, error) {
			x, k := binary.Uvarint(src)
			if k <= 0 || uint64(T(x)) != x {
				return nil, damaged("no %s", name)
			}
			*v = T(x)
			return src[k:], nil
		},
		Own:  nothing[T],
		Same: equal[T],
		Hash: func(v *T) uint64 { return hashWord(uint64(*v)) },
	}
}

var int8Codec = Codec[int8]{
	Name: "int8", Min: 1, Plain: true, Fixed: true,
	Append: func(dst []byte, v *int8) []byte { return append(dst, byte(*v)) },
	Read: func(src []byte, v *int8) ([]byte, error) {
		if len(src) < 1 {
			return nil, damaged("no int8")
		}
		*v = int8(src[0])
		return src[1:], nil
	},
	Own:  nothing[int8],
	Same: equal[int8],
	Hash: func(v *int8) uint64 { return hashWord(uint64(*v)) },
}

var uint8Codec = Codec[uint8]{
	Name: "uint8", Min: 1, Plain: true, Fixed: true,
	Append: func(dst []byte, v *uint8) []byte { return append(dst, *v) },
	Read: func(src []byte, v *uint8) ([]byte, error) {
		if len(src) < 1 {
			return nil, damaged("no uint8")
		}
		*v = src[0]
		return src[1:], nil
	},
	Own:  nothing[uint8],
	Same: equal[uint8],
	Hash: func(v *uint8) uint64 { return hashWord(uint64(*v)) },
}

var boolCodec = Codec[bool]{
	Name: "bool", Min: 1, Plain: true, Fixed: true,
	Append: func(dst []byte, v *bool) []byte {
		if *v {
			return append(dst, 1)
		}
		return append(dst, 0)
	},
	Read: func(src []byte, v *bool) ([]byte, error) {
		if len(src) < 1 || src[0] > 1 {
			return nil, damaged("no bool")
		}
		*v = src[0] == 1
		return src[1:], nil
	},
	Own:  nothing[bool],
	Same: equal[bool],
	Hash: func(v *bool) uint64 {
		if *v {
			return hashWord(1)
		}
		return hashWord(0)
	},
}

var float32Codec = Codec[float32]{
	Name: "float32", Min: 4, Plain: true, Fixed: true,
	Append: func(dst []byte, v *float32) []byte {
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(*v))
	},
	Read: func(src []byte, v *float32) ([]byte, error) {
		if len(src) < 4 {
			return nil, damaged("no float32")
		}
		*v = math.Float32frombits(binary.LittleEndian.Uint32(src))
		return src[4:], nil
	},
	Own:  nothing[float32],
	Same: func(a, b *float32) bool { return math.Float32bits(*a) == math.Float32bits(*b) },
	Hash: func(v *float32) uint64 { return hashFloat(float64(*v)) },
}

var float64Codec = Codec[float64]{
	Name: "float64", Min: 8, Plain: true, Fixed: true,
	Append: func(dst []byte, v *float64) []byte {
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(*v))
	},
	Read: func(src []byte, v *float64) ([]byte, error) {
		if len(src) < 8 {
			return nil, damaged("no float64")
		}
		*v = math.Float64frombits(binary.LittleEndian.Uint64(src))
		return src[8:], nil
	},
	Own:  nothing[float64],
	Same: func(a, b *float64) bool { return math.Float64bits(*a) == math.Float64bits(*b) },
	Hash: func(v *float64) uint64 { return hashFloat(*v) },
}

// hashFloat gives both zeros, which are ==, one hash.
func hashFloat(v float64) uint64 {
	if v == 0 {
		return hashWord(0)
	}
	return hashWord(math.Float64bits(v))
}

var unitCodec = Codec[struct{}]{
	Name: "struct{}", Plain: true, Fixed: true,
	Append: func(dst []byte, _ *struct{}) []byte { return dst },
	Read:   func(src []byte, _ *struct{}) ([]byte, error) { return src, nil },
	Own:    nothing[struct{}],
	Same:   equal[struct{}],
	Hash:   func(*struct{}) uint64 { return hashWord(0) },
}
