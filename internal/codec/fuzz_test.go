package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/raftstream/raftstream/internal/codec"
)

// numbers has every kind of number, some under names of their own.
type numbers struct {
	I   int
	I8  int8
	I16 int16
	I32 int32
	I64 int64
	U   uint
	U8  uint8
	U16 uint16
	U32 uint32
	U64 time.Duration
	F32 float32
	F64 float64
	B   bool
}

// lists has those that are written by hand and others.
type lists struct {
	Strings []string
	Users   []userID
	Ints    []int
	Int64s  []int64
	Floats  []float64
	Times   []time.Time
	Pairs   [][2]pair
	Bytes   [][]byte
}

// shape tries a codec without its type.
type shape struct {
	name string
	// try reads b. What can be read must be written and read again as the same; it gives the error otherwise.
	try  func(t testing.TB, b []byte) error
	seed []byte
}

func shapeOf[T any](v T) shape {
	c, err := codec.For[T]()
	if err != nil {
		panic(err)
	}
	return shape{c.Name, func(t testing.TB, b []byte) error {
		var v, again T
		rest, err := c.Read(b, &v)
		if err != nil {
			if !errors.Is(err, codec.ErrDamaged) {
				t.Errorf("%s: %v is not ErrDamaged", c.Name, err)
			}
			return err
		}
		if len(b)-len(rest) < c.Min {
			t.Errorf("%s: read from %d bytes, at least %d promised", c.Name, len(b)-len(rest), c.Min)
		}
		written := c.Append(nil, &v)
		rest, err = c.Read(written, &again)
		if err != nil || len(rest) != 0 || !c.Same(&v, &again) || c.Hash(&v) != c.Hash(&again) {
			t.Errorf("%s: %x was read as %v, and written and read again as %v (%v)", c.Name, b, v, again, err)
		}
		own := v
		if c.Own(&own); !bytes.Equal(c.Append(nil, &own), written) {
			t.Errorf("%s: %v is %v when owned", c.Name, v, own)
		}
		return nil
	}, c.Append(nil, &v)}
}

func shapes() []shape {
	m, err := structpb.NewStruct(map[string]any{"a": 1.5, "b": []any{"x", nil, true}})
	if err != nil {
		panic(err)
	}
	return []shape{
		shapeOf("some text"), shapeOf([]byte("bytes")), shapeOf(int64(-5)), shapeOf(math.Pi), shapeOf(true), shapeOf(struct{}{}),
		shapeOf(time.Unix(1, 2)), shapeOf(netip.IPv6Loopback()), shapeOf(pair{"key", 7}),
		shapeOf([]string{"a", ""}), shapeOf([]int64{1, -1}), shapeOf([]unit{{}, {}}), shapeOf(m),
		shapeOf(numbers{I: -1, I8: -2, I16: 300, I32: 1 << 20, I64: 1 << 40, U8: 255, F32: 1.5, F64: 2.5, B: true}),
		shapeOf(lists{
			Strings: []string{"s"}, Users: []userID{"u"}, Ints: []int{1}, Int64s: []int64{2}, Floats: []float64{3}, Times: []time.Time{time.Unix(3, 4)},
			Pairs: [][2]pair{{{"a", 1}, {"b", 2}}}, Bytes: [][]byte{{1}, nil},
		}),
		shapeOf(order{ID: 1, User: "u", Lines: []line{{"s", 1}}, Tags: []string{"t"}, Raw: []byte("r"), Units: make([]unit, 2), Addr: netip.IPv6Loopback()}),
	}
}

// FuzzRead reads arbitrary bytes as values of every shape: an error or a value that can be written and read again, never
// a panic.
func FuzzRead(f *testing.F) {
	all := shapes()
	for i, s := range all {
		f.Add(byte(i), s.seed)
	}
	f.Add(byte(0), []byte{})
	f.Add(byte(9), bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, i byte, b []byte) { _ = all[int(i)%len(all)].try(t, b) })
}

// FuzzRoundTrip writes and reads values that are made of the arguments.
func FuzzRoundTrip(f *testing.F) {
	f.Add("text", int64(-1), 1.5, []byte("raw"), true, uint8(3))
	f.Add("", int64(math.MinInt64), math.NaN(), []byte(nil), false, uint8(0))
	f.Fuzz(func(t *testing.T, s string, i int64, x float64, raw []byte, b bool, n uint8) {
		count := int(n % 5)
		at := time.Unix(i%(1<<40), i&0xfffff)
		trip(t, numbers{int(i), int8(i), int16(i), int32(i), i, uint(i), n, uint16(i), uint32(i), time.Duration(i), float32(x), x, b})
		trip(t, order{
			ID: uint64(i), User: userID(s), Lines: repeat(count, line{s, x}), At: at, Flags: [3]bool{b, !b, b},
			Tags: repeat(count, s), Raw: raw, Units: make([]unit, count), Took: time.Duration(i),
		})
		trip(t, lists{
			Strings: repeat(count, s), Users: repeat(count, userID(s)), Ints: repeat(count, int(i)), Int64s: repeat(count, i), Floats: repeat(count, x),
			Times: repeat(count, at), Pairs: repeat(count, [2]pair{{s, i}, {}}), Bytes: repeat(count, raw),
		})
		trip(t, []pair{{s, i}, {s + s, -i}})
	})
}

func repeat[T any](n int, v T) []T {
	var s []T
	for range n {
		s = append(s, v)
	}
	return s
}

