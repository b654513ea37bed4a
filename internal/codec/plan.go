package codec

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unsafe"
)

// part is the codec of a type known by reflection alone. Its functions take the address of a value: structs and arrays
// add offsets to it, so that nothing is boxed. Addresses are of live Go values throughout.
type part struct {
	name   string
	min    int
	fixed  bool
	noKey  string // why values cannot be keys, "" if they can
	append func(dst []byte, p unsafe.Pointer) []byte
	read   func(src []byte, p unsafe.Pointer) ([]byte, error)
	own    func(p unsafe.Pointer) // nil: nothing to do
	same   func(a, b unsafe.Pointer) bool
	hash   func(p unsafe.Pointer) uint64
	normal func(p unsafe.Pointer) // nil: nothing to do
}

func lift[T any](c *Codec[T], name string) *part {
	p := &part{
		name: name, min: c.Min, fixed: c.Fixed,
		append: func(dst []byte, p unsafe.Pointer) []byte { return c.Append(dst, (*T)(p)) },
		read:   func(src []byte, p unsafe.Pointer) ([]byte, error) { return c.Read(src, (*T)(p)) },
		same:   func(a, b unsafe.Pointer) bool { return c.Same((*T)(a), (*T)(b)) },
		hash:   func(p unsafe.Pointer) uint64 { return c.Hash((*T)(p)) },
	}
	if !c.Plain {
		p.own = func(p unsafe.Pointer) { c.Own((*T)(p)) }
	}
	return p
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	appenderType    = reflect.TypeFor[encoding.BinaryAppender]()
	marshalerType   = reflect.TypeFor[encoding.BinaryMarshaler]()
	unmarshalerType = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

// builder resolves one type; open holds the types around the current one, to refuse types that contain themselves.
type builder struct{ open []reflect.Type }

func (b *builder) build(t reflect.Type, path string) (*part, error) {
	if t == timeType {
		return timePart(), nil
	}
	if encodesItself(t) {
		return binaryPart(t), nil
	}
	if p := scalar(t); p != nil {
		return p, nil
	}
	if isProto(t) {
		return protoPart(t), nil
	}
	for _, o := range b.open {
		if o == t {
			return nil, fmt.Errorf("%s: type %v contains itself", path, t)
		}
	}
	b.open = append(b.open, t)
	defer func() { b.open = b.open[:len(b.open)-1] }()
	switch t.Kind() {
	case reflect.Struct:
		if isProto(reflect.PointerTo(t)) {
			return nil, fmt.Errorf("%s: a protobuf message is encoded as a pointer: use *%v", path, t)
		}
		return b.structPart(t, path)
	case reflect.Array:
		return b.arrayPart(t, path)
	case reflect.Slice:
		return b.slicePart(t, path)
	}
	return nil, fmt.Errorf("%s: a %v has no encoding (use structs of exported fields, slices, arrays, strings, numbers, bool, time.Time, pointers to protobuf messages, or a type with AppendBinary and UnmarshalBinary)",
		path, t.Kind())
}

// scalar gives the codec of strings, numbers and bools, also of named types of such kinds.
func scalar(t reflect.Type) *part {
	switch t.Kind() {
	case reflect.String:
		return lift(&stringCodec, t.String())
	case reflect.Int:
		return lift(signed[int]("int"), t.String())
	case reflect.Int8:
		return lift(&int8Codec, t.String())
	case reflect.Int16:
		return lift(signed[int16]("int16"), t.String())
	case reflect.Int32:
		return lift(signed[int32]("int32"), t.String())
	case reflect.Int64:
		return lift(signed[int64]("int64"), t.String())
	case reflect.Uint:
		return lift(unsigned[uint]("uint"), t.String())
	case reflect.Uint8:
		return lift(&uint8Codec, t.String())
	case reflect.Uint16:
		return lift(unsigned[uint16]("uint16"), t.String())
	case reflect.Uint32:
		return lift(unsigned[uint32]("uint32"), t.String())
	case reflect.Uint64:
		return lift(unsigned[uint64]("uint64"), t.String())
	case reflect.Float32:
		return lift(&float32Codec, t.String())
	case reflect.Float64:
		return lift(&float64Codec, t.String())
	case reflect.Bool:
		return lift(&boolCodec, t.String())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return lift(&bytesCodec, t.String())
		}
	}
	return nil
}

type field struct {
	*part
	offset uintptr
}

