package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/vfs"
	"github.com/raftstream/raftstream/wal"
)

// image makes a log of n records, one sync each, and gives the bytes of its only segment. Without a mark it is as a
// crash leaves it.
func image(t testing.TB, n int, mark bool) (data []byte, positions []wal.Position, payloads []string) {
	t.Helper()
	f := vfs.NewMem()
	l, _ := open(t, config(f))
	for i := range n {
		payloads = append(payloads, strings.Repeat(fmt.Sprintf("record %d ", i), i+1))
		positions = append(positions, add(t, l, payloads[i]))
	}
	if !mark {
		_, data = raw(t, f, 1)
	}
	closeLog(t, l)
	if mark {
		_, data = raw(t, f, 1)
	}
	return data, positions, payloads
}

// on puts bytes as segment number 1 into a new file system.
func on(t testing.TB, data []byte) *vfs.Mem {
	t.Helper()
	f := vfs.NewMem()
	must(t, f.MkdirAll("/wal"))
	must(t, vfs.WriteFile(f, "/wal", "/wal/0000000000000001.wal", data))
	return f
}

func TestTornTailIsCutAtEveryByte(t *testing.T) {
	data, positions, payloads := image(t, 5, false)
	for n := 64; n <= len(data); n++ {
		whole := 0
		for whole < 5 && int(positions[whole].Offset)+28+len(payloads[whole]) <= n {
			whole++
		}
		f := on(t, data[:n])
		l, got := open(t, config(f))
		if !slices.Equal(got.payloads, payloads[:whole]) {
			t.Fatalf("cut at %d: holds %q, want %q", n, got.payloads, payloads[:whole])
		}
		end := int64(64)
		if whole > 0 {
			end = positions[whole-1].Offset + 28 + int64(len(payloads[whole-1]))
		}
		r := l.Recovered()
		if r.CutBytes != int64(n)-end || r.CutBytes > 0 && r.CutAt != end {
			t.Fatalf("cut at %d: recovered %+v", n, r)
		}
		p := add(t, l, "goes on")
		if p.Offset != end {
			t.Fatalf("cut at %d: goes on at %d, want %d", n, p.Offset, end)
		}
		closeLog(t, l)
		l, got = open(t, config(f))
		if want := append(payloads[:whole:whole], "goes on"); !slices.Equal(got.payloads, want) {
			t.Fatalf("cut at %d, opened again: %q", n, got.payloads)
		}
		closeLog(t, l)
	}
	for n := range 64 { // a segment gets its name with a complete header
		if _, _, err := tryOpen(config(on(t, data[:n]))); !isCorruption(err) {
			t.Fatalf("header of %d bytes: %v, want a CorruptionError", n, err)
		}
	}
}

func isCorruption(err error) bool {
	damage := (*wal.CorruptionError)(nil)
	return errors.As(err, &damage) && damage.File == "/wal/0000000000000001.wal"
}

// Rule 15: a flipped bit is reported as damage, with file and place, and never read as data.
func TestEveryFlippedBitOfSyncedBytesIsReported(t *testing.T) {
	data, positions, payloads := image(t, 3, true)
	mark := len(data) - 28
	for bit := range len(data) * 8 {
		bad := slices.Clone(data)
		bad[bit/8] ^= 1 << (bit % 8)
		_, got, err := tryOpenClosed(config(on(t, bad)))
		switch {
		case bit/8 >= mark: // the mark itself is not data: it is cut as a torn tail
			if err != nil || !slices.Equal(got.payloads, payloads) {
				t.Fatalf("byte %d: %q, %v", bit/8, got.payloads, err)
			}
		case !isCorruption(err):
			t.Fatalf("byte %d: %q, %v; want a CorruptionError", bit/8, got.payloads, err)
		}
	}
	for i, p := range positions { // the same while the log is open
		for at := p.Offset; at < p.Offset+28+int64(len(payloads[i])); at++ {
			f := on(t, data)
			l, _ := open(t, config(f))
			f.Corrupt("/wal/0000000000000001.wal", func(b []byte) []byte { b[at] ^= 0x10; return b })
			if _, err := l.Read(p); !isCorruption(err) {
				t.Fatalf("byte %d while open: %v, want a CorruptionError", at, err)
			}
			closeLog(t, l)
		}
	}
}

// tryOpenClosed opens and closes at once.
func tryOpenClosed(c wal.Config) (*wal.Log, *found, error) {
	l, got, err := tryOpen(c)
	if err == nil {
		err = l.Close()
	}
	return l, got, err
}

func TestDamageInASealedSegmentIsNeverATornTail(t *testing.T) {
	f := vfs.NewMem()
	c := config(f)
	c.SegmentBytes = 150
	l, _ := open(t, c)
	for i := range 6 {
		add(t, l, strings.Repeat(fmt.Sprint(i), 50))
	}
	closeLog(t, l)
	name, sealed := raw(t, f, 1)
	for n := range len(sealed) {
		f.Corrupt(name, func([]byte) []byte { return sealed[:n:n] })
		if _, _, err := tryOpenClosed(c); !isCorruption(err) {
			t.Fatalf("sealed segment cut at %d: %v, want a CorruptionError", n, err)
		}
	}
	for bit := range len(sealed) * 8 {
		bad := slices.Clone(sealed)
		bad[bit/8] ^= 1 << (bit % 8)
		f.Corrupt(name, func([]byte) []byte { return bad })
		if _, _, err := tryOpenClosed(c); !isCorruption(err) {
			t.Fatalf("byte %d of a sealed segment: %v, want a CorruptionError", bit/8, err)
		}
	}
	f.Corrupt(name, func([]byte) []byte { return sealed })
	if _, got, err := tryOpenClosed(c); err != nil || len(got.payloads) != 6 {
		t.Fatalf("undamaged: %d records, %v", len(got.payloads), err)
	}
}