func trip[T any](t *testing.T, v T) {
	t.Helper()
	c, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	own := v
	c.Own(&own)
	var got T
	rest, err := c.Read(c.Append(nil, &v), &got)
	if err != nil || len(rest) > 0 || !c.Same(&v, &got) || fmt.Sprintf("%#v", own) != fmt.Sprintf("%#v", got) { // %#v: NaN is NaN
		t.Errorf("%s: %#v, owned %#v, read %#v, %v", c.Name, v, own, got, err)
	}
}

// Bytes that claim to be much are refused before memory is taken for it.
func TestDamagedBytesTakeLittleMemory(t *testing.T) {
	const rounds = 300
	rng := rand.New(rand.NewPCG(3, 4))
	for _, s := range shapes() {
		if len(s.seed) == 0 {
			continue
		}
		var before, after runtime.MemStats
		read := 0
		runtime.ReadMemStats(&before)
		for range rounds {
			b := bytes.Clone(s.seed)
			for range 1 + rng.IntN(3) {
				at := rng.IntN(len(b))
				b[at] = byte(rng.Uint32())
				if rng.IntN(2) == 0 {
					b = append(b[:at], append([]byte{0xff, 0xff, 0xff, 0xff, 0x7f}, b[at:]...)...)
				}
			}
			read += len(b)
			_ = s.try(t, b)
		}
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(rounds*8<<10+500*read); got > most {
			t.Errorf("%s: %d bytes were taken for %d bytes read, at most %d expected", s.name, got, read, most)
		}
	}
}

func TestProtobufMessages(t *testing.T) {
	type report struct {
		Name string
		Body *structpb.Struct
		More []*structpb.Value
	}
	c, err := codec.For[report]()
	if err != nil {
		t.Fatal(err)
	}
	body, err := structpb.NewStruct(map[string]any{"a": 1, "b": "x", "c": true, "d": nil, "e": []any{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	unknown := structpb.NewStringValue("v")
	unknown.ProtoReflect().SetUnknown([]byte{0xa8, 0x06, 0x2a}) // field 101, varint 42
	v := report{"n", body, []*structpb.Value{unknown, nil, {}}}
	first := c.Append(nil, &v)
	for range 20 { // maps are written in one order
		if !bytes.Equal(first, c.Append(nil, &v)) {
			t.Fatal("two encodings of one message")
		}
	}
	var got report
	rest, err := c.Read(append(bytes.Clone(first), "tail"...), &got)
	if err != nil || string(rest) != "tail" || !proto.Equal(got.Body, body) || len(got.More) != 3 || !proto.Equal(got.More[0], unknown) {
		t.Fatalf("read %v, %v, rest %q", got, err, rest)
	}
	if got.More[1] != nil || got.More[2] == nil || !bytes.Equal(got.More[0].ProtoReflect().GetUnknown(), []byte{0xa8, 0x06, 0x2a}) {
		t.Errorf("no message, an empty one and one with unknown fields came back as %v", got.More)
	}
	own := v
	c.Own(&own)
	if !c.Same(&own, &v) || !c.Same(&got, &v) || c.Fixed || c.Plain {
		t.Error("a message is not the same when owned or read")
	}
	body.Fields["a"] = structpb.NewNumberValue(2)
	if own.Body.Fields["a"].GetNumberValue() != 1 || c.Same(&own, &v) {
		t.Error("an owned message changes with the original")
	}
	var empty *structpb.Struct
	check(t, empty)
}

// wrapped has the methods of the message that it embeds, and would lose N.
type wrapped struct {
	*structpb.Value
	N int
}

func TestWhatIsNoProtobufMessageIsRefused(t *testing.T) {
	for want, err := range map[string]error{
		"use *structpb.Value":           failure[structpb.Value](),
		"*codec_test.wrapped: a ptr":    failure[*wrapped](),
		"a interface has no encoding":   failure[proto.Message](),
		".Values[]: a protobuf message": failure[struct{ Values []structpb.Value }](),
		".P: a ptr has no encoding":     failure[struct{ P **structpb.Value }](),
		".M: a map has no encoding":     failure[struct{ M map[string]*structpb.Value }](),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if _, err := codec.For[wrapped](); err != nil {
		t.Error(err) // a struct with a message in a field
	}
}

func failure[T any]() error {
	_, err := codec.For[T]()
	return err
}

// pointing encodes itself, and is compared by an address.
type pointing struct{ text *string }

func (p pointing) MarshalBinary() ([]byte, error)    { return []byte(*p.text), nil }
func (p *pointing) UnmarshalBinary(src []byte) error { s := string(src); p.text = &s; return nil }

func TestKeysAreComparedAsTheirEncodings(t *testing.T) {
	taken := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	keyFailure := func(_ any, err error) error { return err }
	taken(keyFailure(codec.ForKey[string]()))
	taken(keyFailure(codec.ForKey[pair]()))
	taken(keyFailure(codec.ForKey[time.Time]()))
	taken(keyFailure(codec.ForKey[netip.Addr]()))
	taken(keyFailure(codec.ForKey[[2]netip.AddrPort]()))
	taken(keyFailure(codec.ForKey[box[int]]()))
	for want, err := range map[string]error{
		"type *structpb.Value(protobuf) cannot be a key: pointers": keyFailure(codec.ForKey[*structpb.Value]()),
		"cannot be a key: V: pointers":                             keyFailure(codec.ForKey[struct{ V *structpb.Value }]()),
		"codec_test.pointing.text is a ptr":                        keyFailure(codec.ForKey[[1]pointing]()),
		"a interface has no encoding":                              keyFailure(codec.ForKey[any]()),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
