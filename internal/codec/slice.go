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

func (b *builder) slicePart(t reflect.Type, path string) (*part, error) {
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
