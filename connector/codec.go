package connector

import "fmt"

// A Codec writes and reads values of a type T that has no encoding and cannot be given methods, because it is somebody
// else's. Use it with Coded. A type of one's own has AppendBinary and UnmarshalBinary instead (package encoding), and
// needs no Codec.
//
// Protocol: a Codec is a type without fields; its zero value is used, by many goroutines at the same time. Equal values
// have equal encodings, in every process: nothing depends on addresses, on the order of maps, or on time. What is read
// is what was written, and refers to no memory of src. An error of Append fails the task; an error of Read says that the
// bytes are damaged.
type Codec[T any] interface {
	// Append appends the encoding of v to dst and changes nothing else.
	Append(dst []byte, v T) ([]byte, error)
	// Read makes a value of all of src.
	Read(src []byte) (T, error)
}

// Coded is a value that C writes and reads wherever records cross processes or are kept. It can be a key if T holds no
// pointers and its == is the equality of what C writes.
type Coded[T any, C Codec[T]] struct{ Value T }

// String is how the value prints.
func (c Coded[T, C]) String() string { return fmt.Sprint(c.Value) }

// AppendBinary calls C's Append. For the engine.
func (c Coded[T, C]) AppendBinary(dst []byte) ([]byte, error) {
	var by C
	return by.Append(dst, c.Value)
}

// UnmarshalBinary calls C's Read. For the engine.
func (c *Coded[T, C]) UnmarshalBinary(src []byte) error {
	var by C
	v, err := by.Read(src)
	if err != nil {
		return err
	}
	c.Value = v
	return nil
}