func (b *builder) structPart(t reflect.Type, path string) (*part, error) {
	var fields []field
	var names []string
	whole := &part{fixed: true}
	var owned, normal []field
	for i := range t.NumField() {
		f := t.Field(i)
		at := path + "." + f.Name
		if !f.IsExported() {
			return nil, fmt.Errorf("%s: the field is not exported", at)
		}
		p, err := b.build(f.Type, at)
		if err != nil {
			return nil, err
		}
		in := field{p, f.Offset}
		fields = append(fields, in)
		if p.own != nil {
			owned = append(owned, in)
		}
		if p.normal != nil {
			normal = append(normal, in)
		}
		names = append(names, f.Name+" "+p.name)
		whole.min += p.min
		whole.fixed = whole.fixed && p.fixed
		if p.noKey != "" && whole.noKey == "" {
			whole.noKey = f.Name + ": " + p.noKey
		}
	}
	whole.name = "{" + strings.Join(names, ";") + "}"
	if t.Name() != "" {
		whole.name = t.String() + whole.name
	}
	whole.append = func(dst []byte, p unsafe.Pointer) []byte {
		for i := range fields {
			dst = fields[i].append(dst, unsafe.Add(p, fields[i].offset))
		}
		return dst
	}
	whole.read = func(src []byte, p unsafe.Pointer) ([]byte, error) {
		var err error
		for i := range fields {
			if src, err = fields[i].read(src, unsafe.Add(p, fields[i].offset)); err != nil {
				return nil, err
			}
		}
		return src, nil
	}
	whole.same = func(a, b unsafe.Pointer) bool {
		for i := range fields {
			if !fields[i].same(unsafe.Add(a, fields[i].offset), unsafe.Add(b, fields[i].offset)) {
				return false
			}
		}
		return true
	}
	whole.hash = func(p unsafe.Pointer) uint64 {
		h := uint64(root5)
		for i := range fields {
			h = chain(h, fields[i].hash(unsafe.Add(p, fields[i].offset)))
		}
		return h
	}
	whole.own = each(owned, func(f field) func(unsafe.Pointer) { return f.own })
	whole.normal = each(normal, func(f field) func(unsafe.Pointer) { return f.normal })
	return whole, nil
}

// each gives a function that calls do of every field, or nil if there is none.
func each(fields []field, do func(field) func(unsafe.Pointer)) func(unsafe.Pointer) {
	if len(fields) == 0 {
		return nil
	}
	return func(p unsafe.Pointer) {
		for _, f := range fields {
			do(f)(unsafe.Add(p, f.offset))
		}
	}
}

func (b *builder) arrayPart(t reflect.Type, path string) (*part, error) {
	e, err := b.build(t.Elem(), path+"[]")
	if err != nil {
		return nil, err
	}
	n, size := t.Len(), t.Elem().Size()
	a := &part{name: fmt.Sprintf("[%d]%s", n, e.name), min: n * e.min, fixed: e.fixed, noKey: e.noKey}
	if t.Name() != "" {
		a.name = t.String() + a.name
	}
	a.append = func(dst []byte, p unsafe.Pointer) []byte {
		for i := range n {
			dst = e.append(dst, unsafe.Add(p, uintptr(i)*size))
		}
		return dst
	}
	a.read = func(src []byte, p unsafe.Pointer) ([]byte, error) {
		var err error
		for i := range n {
			if src, err = e.read(src, unsafe.Add(p, uintptr(i)*size)); err != nil {
				return nil, err
			}
		}
		return src, nil
	}
	a.same = func(x, y unsafe.Pointer) bool {
		for i := range n {
			if !e.same(unsafe.Add(x, uintptr(i)*size), unsafe.Add(y, uintptr(i)*size)) {
				return false
			}
		}
		return true
	}
	a.hash = func(p unsafe.Pointer) uint64 {
		h := uint64(root3)
		for i := range n {
			h = chain(h, e.hash(unsafe.Add(p, uintptr(i)*size)))
		}
		return h
	}
	all := func(f func(unsafe.Pointer)) func(unsafe.Pointer) {
		if f == nil {
			return nil
		}
		return func(p unsafe.Pointer) {
			for i := range n {
				f(unsafe.Add(p, uintptr(i)*size))
			}
		}
	}
	a.own, a.normal = all(e.own), all(e.normal)
	return a, nil
}
