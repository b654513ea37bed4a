package codec_test

import (
	"bytes"
	"errors"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/internal/codec"
)

type (
	userID string
	unit   struct{}
	order  struct {
		ID    uint64
		User  userID
		Lines []line
		At    time.Time
		Addr  netip.Addr
		Flags [3]bool
		Tags  []string
		Raw   []byte
		Units []unit
		Took  time.Duration
	}
	line struct {
		SKU   string
		Price float64
	}
	pair struct {
		Key   string
		Value int64
	}
	hidden struct{ id int }
	tree   struct{ Kids []tree }
	mapped struct {
		Lines []struct{ Tags map[string]int }
	}
	refused struct {
		OK bool
		P  *int
	}
)

// check appends, reads back, owns, and compares.
func check[T any](t *testing.T, v T) {
	t.Helper()
	c, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	b := c.Append([]byte("x"), &v)[1:]
	if len(b) < c.Min {
		t.Errorf("%s: %d bytes, at least %d promised", c.Name, len(b), c.Min)
	}
	var got T
	rest, err := c.Read(append(bytes.Clone(b), "tail"...), &got)
	if err != nil || string(rest) != "tail" {
		t.Fatalf("%s: read %v, rest %q", c.Name, err, rest)
	}
	own := v
	c.Own(&own)
	if !reflect.DeepEqual(own, got) {
		t.Errorf("%s: read %#v, owned %#v", c.Name, got, own)
	}
	if !c.Same(&own, &got) || !c.Same(&v, &own) {
		t.Errorf("%s: not the same after a round trip", c.Name)
	}
	if c.Hash(&own) != c.Hash(&got) {
		t.Errorf("%s: hash differs after a round trip", c.Name)
	}
	if b2 := c.Append(nil, &got); !bytes.Equal(b, b2) {
		t.Errorf("%s: encoded %x, then %x", c.Name, b, b2)
	}
	for n := range b {
		var v T
		if _, err := c.Read(b[:n:n], &v); err == nil && n < c.Min {
			t.Errorf("%s: read from %d of %d bytes", c.Name, n, len(b))
		} else if err != nil && !errors.Is(err, codec.ErrDamaged) {
			t.Errorf("%s: error %v is not ErrDamaged", c.Name, err)
		}
	}
}

func TestValuesAreReadBackAsOwned(t *testing.T) {
	check(t, "")
	check(t, "some text")
	check(t, strings.Repeat("long", 100))
	check(t, []byte{1, 2, 3})
	check(t, []byte{})
	for _, v := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64} {
		check(t, v)
		check(t, int(v))
		check(t, int32(v))
		check(t, int16(v))
		check(t, int8(v))
		check(t, uint64(v))
		check(t, uint(v))
		check(t, uint32(v))
		check(t, uint16(v))
		check(t, uint8(v))
		check(t, time.Duration(v))
	}
	check(t, 1.5)
	check(t, math.Inf(-1))
	check(t, float32(-0.25))
	check(t, true)
	check(t, struct{}{})
	check(t, unit{})
	check(t, []unit{{}, {}})
	check(t, userID("u"))
	check(t, [2]pair{{"a", 1}, {"b", 2}})
	check(t, [][]string{{"a"}, {}, {"b", ""}})
	check(t, time.Unix(12, 34).In(time.FixedZone("x", 3600)))
	check(t, time.Now())
	check(t, time.Time{})
	check(t, netip.MustParseAddr("127.0.0.1"))
	check(t, order{
		ID: 7, User: "u", Lines: []line{{"s", 1.25}, {"t", -3}}, At: time.Unix(1, 2).UTC(),
		Addr: netip.IPv6Loopback(), Flags: [3]bool{true, false, true}, Tags: []string{"x", ""}, Raw: []byte("raw"),
		Units: make([]unit, 3), Took: time.Hour,
	})
}

