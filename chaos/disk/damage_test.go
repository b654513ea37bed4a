package disk

import (
	"bytes"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// damaged writes a file, damages it, and gives what it holds then.
func damaged(t *testing.T, data []byte, how func(path string) (Damage, error)) ([]byte, Damage) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, data, 0o644))
	d, err := how(path)
	must(t, err)
	if d.File != path || d.What == "" || d.String() == "" {
		t.Errorf("it says %+v", d)
	}
	b, err := os.ReadFile(path)
	must(t, err)
	return b, d
}

func TestExactlySoManyBitsAreFlipped(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(r, "data")
		n := rapid.IntRange(1, 20).Draw(r, "n")
		seed := rapid.Uint64().Draw(r, "seed")
		flip := func(path string) (Damage, error) { return FlipBits(path, n, seed) }
		b, d := damaged(t, data, flip)
		want := min(n, len(data)*8)
		flipped := 0
		for i := range b {
			flipped += bits.OnesCount8(b[i] ^ data[i])
			if b[i] != data[i] && !slices.Contains(d.At, int64(i)) {
				r.Errorf("byte %d is changed, it says %v", i, d.At)
			}
		}
		if flipped != want || d.N != int64(want) || len(d.At) != want {
			r.Errorf("%d bits are flipped, expected %d; it says %+v", flipped, want, d)
		}
		if again, _ := damaged(t, data, flip); !bytes.Equal(again, b) {
			r.Error("the same seed flips other bits")
		}
	})
}

func TestTailIsCut(t *testing.T) {
	data := []byte("0123456789")
	for _, tt := range []struct {
		cut  int64
		want string
	}{{1, "012345678"}, {9, "0"}, {10, ""}, {11, ""}} {
		b, d := damaged(t, data, func(path string) (Damage, error) { return TruncateTail(path, tt.cut) })
		if string(b) != tt.want || d.N != int64(len(data)-len(tt.want)) || d.At[0] != int64(len(tt.want)) {
			t.Errorf("cut by %d: %q, %+v", tt.cut, b, d)
		}
	}
}

// Sectors of the last write are new or old, no other byte changes.
func TestTornWriteIsOldAndNew(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		old := bytes.Repeat([]byte{'o'}, rapid.IntRange(0, 3000).Draw(r, "old"))
		now := slices.Clone(old)
		from := rapid.IntRange(0, len(old)).Draw(r, "from")
		now = append(now[:from], bytes.Repeat([]byte{'n'}, rapid.IntRange(1, 6000).Draw(r, "length"))...)
		if len(now) < len(old) {
			now = append(now, old[len(now):]...)
		}
		seed := rapid.Uint64().Draw(r, "seed")
		b, d := damaged(t, now, func(path string) (Damage, error) { return TearWrite(path, old, seed) })
		torn, all := 0, 0
		for at := 0; at < len(now); at += sectorSize {
			end := min(at+sectorSize, len(now))
			was := make([]byte, end-at)
			copy(was, old[min(at, len(old)):min(end, len(old))])
			same := bytes.Equal(was, now[at:end])
			if !same {
				all++
			}
			switch got := b[at:end]; {
			case bytes.Equal(got, now[at:end]):
			case bytes.Equal(got, was) && slices.Contains(d.At, int64(at)):
				torn++
			default:
				r.Fatalf("sector at %d is neither old nor new", at)
			}
		}
		if torn != int(d.N) || torn < 1 || all > 1 && torn == all {
			r.Errorf("%d of %d sectors are torn, it says %d", torn, all, d.N)
		}
	})
}

func TestTornWriteWithoutThePastIsInTheLastBlock(t *testing.T) {
	data := bytes.Repeat([]byte{'n'}, 10_000)
	b, d := damaged(t, data, func(path string) (Damage, error) { return TearWrite(path, nil, 1) })
	if !bytes.Equal(b[:8192], data[:8192]) || bytes.Equal(b, data) || d.At[0] < 8192 {
		t.Errorf("it says %+v", d)
	}
}

func TestWipedDirectoryIsEmptyAndThere(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "a/b/c"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "d"), nil, 0o644))
	d, err := Wipe(dir)
	must(t, err)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 || d.N != 2 {
		t.Errorf("left %v, %v; it says %+v", left, err, d)
	}
	if _, err := Wipe(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there is wiped")
	}
}

func TestNothingToDamageIsAnError(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	must(t, os.WriteFile(empty, nil, 0o644))
	for name, how := range map[string]func(string) (Damage, error){
		"flip":  func(p string) (Damage, error) { return FlipBits(p, 1, 1) },
		"cut":   func(p string) (Damage, error) { return TruncateTail(p, 1) },
		"tear":  func(p string) (Damage, error) { return TearWrite(p, nil, 1) },
		"other": func(p string) (Damage, error) { return FlipBits(p+".not", 1, 1) },
	} {
		if d, err := how(empty); err == nil {
			t.Errorf("%s of an empty file: %+v, expected an error", name, d)
		}
	}
}
