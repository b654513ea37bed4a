package codec_test

import (
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/raftstream/raftstream/internal/codec"
)

// event has the binary methods of its time, which know nothing of the rest.
type event struct {
	time.Time
	Name string
}

// stamped is an event with methods of its own.
type stamped struct{ event }

func (s stamped) AppendBinary(dst []byte) ([]byte, error) {
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Unix()))
	return append(dst, s.Name...), nil
}

func (s *stamped) UnmarshalBinary(src []byte) error {
	if len(src) < 8 {
		return errors.New("too short")
	}
	s.Time, s.Name = time.Unix(int64(binary.BigEndian.Uint64(src)), 0).UTC(), string(src[8:])
	return nil
}

// box is a generic type with methods of its own.
type box[T any] struct{ secret uint32 }

func (b box[T]) MarshalBinary() ([]byte, error) {
	return binary.BigEndian.AppendUint32(nil, b.secret), nil
}

func (b *box[T]) UnmarshalBinary(src []byte) error {
	if len(src) != 4 {
		return errors.New("not four bytes")
	}
	b.secret = binary.BigEndian.Uint32(src)
	return nil
}

// letter has methods of its own, on the pointer.
type letter struct{ text string }

func (l *letter) MarshalBinary() ([]byte, error) { return []byte(l.text), nil }
func (l *letter) UnmarshalBinary(b []byte) error { l.text = string(b); return nil }

// posted embeds an embedded event.
type posted struct {
	Event event
	letter
	N int
}

func TestMethodsOfAnEmbeddedFieldAreNotThoseOfTheWhole(t *testing.T) {
	at := time.Unix(1000, 0).UTC()
	survives(t, event{at, "bob"})
	survives(t, []event{{at, "bob"}, {at, "eve"}})
	survives(t, stamped{event{at, "bob"}})
	survives(t, box[int]{7})
	survives(t, box[string]{7})
	survives(t, letter{"dear"})
	if c, err := codec.For[posted](); err == nil {
		t.Errorf("%s was taken, with an embedded field that is not exported", c.Name)
	}
}

func survives[T any](t *testing.T, v T) {
	t.Helper()
	c, err := codec.For[T]()
	if err != nil {
		t.Error(err)
		return
	}
	var got T
	rest, err := c.Read(c.Append(nil, &v), &got)
	if err != nil || len(rest) != 0 || !reflect.DeepEqual(got, v) {
		t.Errorf("%s: %+v came back as %+v (%v)", c.Name, v, got, err)
	}
}
