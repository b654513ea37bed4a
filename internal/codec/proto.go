package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"google.golang.org/protobuf/proto"
)

var protoType = reflect.TypeFor[proto.Message]()

// isProto says whether t is a pointer to a generated protobuf message. Structs that embed one have its methods, too, but
// those would write the embedded message alone; messages that are made of a descriptor at run time have none before.
func isProto(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && t.Implements(protoType) &&
		!promoted(t.Elem(), "ProtoReflect") &&
		reflect.New(t.Elem()).Interface().(proto.Message).ProtoReflect().Descriptor() != nil
}

var (
	protoWrite = proto.MarshalOptions{Deterministic: true, AllowPartial: true}
	protoRead  = proto.UnmarshalOptions{AllowPartial: true}
)

// protoPart writes protobuf messages in their deterministic wire format, with fields that this program does not know.
// Reading copies all bytes.
func protoPart(t reflect.Type) *part {
	encode := func(dst []byte, p unsafe.Pointer) []byte {
		if *(*unsafe.Pointer)(p) == nil {
			return append(dst, 0)
		}
		m := reflect.NewAt(t, p).Elem().Interface().(proto.Message)
		options := protoWrite
		dst = binary.AppendUvarint(dst, uint64(options.Size(m))+1)
		options.UseCachedSize = true
		dst, err := options.MarshalAppend(dst, m)
		if err != nil {
			// Appending has no error result; like any fault of user code this ends the task.
			panic(fmt.Errorf("codec: encoding a %v: %w", t, err))
		}
		return dst
	}
	read := func(src []byte, p unsafe.Pointer) ([]byte, error) {
		n, k := binary.Uvarint(src)
		if k <= 0 {
			return nil, damaged("length of a %v cut off or too long", t)
		}
		src = src[k:]
		v := reflect.NewAt(t, p).Elem()
		if n == 0 {
			v.SetZero()
			return src, nil
		}
		if n--; n > uint64(len(src)) {
			return nil, damaged("%v of length %d in %d bytes", t, n, len(src))
		}
		m := reflect.New(t.Elem())
		if err := protoRead.Unmarshal(src[:n:n], m.Interface().(proto.Message)); err != nil {
			return nil, errors.Join(damaged("no %v", t), err)
		}
		v.Set(m)
		return src[n:], nil
	}
	return &part{
		name: t.String() + "(protobuf)", min: 1, noKey: "pointers are equal if they are the same address",
		append: encode, read: read,
		own: func(p unsafe.Pointer) {
			if _, err := read(encode(nil, p), p); err != nil {
				panic(fmt.Errorf("codec: decoding a %v just encoded: %w", t, err))
			}
		},
		same: func(a, b unsafe.Pointer) bool { return bytes.Equal(encode(nil, a), encode(nil, b)) },
		hash: func(p unsafe.Pointer) uint64 {
			b := encode(nil, p)
			return hashString(unsafe.String(unsafe.SliceData(b), len(b)))
		},
	}
}
