package lineage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// mean is a state with a reference in it: the last values of a key and how many there were.
type mean struct {
	Count int64
	Last  []string
}

func lately(values []string, s mean, _ bool) (mean, bool) {
	for _, v := range values {
		if v == "gone" {
			return mean{}, false
		}
		s.Count++
		s.Last = append(s.Last, v)
	}
	if len(s.Last) > 2 {
		s.Last = s.Last[len(s.Last)-2:]
	}
	return s, true
}

// oracle is the same as a list of keys in order and a map.
type oracle struct {
	order  []string
	states map[string]mean
}

func (o *oracle) batch(in [][]pair[string, string]) {
	groups := map[string][]string{}
	var keys []string
	for _, p := range slices.Concat(in...) {
		if _, ok := groups[p.K]; !ok {
			keys = append(keys, p.K)
		}
		groups[p.K] = append(groups[p.K], p.V)
	}
	for _, k := range keys {
		s, has := o.states[k]
		s.Last = slices.Clone(s.Last)
		next, keep := lately(groups[k], s, has)
		switch {
		case !keep && has:
			delete(o.states, k)
			o.order = slices.DeleteFunc(o.order, func(other string) bool { return other == k })
		case keep && !has:
			o.order = append(o.order, k)
			fallthrough
		case keep:
			o.states[k] = next
		}
	}
}

func (o *oracle) rows() []string {
	all := []string{}
	for _, k := range o.order {
		all = append(all, fmt.Sprint(pair[string, mean]{k, o.states[k]}))
	}
	return all
}

// checkpoint is an image and the changes after it, each as of its own time.
type checkpoint struct {
	chunks [][]byte
	times  []id.Time
	at     id.Time
}

// leadsTo says that a state of a later time is restored from this, too: nothing has changed since.
func (c *checkpoint) leadsTo(s dataset.State) bool {
	return c.chunks != nil && len(encoded(s, c.at, false)) == 0
}

func (c *checkpoint) add(rt *rapid.T, s dataset.State, full bool, since, at id.Time, size int) {
	if full {
		c.chunks, c.times = nil, nil
	}
	s.Encode(since, full, size, func(chunk []byte, rows int64) bool {
		if len(chunk) > 2*size && rows != 1 {
			rt.Fatalf("a chunk of %d rows has %d bytes, asked for about %d", rows, len(chunk), size)
		}
		c.chunks, c.times = append(c.chunks, chunk), append(c.times, at)
		return true
	})
	c.at = at
}

func (c *checkpoint) restored(rt *rapid.T, s dataset.State) dataset.State {
	for i, chunk := range c.chunks {
		if err := s.Decode(chunk, c.times[i]); err != nil {
			rt.Fatalf("chunk %d of %d: %v", i, len(c.chunks), err)
		}
	}
	return s
}

func image(s dataset.State) (all []byte) {
	s.Encode(0, true, 1<<20, func(chunk []byte, _ int64) bool { all = append(all, chunk...); return true })
	return all
}

// Rules 6 and 7: whatever attempts were given up and whenever the state was restored from an image and changes, it is
// the fold of all batches, in one order and byte for byte.
func TestRestoredStateIsTheStateThatWasNeverLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		live, lossy := updating[string](t, 1, lately), updating[string](t, 1, lately)
		lossy.e.Encode = true
		want := &oracle{states: map[string]mean{}}
		part := lineagetest.StatePart{Stream: states}
		draw := &batches{
			rng:  rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)),
			keys: rapid.SampledFrom([]int{1, 20, 200}).Draw(rt, "keys"), values: []string{"", "a", "b", "c", "gone"},
		}
		var saved checkpoint
		var full bool // an image was saved
		for range 10 {
			in := draw.batch(rt)
			want.batch(in)
			if rapid.Bool().Draw(rt, "an attempt is given up") {
				other := draw.batch(rt)
				lossy.e.Run.Attempt++
				runAll(rt, lossy.e, lossy.node(t, lossy.at, other))
				lossy.e.Run.Attempt++
			}
			fresh := &lineagetest.Engine{Blocks: lossy.e.Blocks, Encode: true, Run: lossy.e.Run} // its buckets are of other input
			if s, at := lossy.e.State(part); s != nil {
				fresh.Restore(part, s, at)
			}
			lossy.e = fresh
			a, b := runAll(rt, live.e, live.next(t, in)), runAll(rt, lossy.e, lossy.next(t, in))
			live.e.Complete(live.at)
			lossy.e.Complete(lossy.at)
			if !slices.Equal(a, want.rows()) || !slices.Equal(b, want.rows()) {
				rt.Fatalf("at %d: %v and %v, want %v", live.at, a, b, want.rows())
			}
			state, at := lossy.e.State(part)
			if rapid.IntRange(0, 2).Draw(rt, "checkpoint") == 0 {
				size := rapid.SampledFrom([]int{1, 60, 500, 1 << 20}).Draw(rt, "chunk size")
				image := !full || rapid.Bool().Draw(rt, "image")
				saved.add(rt, state, image, saved.at, at, size)
				full = true
				state.Forget(at)
			}
			// What the checkpoint at this very time restores goes on as the state itself would.
			if full && saved.leadsTo(state) && rapid.Bool().Draw(rt, "restart") {
				lossy.e.Restore(part, saved.restored(rt, live.empty(t)), at)
			}
			now, _ := live.e.State(part)
			state, _ = lossy.e.State(part)
			if !bytes.Equal(image(now), image(state)) {
				rt.Fatalf("at %d the images differ", at)
			}
		}
	})
}

