package codec

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"time"
	"unsafe"
)

func timePart() *part {
	canonical := func(p unsafe.Pointer) { *(*time.Time)(p) = (*(*time.Time)(p)).Round(0).UTC() }
	return &part{
		name: "time.Time", min: 2, fixed: true,
		append: func(dst []byte, p unsafe.Pointer) []byte {
			t := (*time.Time)(p)
			return binary.AppendUvarint(binary.AppendVarint(dst, t.Unix()), uint64(t.Nanosecond()))
		},
		read: func(src []byte, p unsafe.Pointer) ([]byte, error) {
			sec, k := binary.Varint(src)
			if k <= 0 {
				return nil, damaged("no time.Time")
			}
			nano, n := binary.Uvarint(src[k:])
			if n <= 0 || nano >= uint64(time.Second) {
				return nil, damaged("no nanoseconds of a time.Time")
			}
			*(*time.Time)(p) = time.Unix(sec, int64(nano)).UTC()
			return src[k+n:], nil
		},
		own: canonical, normal: canonical,
		hash: func(p unsafe.Pointer) uint64 {
			t := (*time.Time)(p)
			return chain(hashWord(uint64(t.Unix())), uint64(t.Nanosecond()))
		},
	}
}

// binaryPart uses the methods of t. A key of such a type must be == to its decoded encoding.
func binaryPart(t reflect.Type) *part {
	encode := func(p unsafe.Pointer) []byte {
		v := reflect.NewAt(t, p).Interface()
		var b []byte
		var err error
		if a, ok := v.(encoding.BinaryAppender); ok {
			b, err = a.AppendBinary(nil)
		} else {
			b, err = v.(encoding.BinaryMarshaler).MarshalBinary()
		}
		if err != nil {
			// Appending has no error result; like any fault of user code this ends the task.
			panic(fmt.Errorf("codec: encoding a %v: %w", t, err))
		}
		return b
	}
	// The cell is emptied first: UnmarshalBinary may reuse memory of the value that the cell held before.
	decode := func(b []byte, p unsafe.Pointer) error {
		v := reflect.NewAt(t, p)
		v.Elem().SetZero()
		return v.Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(b)
	}
	return &part{
		name: t.String() + "(binary)", min: 1,
		append: func(dst []byte, p unsafe.Pointer) []byte {
			b := encode(p)
			return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
		},
		read: func(src []byte, p unsafe.Pointer) ([]byte, error) {
			n, src, err := readLen(src, 1, t.String())
			if err != nil {
				return nil, err
			}
			if err := decode(src[:n:n], p); err != nil {
				return nil, errors.Join(damaged("%v refused by UnmarshalBinary", t), err)
			}
			return src[n:], nil
		},
		own: func(p unsafe.Pointer) {
			b := encode(p)
			if err := decode(b, p); err != nil {
				panic(fmt.Errorf("codec: decoding a %v just encoded: %w", t, err))
			}
		},
		hash: func(p unsafe.Pointer) uint64 {
			b := encode(p)
			return hashString(unsafe.String(unsafe.SliceData(b), len(b)))
		},
	}
}