func TestTypesWithoutEncodingAreRefusedWithTheField(t *testing.T) {
	refuse := func(err error, want ...string) {
		t.Helper()
		if err == nil {
			t.Error("accepted")
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
	}
	_, err := codec.For[map[string]int]()
	refuse(err, "map[string]int", "a map has no encoding")
	_, err = codec.For[mapped]()
	refuse(err, "codec_test.mapped.Lines[].Tags", "map")
	_, err = codec.For[refused]()
	refuse(err, "codec_test.refused.P", "ptr")
	_ = hidden{}.id // to be used
	_, err = codec.For[hidden]()
	refuse(err, "codec_test.hidden.id", "not exported")
	_, err = codec.For[tree]()
	refuse(err, "codec_test.tree.Kids[]", "contains itself")
	_, err = codec.For[any]()
	refuse(err, "interface")
	_, err = codec.For[func()]()
	refuse(err, "func")
	_, err = codec.For[chan int]()
	refuse(err, "chan")
	_, err = codec.For[complex128]()
	refuse(err, "complex128")
}

func TestDamagedLengthsDoNotAllocate(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3}
	c, _ := codec.For[[]order]()
	var v []order
	if _, err := c.Read(huge, &v); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("slice: %v", err)
	}
	s, _ := codec.For[string]()
	var str string
	if _, err := s.Read(huge, &str); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("string: %v", err)
	}
	u, _ := codec.For[[]struct{}]()
	var units []struct{}
	if _, err := u.Read(huge, &units); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("units: %v", err)
	}
	i, _ := codec.For[int16]()
	var n int16
	if _, err := i.Read([]byte{0x80, 0x80, 0x10}, &n); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("int16 out of range: %v", err)
	}
}

func TestValuesAreTheSameIfTheirEncodingsAre(t *testing.T) {
	at := time.Unix(1, 2)
	base := order{ID: 1, User: "u", Lines: []line{{"a", 1}}, At: at, Tags: []string{"x"}, Raw: []byte{1}, Units: []unit{{}}}
	differ := map[string]func(o *order){
		"id":       func(o *order) { o.ID = 2 },
		"named":    func(o *order) { o.User = "v" },
		"element":  func(o *order) { o.Lines = []line{{"a", 2}} },
		"length":   func(o *order) { o.Tags = nil },
		"time":     func(o *order) { o.At = at.Add(1) },
		"own form": func(o *order) { o.Addr = netip.AddrFrom4([4]byte{1}) },
		"array":    func(o *order) { o.Flags[2] = true },
		"bytes":    func(o *order) { o.Raw = []byte{2} },
		"units":    func(o *order) { o.Units = []unit{{}, {}} },
	}
	c, err := codec.For[order]()
	if err != nil {
		t.Fatal(err)
	}
	again := base
	again.At, again.Lines = at.UTC(), []line{{"a", 1}}
	if !c.Same(&base, &again) {
		t.Error("equal values are not the same")
	}
	for name, change := range differ {
		o := base
		if change(&o); c.Same(&base, &o) {
			t.Errorf("%s: different values are the same", name)
		}
	}
	floats, _ := codec.For[float64]()
	nan, zero, negative := math.NaN(), 0.0, math.Copysign(0, -1)
	if !floats.Same(&nan, &nan) || floats.Same(&zero, &negative) {
		t.Error("floats are not compared by their bits")
	}
}

func TestStringsAreViewsUntilOwned(t *testing.T) {
	c, _ := codec.For[pair]()
	b := c.Append(nil, &pair{"key", 1})
	var view, own pair
	if _, err := c.Read(b, &view); err != nil {
		t.Fatal(err)
	}
	own = view
	c.Own(&own)
	b[1] = 'K'
	if view.Key != "Key" || own.Key != "key" {
		t.Errorf("view %q, own %q", view.Key, own.Key)
	}
}

func TestOwnCopiesSlices(t *testing.T) {
	c, _ := codec.For[[]int64]()
	if c.Fixed || c.Plain {
		t.Error("a slice can be changed through a copy")
	}
	a := []int64{1, 2}
	b := a
	c.Own(&b)
	a[0] = 9
	if b[0] != 1 || cap(b) != 2 {
		t.Errorf("%v, capacity %d", b, cap(b))
	}
}

