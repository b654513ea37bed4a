package codec

import (
	"encoding/binary"
	"reflect"
	"unsafe"
)

// slice is the codec of a slice type. Every element is written with one byte at least, so that a damaged length cannot
// ask for more elements than there are bytes.
type slice struct {
	t    reflect.Type
	elem *part
	size uintptr // of an element in memory
	pad  bool    // an element's encoding may be empty: a zero byte follows it
	name string
}

// slicePart resolves a slice type. Slices of the commonest elements are written by hand.
func (b *builder) slicePart(t reflect.Type, path string) (*part, error) {
	name := "[]" + t.Elem().String()
	if t.Name() != "" {
		name = t.String() + name
	}
	if !encodesItself(t.Elem()) {
		switch t.Elem().Kind() {
		case reflect.String:
			return lift(sliceOf(&stringCodec), name), nil
		case reflect.Int:
			return lift(sliceOf(signed[int]("int")), name), nil
		case reflect.Int64:
			return lift(sliceOf(signed[int64]("int64")), name), nil
		case reflect.Float64:
			return lift(sliceOf(&float64Codec), name), nil
		}
	}
	e, err := b.build(t.Elem(), path+"[]")
	if err != nil {
		return nil, err
	}
	s := &slice{t: t, elem: e, size: t.Elem().Size(), pad: e.min == 0, name: "[]" + e.name}
	if t.Name() != "" {
		s.name = t.String() + s.name
	}
	return &part{name: s.name, min: 1, append: s.append, read: s.read, own: s.own, same: s.same, hash: s.hash}, nil
}

// at is the address of element i of the slice at p.
func (s *slice) at(p unsafe.Pointer, i int) unsafe.Pointer {
	return unsafe.Add(*(*unsafe.Pointer)(p), uintptr(i)*s.size)
}

func (s *slice) len(p unsafe.Pointer) int { return reflect.NewAt(s.t, p).Elem().Len() }

func (s *slice) append(dst []byte, p unsafe.Pointer) []byte {
	n := s.len(p)
	dst = binary.AppendUvarint(dst, uint64(n))
	for i := range n {
		if dst = s.elem.append(dst, s.at(p, i)); s.pad {
			dst = append(dst, 0)
		}
	}
	return dst
}

func (s *slice) read(src []byte, p unsafe.Pointer) ([]byte, error) {
	n, src, err := readLen(src, max(1, s.elem.min), s.name)
	if err != nil {
		return nil, err
	}
	v := reflect.NewAt(s.t, p).Elem()
	if n == 0 {
		v.SetZero()
		return src, nil
	}
	v.Set(reflect.MakeSlice(s.t, n, n))
	for i := range n {
		if src, err = s.elem.read(src, s.at(p, i)); err != nil {
			return nil, err
		}
		if !s.pad {
			continue
		}
		if len(src) == 0 || src[0] != 0 {
			return nil, damaged("element %d of %s", i, s.name)
		}
		src = src[1:]
	}
	return src, nil
}

func (s *slice) own(p unsafe.Pointer) {
	old := reflect.NewAt(s.t, p).Elem()
	n := old.Len()
	if n == 0 {
		old.SetZero()
		return
	}
	own := reflect.MakeSlice(s.t, n, n)
	reflect.Copy(own, old)
	old.Set(own)
	if s.elem.own != nil {
		for i := range n {
			s.elem.own(s.at(p, i))
		}
	}
}

func (s *slice) same(a, b unsafe.Pointer) bool {
	n := s.len(a)
	if n != s.len(b) {
		return false
	}
	for i := range n {
		if !s.elem.same(s.at(a, i), s.at(b, i)) {
			return false
		}
	}
	return true
}

func (s *slice) hash(p unsafe.Pointer) uint64 {
	h := uint64(root2)
	for i := range s.len(p) {
		h = chain(h, s.elem.hash(s.at(p, i)))
	}
	return h
}

// sliceOf is the codec of slices of a type that takes one byte at least and refers to no slices: the same encoding as
// that of any slice, without a detour per element.
func sliceOf[T any](e *Codec[T]) *Codec[[]T] {
	name := "[]" + e.Name
	return &Codec[[]T]{
		Name: name, Min: 1,
		Append: func(dst []byte, v *[]T) []byte {
			dst = binary.AppendUvarint(dst, uint64(len(*v)))
			for i := range *v {
				dst = e.Append(dst, &(*v)[i])
			}
			return dst
		},
		Read: func(src []byte, v *[]T) ([]byte, error) {
			n, src, err := readLen(src, e.Min, name)
			if err != nil {
				return nil, err
			}
			*v = nil
			if n == 0 {
				return src, nil
			}
			s := make([]T, n)
			for i := range s {
				if src, err = e.Read(src, &s[i]); err != nil {
					return nil, err
				}
			}
			*v = s
			return src, nil
		},
		Own: func(v *[]T) {
			old := *v
			*v = nil
			if len(old) == 0 {
				return
			}
			s := make([]T, len(old))
			copy(s, old)
			if !e.Plain {
				for i := range s {
					e.Own(&s[i])
				}
			}
			*v = s
		},
		Same: func(a, b *[]T) bool {
			if len(*a) != len(*b) {
				return false
			}
			for i := range *a {
				if !e.Same(&(*a)[i], &(*b)[i]) {
					return false
				}
			}
			return true
		},
		Hash: func(v *[]T) uint64 {
			h := uint64(root2)
			for i := range *v {
				h = chain(h, e.Hash(&(*v)[i]))
			}
			return h
		},
	}
}
