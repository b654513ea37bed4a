package codec

import (
	"errors"
	"fmt"
	"reflect"
	"unsafe"
)

// ErrDamaged says that bytes are not the encoding of a value.
var ErrDamaged = errors.New("damaged encoding")

// Codec writes and reads values of T. Its functions take pointers so that no call allocates: callers keep one cell per
// loop or point into their rows. They may be called concurrently.
type Codec[T any] struct {
	// Name describes the type: equal for equal encodings of the same Go type.
	Name string
	// Min is the least number of bytes of an encoding.
	Min int
	// Plain says that Own does nothing: values refer to no memory of others.
	Plain bool
	// Fixed says that nothing can be changed through a copy of a value: it holds no slice.
	Fixed bool
	// Append appends the encoding of *v.
	Append func(dst []byte, v *T) []byte
	// Read reads a value into *v and gives the bytes after it. Strings in it are views into src, which must not be
	// written to from then on.
	Read func(src []byte, v *T) ([]byte, error)
	// Own replaces *v by a deep copy that refers to no memory of others. It is what Read gives for what Append
	// makes: times lose their location, slices without elements are nil.
	// Invariant: an owned value and its decoded encoding cannot be told apart, so that results do not depend on
	// which records crossed a process boundary (rule 6).
	Own func(v *T)
	// Same says whether the encodings of two values are equal; it costs about what comparing them costs.
	Same func(a, b *T) bool
	// Hash is the same in every process for values that are ==.
	Hash func(v *T) uint64
	// Normal, if not nil, gives a key the one form under which equal keys are ==; call it before Hash and before a
	// comparison.
	Normal func(v *T)

	noKey string // why values cannot be keys; "" if they can
}

// For resolves the codec of T. The error names the field that has none, and why.
func For[T any]() (*Codec[T], error) {
	if c := basic[T](); c != nil {
		return c, nil
	}
	t := reflect.TypeFor[T]()
	b := builder{}
	p, err := b.build(t, t.String())
	if err != nil {
		return nil, fmt.Errorf("type %v cannot be encoded: %w", t, err)
	}
	return fromPart[T](p), nil
}

// AppendRow appends *v as a row: at least one byte, so that rows can be counted and a damaged count is noticed.
func (c *Codec[T]) AppendRow(dst []byte, v *T) []byte {
	if dst = c.Append(dst, v); c.Min == 0 {
		dst = append(dst, 0)
	}
	return dst
}

// ReadRow reads what AppendRow wrote.
func (c *Codec[T]) ReadRow(src []byte, v *T) ([]byte, error) {
	if c.Min > 0 {
		return c.Read(src, v)
	}
	src, err := c.Read(src, v)
	if err == nil && (len(src) == 0 || src[0] != 0) {
		return nil, damaged("row of a %s", c.Name)
	}
	if err != nil {
		return nil, err
	}
	return src[1:], nil
}

// ReadCount reads the number of rows that follow, which is at most the number of bytes that follow.
func ReadCount(src []byte) (int, []byte, error) { return readLen(src, 1, "list of rows") }

// basic gives the codecs that are written by hand; their functions are called without a detour.
func basic[T any]() *Codec[T] {
	var c any
	switch any((*T)(nil)).(type) {
	case *string:
		c = &stringCodec
	case *[]byte:
		c = &bytesCodec
	case *int:
		c = signed[int]("int")
	case *int8:
		c = &int8Codec
	case *int16:
		c = signed[int16]("int16")
	case *int32:
		c = signed[int32]("int32")
	case *int64:
		c = signed[int64]("int64")
	case *uint:
		c = unsigned[uint]("uint")
	case *uint8:
		c = &uint8Codec
	case *uint16:
		c = unsigned[uint16]("uint16")
	case *uint32:
		c = unsigned[uint32]("uint32")
	case *uint64:
		c = unsigned[uint64]("uint64")
	case *float32:
		c = &float32Codec
	case *float64:
		c = &float64Codec
	case *bool:
		c = &boolCodec
	case *struct{}:
		c = &unitCodec
	case *[]string:
		c = sliceOf(&stringCodec)
	case *[]int:
		c = sliceOf(signed[int]("int"))
	case *[]int64:
		c = sliceOf(signed[int64]("int64"))
	case *[]float64:
		c = sliceOf(&float64Codec)
	default:
		return nil
	}
	return c.(*Codec[T])
}

func fromPart[T any](p *part) *Codec[T] {
	c := &Codec[T]{
		Name: p.name, Min: p.min, Plain: p.own == nil, Fixed: p.fixed, noKey: p.noKey,
		Append: func(dst []byte, v *T) []byte { return p.append(dst, unsafe.Pointer(v)) },
		Read:   func(src []byte, v *T) ([]byte, error) { return p.read(src, unsafe.Pointer(v)) },
		Own:    func(*T) {},
		Same:   func(a, b *T) bool { return p.same(unsafe.Pointer(a), unsafe.Pointer(b)) },
		Hash:   func(v *T) uint64 { return p.hash(unsafe.Pointer(v)) },
	}
	if p.own != nil {
		c.Own = func(v *T) { p.own(unsafe.Pointer(v)) }
	}
	if p.normal != nil {
		c.Normal = func(v *T) { p.normal(unsafe.Pointer(v)) }
	}
	return c
}
