package lineage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

func sums(tb testing.TB, length, every int64) *windows[int64, int64] {
	add := func(a, b int64) int64 { return a + b }
	return reducing(tb, length, every, add, nil, nil).shown(func(v int64) string { return fmt.Sprint(v) })
}

func TestAReaderOfAWindowThatStopsEarlyLeavesWholePanes(t *testing.T) {
	in := [][]pair[string, int64]{{{"a", 1}, {"b", 1}, {"c", 1}}}
	for name, read := range map[string]func(*lineage.Node[pair[string, int64]], dataset.Task){
		"first":   func(n *lineage.Node[pair[string, int64]], task dataset.Task) { stateless(task, n) },
		"nothing": func(n *lineage.Node[pair[string, int64]], task dataset.Task) { _, whole := n.Read(task, 0); whole() },
		"the engine itself": func(n *lineage.Node[pair[string, int64]], task dataset.Task) {
			stateful(t, n).Collect(task, 0, 0)
		},
	} {
		w := sums(t, 2, 1)
		n := w.next(t, in)
		if err := w.e.Try(n, func(task dataset.Task) { read(n, task) }); err != nil {
			t.Fatal(err)
		}
		w.e.Complete(w.at)
		got, want := w.batch(t, in), []string{"{a 2}", "{b 2}", "{c 2}"}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for name, w := range map[string]*windows[int64, int64]{
		"inverse": reducing(t, 2, 1, func(a, b int64) int64 { return a + b }, func(a, b int64) int64 { return a - b }, nil), "reduce": sums(t, 2, 1),
	} {
		n, got := w.next(t, in), 0
		if err := w.e.Try(n, func(task dataset.Task) {
			n.Each(task, 0, func(pair[string, int64]) bool { got++; return got < 2 })
		}); err != nil || got != 2 {
			t.Errorf("%s: %d records read, wanted 2: %v", name, got, err)
		}
	}
	w, got := gathering[int64](t, 2, 1), 0
	n := w.next(t, in)
	if err := w.e.Try(n, func(task dataset.Task) {
		n.Each(task, 0, func(pair[string, []int64]) bool { got++; return got < 2 })
	}); err != nil || got != 2 {
		t.Errorf("gathered: %d records read, wanted 2: %v", got, err)
	}
}

// A second output of a batch reads what the first has made.
func TestAWindowIsComputedOncePerAttempt(t *testing.T) {
	calls := 0
	w := reducing(t, 4, 1, func(a, b int64) int64 { calls++; return a + b }, nil, nil).shown(func(v int64) string { return fmt.Sprint(v) })
	in := [][]pair[string, int64]{{{"a", 1}, {"b", 1}, {"a", 1}}}
	for range 5 {
		w.batch(t, in)
	}
	n := w.next(t, in)
	first := w.read(t, n)
	was := calls
	if again := w.read(t, n); !slices.Equal(first, again) || calls != was {
		t.Errorf("read again: %v after %v, %d calls more", again, first, calls-was)
	}
}

func TestKeysOfWindowsMustBeEqualToThemselves(t *testing.T) {
	add := func(a, b int64) int64 { return a + b }
	w := lineage.KeyedWindowed[int64, float64, int64, int64, int64]{
		Batch: lineage.Combiner[int64, int64]{Create: func(v int64) int64 { return v }, Value: add, Merge: add}, Reduce: add,
	}
	w.Split, w.Join = func(v int64) (float64, int64) { return math.NaN(), v }, func(_ float64, v int64) int64 { return v }
	w.Key, w.Value = codecOf[float64](t), codecOf[int64](t)
	e := &lineagetest.Engine{Blocks: map[lineagetest.Input][]byte{{Time: 1000}: {2}}, Run: dataset.Batch{Attempt: 1}}
	s := &lineage.Scope{Stream: states, Time: 1000, Partitions: 1}
	n := lineage.KeyedWindow(s, lineage.Source(&lineage.Scope{Time: 1000}, 1, codecOf[int64](t)), w, lineage.PaneTimes{Length: 1000, Every: 1000, Pane: 1000}, 0, 1)
	err := e.Try(n, func(task dataset.Task) { drain(n, task, 0) })
	if err == nil || !strings.Contains(err.Error(), "the key NaN is not equal to itself") {
		t.Errorf("error %v", err)
	}
}

// paneChunks are chunks of panes: an image, then changes with a key that went.
func paneChunks(tb testing.TB) (empty func() dataset.State, chunks [][]byte) {
	w := reducing(tb, 2, 1, func(a, b int64) int64 { return a + b }, func(a, b int64) int64 { return a - b }, func(_ string, v int64) bool { return v != 0 })
	w.show = func(v int64) string { return fmt.Sprint(v) }
	add := func(chunk []byte, _ int64) bool { chunks = append(chunks, chunk); return true }
	w.batch(tb, [][]pair[string, int64]{{{"a", 1}, {"bb", 2}}})
	w.batch(tb, [][]pair[string, int64]{{{"c", 3}}})
	s, _ := w.e.State(windowPart)
	s.Encode(0, true, 1<<20, add)
	w.batch(tb, [][]pair[string, int64]{{{"a", 4}}})
	w.batch(tb, [][]pair[string, int64]{{{"d", 4}}})
	s.Encode(2000, false, 1<<20, add)
	n := w.node(tb, w.at, nil)
	return func() dataset.State { return n.Deps()[0].On.(dataset.Stateful).Blank() }, chunks
}

// Rule 12 of the invariants: a damaged checkpoint is detected and never taken for state.
func TestDamagedChunksOfPanesAreRefused(t *testing.T) {
	empty, chunks := paneChunks(t)
	whole := empty()
	for _, chunk := range chunks {
		if err := whole.Decode(chunk, 4000); err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(chunk) {
			b := bytes.Clone(chunk)
			b[bit/8] ^= 1 << (bit % 8)
			if err := empty().Decode(b, 4000); !errors.Is(err, codec.ErrDamaged) {
				t.Fatalf("bit %d flipped: %v", bit, err)
			}
		}
		for n := range chunk {
			if err := empty().Decode(chunk[:n], 4000); !errors.Is(err, codec.ErrDamaged) {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	}
	if whole.Len() != 2 { // a and d: values of bb and c are out of all windows
		t.Errorf("%d rows, want 2", whole.Len())
	}
	if err := updating[string](t, 1, count).empty(t).Decode(chunks[0], 4000); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("panes taken for other state: %v", err)
	}
}

// FuzzPaneChunk decodes anything as a chunk of panes, with a checksum that is right: what is taken is what would be
// written again.
func FuzzPaneChunk(f *testing.F) {
	empty, chunks := paneChunks(f)
	for _, c := range chunks {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 12 {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], crc32.MakeTable(crc32.Castagnoli)))
		}
		s := empty()
		if err := s.Decode(b, 4000); err != nil {
			if !errors.Is(err, codec.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		again := empty()
		s.Encode(0, true, 1<<20, func(chunk []byte, _ int64) bool {
			if err := again.Decode(chunk, 4000); err != nil {
				t.Fatal(err)
			}
			return true
		})
		if s.Len() != again.Len() || !bytes.Equal(image(s), image(again)) {
			t.Errorf("%d keys, and %d after another round", s.Len(), again.Len())
		}
	})
}

func TestPanesSayHowLargeTheyAre(t *testing.T) {
	w := sums(t, 8, 1)
	var in []pair[string, int64]
	for i := range 1000 {
		in = append(in, pair[string, int64]{fmt.Sprint(i), 1})
	}
	var sizes []int64
	for range 8 {
		w.batch(t, [][]pair[string, int64]{in})
		s, _ := w.e.State(windowPart)
		sizes = append(sizes, s.(interface{ Size() int64 }).Size())
	}
	if !slices.IsSorted(sizes) || sizes[0] < 1000*12 || sizes[7] < 8*1000*12 {
		t.Errorf("sizes %v", sizes)
	}
}