// Rule 6: which reducer a key goes to must not depend on the process, the machine or the version.
func TestHashesNeverChange(t *testing.T) {
	if got := hashOf(t, ""); got != 0xe76b9804e2d83a01 {
		t.Errorf("empty: %#x", got)
	}
	if got := hashOf(t, "word"); got != 0x3e8a76be25f12827 {
		t.Errorf("word: %#x", got)
	}
	if got := hashOf(t, "a word of more than sixteen bytes"); got != 0x85a30b04e8d3fc13 {
		t.Errorf("long: %#x", got)
	}
	if got := hashOf(t, int64(42)); got != 0xba96399c2801b97c {
		t.Errorf("42: %#x", got)
	}
	if got := hashOf(t, pair{"a", 1}); got != 0xfecf331b03eb87ce {
		t.Errorf("pair: %#x", got)
	}
}

func hashOf[T any](t *testing.T, v T) uint64 {
	t.Helper()
	c, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	return c.Hash(&v)
}

func TestEqualKeysHashAlike(t *testing.T) {
	if hashOf(t, 0.0) != hashOf(t, math.Copysign(0, -1)) {
		t.Error("0 and -0")
	}
	now := time.Now()
	c, _ := codec.For[time.Time]()
	a, b := now, now.Round(0).UTC()
	c.Normal(&a)
	c.Normal(&b)
	if a != b || c.Hash(&a) != c.Hash(&b) {
		t.Error("one instant, two keys")
	}
}

// TestHashSpreads flips single bits: about half of the result must change, in the low and in the high half.
func TestHashSpreads(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 3, 4, 7, 8, 12, 16, 17, 31, 32, 33, 100} {
		var low, high, count int
		for range 200 {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			h := hashOf(t, string(b))
			for bit := range n * 8 {
				b[bit/8] ^= 1 << (bit % 8)
				d := h ^ hashOf(t, string(b))
				b[bit/8] ^= 1 << (bit % 8)
				low += bits.OnesCount32(uint32(d))
				high += bits.OnesCount32(uint32(d >> 32))
				count++
			}
		}
		for _, sum := range []int{low, high} {
			if mean := float64(sum) / float64(count); mean < 15 || mean > 17 {
				t.Errorf("length %d: a flipped bit changes %.1f of 32 bits", n, mean)
			}
		}
	}
	var parts [8]int
	for i := range 80000 {
		parts[codec.Reducer(hashOf(t, int64(i)), 8)]++
	}
	for p, n := range parts {
		if n < 9500 || n > 10500 {
			t.Errorf("partition %d has %d of 80000 keys", p, n)
		}
	}
}

func TestCodecsDoNotAllocatePerRecord(t *testing.T) {
	none := func(n float64) {
		t.Helper()
		if n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
	none(allocations(t, pair{"some key", 1234}))
	none(allocations(t, five{"some name", 123456, 1.5, true, -7}))
	none(allocations(t, [2]pair{{"a", 1}, {"b", 2}}))
	none(allocations(t, time.Unix(1, 2)))
}

func allocations[T any](t *testing.T, v T) float64 {
	c, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	got, buf := new(T), make([]byte, 0, 256)
	return testing.AllocsPerRun(100, func() {
		b := c.Append(buf, &v)
		if _, err := c.Read(b, got); err != nil || !c.Same(&v, got) || c.Hash(got) == 0 {
			t.Fatal(err)
		}
	})
}

func BenchmarkPair(b *testing.B) {
	c, _ := codec.For[pair]()
	v, got := &pair{"some key", 1234}, new(pair)
	buf := make([]byte, 0, 64)
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			buf = c.Append(buf[:0], v)
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Read(buf, got); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			c.Hash(got)
		}
	})
	s, _ := codec.For[string]()
	b.Run("hashString", func(b *testing.B) {
		for b.Loop() {
			s.Hash(&got.Key)
		}
	})
}
