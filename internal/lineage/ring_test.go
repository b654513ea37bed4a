package lineage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// keeping is a stream whose last records are kept, batch by batch.
type keeping[T any] struct {
	e     *lineagetest.Engine
	keep  int64
	parts int
	at    id.Time // of the last batch
	in    [][][]T // by batch and partition
}

func (k *keeping[T]) scope() *lineage.Scope {
	return &lineage.Scope{Stream: states, Time: k.at, Partitions: 2}
}

// next makes the ring's node for a further batch; nil is one without a dataset.
func (k *keeping[T]) next(tb testing.TB, in [][]T) *lineage.Node[T] {
	k.at += 1000
	k.in = append(k.in, in)
	return k.node(tb, in)
}

func (k *keeping[T]) node(tb testing.TB, in [][]T) *lineage.Node[T] {
	var n *lineage.Node[T]
	if in != nil {
		c := codecOf[T](tb)
		k.e.Blocks = map[lineagetest.Input][]byte{}
		for i, p := range in {
			b := []byte{}
			for j := range p {
				b = c.AppendRow(b, &p[j])
			}
			k.e.Blocks[lineagetest.Input{Time: k.at, Part: i}] = b
		}
		n = lineage.Source(&lineage.Scope{Time: k.at}, len(in), c)
	}
	return lineage.Ring(k.scope(), n, codecOf[T](tb), lineage.Kept{Base: k.at - 1000, MS: k.keep, Parts: k.parts})
}

// want is what a partition holds of the batches from one time to another: the oracle.
func (k *keeping[T]) want(part int, from, to id.Time) []T {
	all := []T{}
	for i, in := range k.in {
		if at := id.Time(i+1) * 1000; at < from || at > to || at <= k.at-id.Time(k.keep) {
			continue
		}
		for p := range in {
			if p >= part*len(in)/k.parts && p < (part+1)*len(in)/k.parts {
				all = append(all, in[p]...)
			}
		}
	}
	return all
}

func collect[T any](e *lineagetest.Engine, n *lineage.Node[T], part int) (all []T, err error) {
	all = []T{}
	err = e.Try(n, func(task dataset.Task) { n.Each(task, part, func(v T) bool { all = append(all, v); return true }) })
	return all, err
}

// Rules 6 and 7: a ring holds the records of its time, oldest batch first, also after attempts that were given up and
// restarts from an image and changes.
func TestARingHoldsTheLastRecords(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := &keeping[string]{
			e: &lineagetest.Engine{}, keep: 1000 * rapid.Int64Range(1, 5).Draw(rt, "keep"), parts: rapid.IntRange(1, 3).Draw(rt, "parts"),
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		saved := make([]checkpoint, k.parts)
		for range 12 {
			in := records(rng)
			if rapid.IntRange(0, 3).Draw(rt, "an attempt is given up") == 0 {
				k.at += 1000
				n := k.node(t, records(rng))
				for part := range k.parts {
					if _, err := collect(k.e, n, part); err != nil {
						rt.Fatal(err)
					}
				}
				k.at -= 1000
				k.e.Run.Attempt++
			}
			n := k.next(t, in)
			from := k.at - 1000*id.Time(rapid.IntRange(-1, 6).Draw(rt, "from"))
			to := k.at - 1000*id.Time(rapid.IntRange(-1, 6).Draw(rt, "to"))
			some := lineage.Panes(k.scope(), n, from, to)
			for part := range k.parts {
				got, err := collect(k.e, n, part)
				if want := k.want(part, 0, k.at); err != nil || !slices.Equal(got, want) {
					rt.Fatalf("at %d partition %d holds %q, %v, want %q", k.at, part, got, err, want)
				}
				got, err = collect(k.e, some, part)
				if want := k.want(part, from, to); err != nil || !slices.Equal(got, want) {
					rt.Fatalf("at %d partition %d holds %q, %v of %d to %d, want %q", k.at, part, got, err, from, to, want)
				}
			}
			k.e.Complete(k.at)
			for part := range saved {
				k.restart(rt, n, part, &saved[part])
			}
		}
	})
}

// restart saves a partition, and goes on from what was saved, now and then.
func (k *keeping[T]) restart(rt *rapid.T, n *lineage.Node[T], part int, saved *checkpoint) {
	p := lineagetest.StatePart{Stream: states, Part: part}
	s, at := k.e.State(p)
	if rapid.IntRange(0, 2).Draw(rt, "checkpoint") > 0 {
		return
	}
	size := rapid.SampledFrom([]int{1, 60, 500, 1 << 20}).Draw(rt, "chunk size")
	saved.add(rt, s, saved.at == 0 || rapid.Bool().Draw(rt, "image"), saved.at, at, size)
	s.Forget(at)
	if !rapid.Bool().Draw(rt, "restart") {
		return
	}
	again := saved.restored(rt, n.Deps()[0].On.(dataset.Stateful).Blank())
	if got, want := again.Len(), s.Len(); got < want { // it may have more, of a batch that nobody reads any more
		rt.Fatalf("%d records are restored, %d were there", got, want)
	}
	k.e.Restore(p, again, at)
}

// records makes the partitions of a batch, or none.
func records(rng *rand.Rand) [][]string {
	if rng.IntN(5) == 0 {
		return nil
	}
	in := make([][]string, rng.IntN(5))
	for p := range in {
		for range rng.IntN(6) {
			in[p] = append(in[p], fmt.Sprint("record ", rng.IntN(1000)))
		}
	}
	return in
}

