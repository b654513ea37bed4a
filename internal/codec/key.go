package codec

import (
	"fmt"
	"reflect"
)

// ForKey is For of a type whose values are keys: values that are == must have the same encoding, and the same hash, in
// every process. Floats are keys by Go's ==: both zeros are one key, and every NaN is a key of its own.
func ForKey[K comparable]() (*Codec[K], error) {
	c, err := For[K]()
	if err == nil && c.noKey != "" {
		return nil, fmt.Errorf("type %s cannot be a key: %s", c.Name, c.noKey)
	}
	return c, err
}

// pointed says why values of a type that encodes itself cannot be keys, if something in them is compared by address.
// Canonical pointers, those of package unique, are taken: netip.Addr has one.
func pointed(t reflect.Type, path string) string {
	switch t.Kind() {
	case reflect.Pointer, reflect.UnsafePointer, reflect.Chan, reflect.Interface:
		return fmt.Sprintf("%s is a %v, whose equality is not that of the encoding", path, t.Kind())
	case reflect.Array:
		return pointed(t.Elem(), path+"[]")
	case reflect.Struct:
		if t.PkgPath() == "unique" {
			return ""
		}
		for i := range t.NumField() {
			f := t.Field(i)
			if why := pointed(f.Type, path+"."+f.Name); why != "" {
				return why
			}
		}
	}
	return ""
}