// A crash may keep any part of a write that was not synced: a good record behind a bad one of the same group proves
// nothing, one of a later group proves that the bad one was durable.
func TestGoodRecordBehindDamageCountsOnlyIfItWasWrittenLater(t *testing.T) {
	g := &gated{FS: vfs.NewMem()}
	l, _ := open(t, config(g))
	appendGroup(t, l, g, 3)
	_, group := raw(t, g, 1)
	add(t, l, "a later one")
	_, later := raw(t, g, 1)
	closeLog(t, l)
	second := 64 + 28 + len("group record 0") // of the group that shared a sync
	damage := func(b []byte) []byte {
		b = slices.Clone(b)
		b[second+30] ^= 1
		return b
	}
	_, got, err := tryOpenClosed(config(on(t, damage(group))))
	if err != nil || len(got.payloads) != 1 {
		t.Errorf("damage within the last group: %q, %v; want it cut", got.payloads, err)
	}
	if _, _, err = tryOpenClosed(config(on(t, damage(later)))); !isCorruption(err) {
		t.Errorf("damage before a later record: %v, want a CorruptionError", err)
	}
}

// A payload that holds the bytes of a log is no log: records are bound to their place.
func TestBytesOfALogInAPayloadProveNothing(t *testing.T) {
	f := vfs.NewMem()
	l, _ := open(t, config(f))
	add(t, l, "first")
	add(t, l, "second")
	_, data := raw(t, f, 1)
	p, err := l.Append(t.Context(), data)
	must(t, err)
	_, whole := raw(t, f, 1)
	closeLog(t, l)
	torn := slices.Clone(whole)
	torn[p.Offset] ^= 1
	l, got := open(t, config(on(t, torn)))
	if !slices.Equal(got.payloads, []string{"first", "second"}) || l.Recovered().CutAt != p.Offset {
		t.Errorf("holds %q, recovered %+v", got.payloads, l.Recovered())
	}
	closeLog(t, l)
}

func TestProofIsFoundFarBehindTheDamage(t *testing.T) {
	f := vfs.NewMem()
	l, _ := open(t, config(f))
	p := add(t, l, strings.Repeat("x", 3<<20))
	add(t, l, "the proof")
	_, data := raw(t, f, 1)
	closeLog(t, l)
	data[p.Offset+5] ^= 1
	_, _, err := tryOpenClosed(config(on(t, data)))
	if !isCorruption(err) || !strings.Contains(err.Error(), "proves") {
		t.Errorf("Open: %v, want a CorruptionError with its proof", err)
	}
}

func TestUnfinishedSegmentIsForgotten(t *testing.T) {
	data, _, payloads := image(t, 2, true)
	f := on(t, data)
	must(t, vfs.WriteFile(f, "/wal", "/wal/x", nil))
	must(t, f.Rename("/wal/x", "/wal/0000000000000002.wal.tmp"))
	l, got := open(t, config(f))
	if !slices.Equal(got.payloads, payloads) {
		t.Errorf("holds %q", got.payloads)
	}
	names, err := f.List("/wal")
	must(t, err)
	if len(names) != 1 {
		t.Errorf("files %v", names)
	}
	closeLog(t, l)
}

func FuzzOpen(f *testing.F) {
	data, _, _ := image(f, 4, true)
	short, _, _ := image(f, 1, false)
	f.Add(data[64:], uint16(0))
	f.Add(short[64:], uint16(3))
	f.Add(bytes.Repeat([]byte{0xec, 0x77, 0x5a, 0x1e}, 40), uint16(9))
	f.Fuzz(func(t *testing.T, tail []byte, flip uint16) {
		bad := append(slices.Clone(data[:64]), tail...)
		if len(tail) > 0 {
			bad[64+int(flip)%len(tail)] ^= byte(flip >> 8)
		}
		m := on(t, bad)
		l, got, err := tryOpen(config(m))
		if err != nil {
			if !isCorruption(err) {
				t.Fatalf("%v, want a CorruptionError", err)
			}
			return
		}
		for i, p := range got.positions {
			if b, err := l.Read(p); err != nil || string(b) != got.payloads[i] {
				t.Fatalf("record at %v: %q, %v; Open gave %q", p, b, err, got.payloads[i])
			}
		}
		if _, err := l.Append(context.Background(), []byte("more")); err != nil {
			t.Fatal(err)
		}
		must(t, l.Close())
		_, again, err := tryOpenClosed(config(m))
		if err != nil || len(again.payloads) != len(got.payloads)+1 {
			t.Fatalf("opened again: %d records, %v; want %d", len(again.payloads), err, len(got.payloads)+1)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			l, err := wal.Open(wal.Config{FS: vfs.OS{}, Dir: b.TempDir(), Store: store}, func(wal.Position, []byte) error { return nil })
			must(b, err)
			defer closeLog(b, l)
			payload := make([]byte, size)
			b.SetBytes(int64(size))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := l.Append(context.Background(), payload); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