func TestARingReadsWholePartitionsInOrder(t *testing.T) {
	for _, c := range []struct {
		parts, of int
		want      [][]int
	}{
		{2, 4, [][]int{{0, 1}, {2, 3}}},
		{3, 4, [][]int{{0}, {1}, {2, 3}}},
		{3, 2, [][]int{{}, {0}, {1}}},
		{2, 0, [][]int{{}, {}}},
	} {
		k := &keeping[int]{e: &lineagetest.Engine{}, keep: 1000, parts: c.parts}
		d := stateful(t, k.next(t, make([][]int, c.of)))
		got := make([][]int, c.parts)
		for part := range got {
			got[part] = d.Deps()[0].Narrow(part)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d partitions of %d: %v, want %v", c.parts, c.of, got, c.want)
		}
		if d.Base() != 0 || d.Partitions() != c.parts || d.ID().Time != 1000 {
			t.Errorf("dataset %v with %d partitions goes on from %d", d.ID(), d.Partitions(), d.Base())
		}
	}
}

// A consumer that has enough leaves a whole pane, and one that changes what it gets changes its own copy.
func TestWhatARingKeepsIsWhole(t *testing.T) {
	k := &keeping[[]int]{e: &lineagetest.Engine{}, keep: 2000, parts: 1}
	n := k.next(t, [][][]int{{{1, 2}, {3}}, {{4}}})
	err := k.e.Try(n, func(task dataset.Task) {
		n.Each(task, 0, func(v []int) bool { v[0] = -1; return false })
		if c := codecOf[[]int](t); n.Encode(c).Collect(task, 0, 1).Len() != 1 || n.Collect(task, 0, 0).Len() != 0 {
			t.Error("not as many records as asked for")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	k.e.Complete(k.at)
	got, err := collect(k.e, k.next(t, [][][]int{{{5}}}), 0)
	if want := [][]int{{1, 2}, {3}, {4}, {5}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestWhatIsNoLongerReadIsDropped(t *testing.T) {
	k := &keeping[int]{e: &lineagetest.Engine{}, keep: 3000, parts: 1}
	for i := range 10 {
		if _, err := collect(k.e, k.next(t, [][]int{{i, i}}), 0); err != nil {
			t.Fatal(err)
		}
		k.e.Complete(k.at)
		s, _ := k.e.State(lineagetest.StatePart{Stream: states})
		if want := 2 * min(i+1, 3); s.Len() != want {
			t.Errorf("%d records at %d, want %d", s.Len(), k.at, want)
		}
	}
}

// ringChunks makes an image and changes of a ring.
func ringChunks(tb testing.TB) (blank func() dataset.State, chunks [][]byte) {
	k := &keeping[string]{e: &lineagetest.Engine{}, keep: 5000, parts: 1}
	var n *lineage.Node[string]
	for i, in := range [][][]string{{{"a", "bb"}, {"c"}}, nil, {{"dd"}}, {{"e"}, {"f"}}} {
		n = k.next(tb, in)
		if _, err := collect(k.e, n, 0); err != nil {
			tb.Fatal(err)
		}
		k.e.Complete(k.at)
		s, _ := k.e.State(lineagetest.StatePart{Stream: states})
		if i == 2 || i == 3 {
			s.Encode(k.at-1000, i == 2, 1<<20, func(chunk []byte, _ int64) bool { chunks = append(chunks, chunk); return true })
		}
	}
	return func() dataset.State { return n.Deps()[0].On.(dataset.Stateful).Blank() }, chunks
}

// Rule 12 of the invariants: a damaged checkpoint is detected and never taken for records.
func TestDamagedChunksOfARingAreRefused(t *testing.T) {
	blank, chunks := ringChunks(t)
	for _, chunk := range chunks {
		for bit := range 8 * len(chunk) {
			b := bytes.Clone(chunk)
			b[bit/8] ^= 1 << (bit % 8)
			if err := blank().Decode(b, 4000); !errors.Is(err, codec.ErrDamaged) {
				t.Fatalf("bit %d flipped: %v", bit, err)
			}
		}
		for n := range chunk {
			if err := blank().Decode(chunk[:n], 4000); !errors.Is(err, codec.ErrDamaged) {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	}
	s := blank()
	for _, i := range []int{0, 1} {
		if err := s.Decode(chunks[i], 4000); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Decode(chunks[1], 4000); s.Len() != 6 || !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("%d records, and changes that came twice: %v", s.Len(), err)
	}
	if err := blank().Decode(chunks[1], 3000); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("a chunk of records that are newer than it: %v", err)
	}
}

// FuzzRingChunk decodes anything as a chunk of a ring, with a checksum that is right: what is taken is what would be
// written again.
func FuzzRingChunk(f *testing.F) {
	blank, chunks := ringChunks(f)
	for _, c := range chunks {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 12 {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], crc32.MakeTable(crc32.Castagnoli)))
		}
		s := blank()
		if err := s.Decode(b, 4000); err != nil {
			if !errors.Is(err, codec.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		again := blank()
		s.Encode(0, true, 1<<20, func(chunk []byte, _ int64) bool {
			if err := again.Decode(chunk, 4000); err != nil {
				t.Fatal(err)
			}
			return true
		})
		if s.Len() != again.Len() || !bytes.Equal(image(s), image(again)) {
			t.Errorf("%d records, and %d after another round", s.Len(), again.Len())
		}
	})
}