func (u *updates[K, V, S]) empty(t *testing.T) dataset.State {
	return stateful(t, u.node(t, u.at, nil)).Blank()
}

// batches draws input; what is in it comes from a seed, so that batches are large as often as small.
type batches struct {
	rng    *rand.Rand
	keys   int
	values []string
}

func (b *batches) batch(rt *rapid.T) [][]pair[string, string] {
	values := b.values
	if rapid.IntRange(0, 2).Draw(rt, "most keys go") == 0 {
		values = []string{"", "gone", "gone", "gone"}
	}
	in := make([][]pair[string, string], rapid.IntRange(0, 2).Draw(rt, "blocks"))
	for i := range in {
		for range rapid.SampledFrom([]int{0, 4, 300}).Draw(rt, "records") {
			in[i] = append(in[i], pair[string, string]{fmt.Sprintf("key %d", b.rng.IntN(b.keys)), values[b.rng.IntN(len(values))]})
		}
	}
	return in
}

func runAll(rt *rapid.T, e *lineagetest.Engine, n *lineage.Node[pair[string, mean]]) []string {
	rows := []string{}
	if err := e.Try(n, func(task dataset.Task) {
		n.Each(task, 0, func(p pair[string, mean]) bool { rows = append(rows, fmt.Sprint(p)); return true })
	}); err != nil {
		rt.Fatal(err)
	}
	return rows
}

func sampleChunks(t testing.TB) (empty func() dataset.State, chunks [][]byte) {
	u := updating[string](t, 1, lately)
	in := [][]pair[string, string]{{{"a", "1"}, {"bb", "2"}, {"c", "3"}}}
	run := func(in [][]pair[string, string]) dataset.State {
		n := u.next(t, in)
		if err := u.e.Try(n, func(task dataset.Task) { drain(n, task, 0) }); err != nil {
			t.Fatal(err)
		}
		u.e.Complete(u.at)
		s, _ := u.e.State(lineagetest.StatePart{Stream: states})
		return s
	}
	add := func(chunk []byte, _ int64) bool { chunks = append(chunks, chunk); return true }
	run(in).Encode(0, true, 1<<20, add)
	run([][]pair[string, string]{{{"bb", "gone"}, {"a", "4"}}}).Encode(1000, false, 1<<20, add)
	n := u.node(t, u.at, nil)
	return func() dataset.State { return n.Deps()[0].On.(dataset.Stateful).Blank() }, chunks
}

// Rule 12 of the invariants: a damaged checkpoint is detected and never taken for state.
func TestDamagedChunksAreRefused(t *testing.T) {
	empty, chunks := sampleChunks(t)
	for _, chunk := range chunks {
		for bit := range 8 * len(chunk) {
			b := bytes.Clone(chunk)
			b[bit/8] ^= 1 << (bit % 8)
			if err := empty().Decode(b, 1000); !errors.Is(err, codec.ErrDamaged) {
				t.Fatalf("bit %d flipped: %v", bit, err)
			}
		}
		for n := range chunk {
			if err := empty().Decode(chunk[:n], 1000); !errors.Is(err, codec.ErrDamaged) {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	}
}

func TestEncodingEndsWhenNothingMoreIsWanted(t *testing.T) {
	empty, chunks := sampleChunks(t)
	s := empty()
	if err := s.Decode(chunks[0], 1000); err != nil || s.Len() != 3 {
		t.Fatalf("%d keys, %v", s.Len(), err)
	}
	for want := 1; want <= 3; want++ {
		got := 0
		s.Encode(0, true, 1, func(chunk []byte, rows int64) bool { got++; return got < want })
		if got != want {
			t.Errorf("%d chunks, wanted %d", got, want)
		}
	}
	none := true
	s.Encode(1000, false, 1, func([]byte, int64) bool { none = false; return true })
	if !none {
		t.Error("nothing has changed, and there is a chunk")
	}
}

// FuzzChunk decodes anything as a chunk of keyed state, with a checksum that is right: what is taken is what would be
// written again.
func FuzzChunk(f *testing.F) {
	empty, chunks := sampleChunks(f)
	for _, c := range chunks {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 12 {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], crc32.MakeTable(crc32.Castagnoli)))
		}
		s := empty()
		if err := s.Decode(b, 1000); err != nil {
			if !errors.Is(err, codec.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		again := empty()
		s.Encode(0, true, 1<<20, func(chunk []byte, _ int64) bool {
			if err := again.Decode(chunk, 1000); err != nil {
				t.Fatal(err)
			}
			return true
		})
		if s.Len() != again.Len() || !bytes.Equal(image(s), image(again)) {
			t.Errorf("%d keys, and %d after another round", s.Len(), again.Len())
		}
	})
}
