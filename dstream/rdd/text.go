package rdd

import (
	"encoding"
	"fmt"
	"strconv"
)

// Text appends records as text, one way per type: a KV as key, tab, value; what has AppendText or MarshalText by that;
// anything else by Go's default format. It takes a pointer so that no record is boxed.
type Text[T any] func(dst []byte, v *T) ([]byte, error)

// TextOf gives the text form of T.
func TextOf[T any]() Text[T] {
	return func(dst []byte, v *T) ([]byte, error) { return appendText(dst, v) }
}

// texter is what a KV implements; only this package can.
type texter interface {
	appendText(dst []byte) ([]byte, error)
}

func (p *KV[K, V]) appendText(dst []byte) ([]byte, error) {
	dst, err := appendText(dst, &p.Key)
	if err != nil {
		return nil, err
	}
	return appendText(append(dst, '\t'), &p.Value)
}

func appendText[T any](dst []byte, v *T) ([]byte, error) {
	switch x := any(v).(type) {
	case *string:
		return append(dst, *x...), nil
	case *int:
		return strconv.AppendInt(dst, int64(*x), 10), nil
	case *int64:
		return strconv.AppendInt(dst, *x, 10), nil
	case texter:
		return x.appendText(dst)
	case encoding.TextAppender:
		return x.AppendText(dst)
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		return append(dst, b...), err
	}
	return fmt.Append(dst, *v), nil
}
