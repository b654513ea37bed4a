package lineage_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// windows is a stream of windows over a stream of pairs with a batch every second.
type windows[V, C any] struct {
	e     *lineagetest.Engine
	w     lineage.KeyedWindowed[pair[string, V], string, V, C, pair[string, C]]
	times lineage.PaneTimes
	show  func(C) string
	kept  keptByUser
	at    id.Time
}

func (w *windows[V, C]) shown(by func(C) string) *windows[V, C] {
	w.show = by
	return w
}

var windowPart = lineagetest.StatePart{Stream: states}

// windowing makes windows of batches; a pane is as long as it can be, or a batch where values are gathered.
func windowing[V, C any](tb testing.TB, length, every int64, batch lineage.Combiner[V, C]) *windows[V, C] {
	w := &windows[V, C]{
		e:     &lineagetest.Engine{Blocks: map[lineagetest.Input][]byte{}, Run: dataset.Batch{Attempt: 1}},
		times: lineage.PaneTimes{Length: length * 1000, Every: every * 1000, Pane: 1000},
	}
	w.w.Split = func(p pair[string, V]) (string, V) { return p.K, p.V }
	w.w.Join = func(k string, c C) pair[string, C] { return pair[string, C]{k, c} }
	w.w.Key, w.w.Value, w.w.By, w.w.Batch = codecOf[string](tb), codecOf[C](tb), lineage.ByKey, batch
	return w
}

func reducing[V any](tb testing.TB, length, every int64, f, inverse func(a, b V) V, keep func(string, V) bool) *windows[V, V] {
	w := windowing(tb, length, every, lineage.Combiner[V, V]{Create: func(v V) V { return v }, Value: f, Merge: f})
	w.w.Reduce, w.w.Inverse, w.w.Keep = f, inverse, keep
	for a, b := length, every; ; a, b = b, a%b {
		if b == 0 {
			w.times.Pane = a * 1000
			return w
		}
	}
}

func gathering[V any](tb testing.TB, length, every int64) *windows[V, []V] {
	w := windowing(tb, length, every, lineage.GroupValues[V]())
	w.w.Gather = lineage.GatherValues(codecOf[V](tb))
	return w
}

// next makes the dataset of the next batch, whose input has a block for each element of in; nil: there is no input.
func (w *windows[V, C]) next(tb testing.TB, in [][]pair[string, V]) *lineage.Node[pair[string, C]] {
	base := w.at
	w.at += 1000
	return w.node(tb, base, in)
}

func (w *windows[V, C]) node(tb testing.TB, base id.Time, in [][]pair[string, V]) *lineage.Node[pair[string, C]] {
	s := &lineage.Scope{Stream: states, Time: base + 1000, Partitions: 1}
	if in == nil {
		return lineage.KeyedWindow[pair[string, V]](s, nil, w.w, w.times, base, 1)
	}
	c := codecOf[pair[string, V]](tb)
	for i, p := range in {
		b := []byte{}
		for j := range p {
			b = c.AppendRow(b, &p[j])
		}
		w.e.Blocks[lineagetest.Input{Stream: pairs, Time: base + 1000, Part: i}] = b
	}
	n := lineage.Source(&lineage.Scope{Stream: pairs, Time: base + 1000}, len(in), c)
	return lineage.KeyedWindow(s, n, w.w, w.times, base, 1)
}

// read reads a window, and spoils what it was given.
func (w *windows[V, C]) read(tb lineTB, n *lineage.Node[pair[string, C]]) []string {
	rows := []string{}
	if err := w.e.Try(n, func(task dataset.Task) {
		n.Each(task, 0, func(p pair[string, C]) bool {
			rows = append(rows, fmt.Sprint(pair[string, string]{p.K, w.show(p.V)}))
			spoil(p.V)
			return true
		})
	}); err != nil {
		tb.Fatalf("at %d: %v", w.at, err)
	}
	w.kept.spoil()
	return rows
}

// lineTB is what tests and rapid's have in common.
type lineTB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// batch runs and completes the next batch.
func (w *windows[V, C]) batch(t testing.TB, in [][]pair[string, V]) []string {
	t.Helper()
	out := w.read(t, w.next(t, in))
	w.e.Complete(w.at)
	return out
}

// spoil changes what a user function was given.
func spoil(v any) {
	switch v := v.(type) {
	case []byte:
		clear(v)
	case [][]byte:
		for _, b := range v {
			clear(b)
		}
		clear(v)
	}
}

// joined and cut are an f that is associative and not commutative, and its inverse. What is cut is noted if it is not
// there: a key that was not kept comes back without it.
func joined(a, b string) string { return a + b }

func cut(a, b string) string {
	if rest, ok := strings.CutPrefix(a, b); ok {
		return rest
	}
	return "[" + a + "-" + b + "]"
}

// keptByUser is what user functions kept of what they gave.
type keptByUser struct{ kept [][]byte }

func (k *keptByUser) spoil() {
	for _, b := range k.kept {
		clear(b)
	}
	k.kept = nil
}

// onSlices is the same on slices, by a function that changes its arguments, gives one of them if it can, and keeps what
// it gave.
func (k *keptByUser) onSlices(f func(a, b string) string) func(a, b []byte) []byte {
	return func(a, b []byte) []byte {
		out := append(a[:0], f(string(a), string(b))...)
		clear(b)
		k.kept = append(k.kept, out)
		return out
	}
}

func short(_, v string) bool { return len(v)%3 != 0 }

// inWindows is the oracle: it looks at all batches in every window.
type inWindows struct {
	times   lineage.PaneTimes
	inverse bool
	keep    func(k, v string) bool
	batches [][]pair[string, string]
	last    map[string]string // the window before
	order   []string
}

func newOracle(times lineage.PaneTimes) *inWindows {
	return &inWindows{times: times, last: map[string]string{}}
}

// over gives what each key has in the panes [from, to) up to now, joined.
func (o *inWindows) over(from, to int64) map[string]string {
	got := map[string]string{}
	for i, b := range o.batches {
		if p := int64(i) * 1000 / o.times.Pane; p < from || p >= to {
			continue
		}
		for _, kv := range b {
			got[kv.K] += kv.V
		}
	}
	return got
}

// batch gives the window after a batch, without its order if there is none.
func (o *inWindows) batch(in []pair[string, string]) []string {
	o.batches = append(o.batches, in)
	since := int64(len(o.batches)) * 1000
	pane := o.times.Pane
	floor := func(t int64) int64 { return max(t, 0) / pane }
	ends := since%o.times.Every == 0
	next := (since + o.times.Every - 1) / o.times.Every * o.times.Every // that the batch can be in
	looked := o.inverse || (since-1)/pane >= floor(next-o.times.Length)
	for _, kv := range in {
		if looked && !slices.Contains(o.order, kv.K) {
			o.order = append(o.order, kv.K)
		}
	}
	rows := []string{}
	if ends {
		window := o.over(floor(since-o.times.Length), floor(since))
		if o.inverse {
			window = o.slid(since)
			o.last = window
		}
		for _, k := range o.order {
			if v, ok := window[k]; ok {
				rows = append(rows, fmt.Sprint(pair[string, string]{k, v}))
			}
		}
	}
	// A key that no later window can see has lost its place.
	end := (since/o.times.Every + 1) * o.times.Every
	if o.inverse {
		end -= o.times.Every
	}
	seen := o.over(floor(end-o.times.Length), math.MaxInt64)
	o.order = slices.DeleteFunc(o.order, func(k string) bool {
		_, has := seen[k]
		_, had := o.last[k]
		return !has && !had
	})
	return rows
}

// slid is the window that ends now by Spark's rules, from that before.
func (o *inWindows) slid(since int64) map[string]string {
	ago := func(ms int64) int64 { return max(since-ms, 0) / o.times.Pane }
	lost := o.over(ago(o.times.Length+o.times.Every), ago(o.times.Length))
	fresh := o.over(ago(o.times.Every), ago(0))
	window := map[string]string{}
	for k, v := range o.last {
		if l, ok := lost[k]; ok {
			v = cut(v, l)
		}
		window[k] = v + fresh[k]
	}
	for k, v := range fresh {
		if _, ok := o.last[k]; !ok {
			window[k] = v
		}
	}
	for k, v := range window {
		if o.keep != nil && !o.keep(k, v) {
			delete(window, k)
		}
	}
	return window
}

// windowBatches draws input of keys that come and go.
type windowBatches struct {
	rng    *rand.Rand
	keys   int
	drift  int // how many keys go from batch to batch
	n      int
	values []string
}

func (b *windowBatches) batch(rt *rapid.T) [][]pair[string, string] {
	b.n++
	in := make([][]pair[string, string], rapid.IntRange(0, 2).Draw(rt, "blocks"))
	for i := range in {
		for range rapid.SampledFrom([]int{0, 3, 3, 200}).Draw(rt, "records") {
			k := fmt.Sprintf("key %d", b.n*b.drift+b.rng.IntN(b.keys))
			in[i] = append(in[i], pair[string, string]{k, b.values[b.rng.IntN(len(b.values))]})
		}
	}
	return in
}

// checkHistory runs windows that nothing happens to beside windows whose attempts are given up and whose state is
// restored from an image and changes: both are what want says, and their states the same, byte for byte. value
// makes values of text.
func checkHistory[V, C any](rt *rapid.T, t *testing.T, live, lossy *windows[V, C], value func(string) V, want func(in []pair[string, string]) []string) {
	lossy.e.Encode = true
	draw := &windowBatches{
		rng:  rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)),
		keys: rapid.SampledFrom([]int{1, 5, 200}).Draw(rt, "keys"), drift: rapid.SampledFrom([]int{0, 1, 60}).Draw(rt, "drift"),
		values: []string{"a", "b", "c", "dd"},
	}
	typed := func(in [][]pair[string, string]) [][]pair[string, V] {
		out := make([][]pair[string, V], len(in))
		for i := range in {
			for _, p := range in[i] {
				out[i] = append(out[i], pair[string, V]{p.K, value(p.V)})
			}
		}
		return out
	}
	var saved checkpoint
	full := false // an image was saved
	for range 14 {
		in := draw.batch(rt)
		wanted := want(slices.Concat(in...))
		typedIn := typed(in)
		if len(in) == 0 && rapid.Bool().Draw(rt, "no dataset") {
			typedIn = nil
		}
		if rapid.IntRange(0, 2).Draw(rt, "an attempt is given up") == 0 {
			lossy.e.Run.Attempt++
			lossy.read(rt, lossy.node(t, lossy.at, typed(draw.batch(rt))))
			lossy.e.Run.Attempt++
		}
		fresh := &lineagetest.Engine{Blocks: lossy.e.Blocks, Encode: true, Run: lossy.e.Run} // its buckets are of other input
		if s, at := lossy.e.State(windowPart); s != nil {
			fresh.Restore(windowPart, s, at)
		}
		lossy.e = fresh
		n := lossy.next(t, typedIn)
		a, b := live.read(rt, live.next(t, typedIn)), lossy.read(rt, n)
		if again := lossy.read(rt, n); !slices.Equal(again, b) {
			rt.Fatalf("at %d: read again %v, first %v", live.at, again, b)
		}
		live.e.Complete(live.at)
		lossy.e.Complete(lossy.at)
		if !slices.Equal(a, b) || wanted != nil && !slices.Equal(a, wanted) {
			rt.Fatalf("at %d: %v, after losses %v, want %v", live.at, a, b, wanted)
		}
		state, at := lossy.e.State(windowPart)
		whole, _ := live.e.State(windowPart)
		if full && !bytes.Equal(encoded(whole, saved.at, false), encoded(state, saved.at, false)) {
			rt.Fatalf("at %d the changes since %d differ", at, saved.at)
		}
		if rapid.IntRange(0, 2).Draw(rt, "checkpoint") == 0 {
			size := rapid.SampledFrom([]int{1, 60, 500, 1 << 20}).Draw(rt, "chunk size")
			image := !full || rapid.Bool().Draw(rt, "image")
			saved.add(rt, state, image, saved.at, at, size)
			full = true
			state.Forget(at)
		}
		// What the checkpoint restores goes on as the state itself would. One of an earlier time may have panes that no
		// window needs any more, until the next batch.
		if full && saved.leadsTo(state) && rapid.Bool().Draw(rt, "restart") {
			lossy.e.Restore(windowPart, saved.restored(rt, stateful(t, n).Blank()), at)
			if state, _ = lossy.e.State(windowPart); saved.times[len(saved.times)-1] != at {
				continue
			}
		}
		if whole.Len() != state.Len() || !bytes.Equal(encoded(whole, 0, true), encoded(state, 0, true)) {
			rt.Fatalf("at %d the images of %d and %d rows differ", at, whole.Len(), state.Len())
		}
	}
}

func encoded(s dataset.State, since id.Time, full bool) (all []byte) {
	s.Encode(since, full, 1<<20, func(chunk []byte, _ int64) bool { all = append(all, chunk...); return true })
	return all
}

// Rules 6 and 7: whatever attempts were given up and whenever the state was restored, a window is what its batches make
// of it, in one order and byte for byte. User functions change what they are given.
func TestWindowsAreWhatTheirBatchesMakeOfThem(t *testing.T) {
	text := func(v string) string { return v }
	slice := func(v string) []byte { return []byte(v) }
	rapid.Check(t, func(rt *rapid.T) {
		every := rapid.Int64Range(1, 5).Draw(rt, "every")
		length := rapid.Int64Range(1, 12).Draw(rt, "length")
		kind := rapid.SampledFrom([]string{"reduce", "inverse", "inverse and keep", "gather"}).Draw(rt, "kind")
		if kind == "gather" {
			make := func() *windows[[]byte, [][]byte] {
				return gathering[[]byte](t, length, every).shown(func(v [][]byte) string { return string(bytes.Join(v, nil)) })
			}
			live := make()
			checkHistory(rt, t, live, make(), slice, newOracle(live.times).batch)
			return
		}
		var inverse func(a, b string) string
		if kind != "reduce" {
			length = max(length, every)
			inverse = cut
		}
		var keep func(k, v string) bool
		var keepSlices func(k string, v []byte) bool
		if kind == "inverse and keep" {
			keep = short
			keepSlices = func(k string, v []byte) bool {
				defer clear(v)
				return short(k, string(v))
			}
		}
		if rapid.Bool().Draw(rt, "values are slices") {
			make := func() *windows[[]byte, []byte] {
				w := reducing[[]byte](t, length, every, nil, nil, keepSlices).shown(func(v []byte) string { return string(v) })
				f := w.kept.onSlices(joined)
				w.w.Reduce, w.w.Batch.Value, w.w.Batch.Merge = f, f, f
				if inverse != nil {
					w.w.Inverse = w.kept.onSlices(cut)
				}
				return w
			}
			live := make()
			o := newOracle(live.times)
			o.inverse, o.keep = inverse != nil, keep
			checkHistory(rt, t, live, make(), slice, o.batch)
			return
		}
		make := func() *windows[string, string] { return reducing(t, length, every, joined, inverse, keep).shown(text) }
		live := make()
		o := newOracle(live.times)
		o.inverse, o.keep = inverse != nil, keep
		checkHistory(rt, t, live, make(), text, o.batch)
	})
}

// Rule 6: sums of floats depend on their order. Windows of the same batches have the same sums, whatever was lost.
func TestWindowsOfFloatsAreTheSameBitForBit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		every, length := rapid.Int64Range(1, 3).Draw(rt, "every"), rapid.Int64Range(3, 20).Draw(rt, "length")
		var inverse func(a, b float64) float64
		if rapid.Bool().Draw(rt, "inverse") {
			inverse = func(a, b float64) float64 { return a - b }
		}
		make := func() *windows[float64, float64] {
			return reducing(t, length, every, func(a, b float64) float64 { return a + b }, inverse, nil).
				shown(func(v float64) string { return fmt.Sprintf("%x", math.Float64bits(v)) })
		}
		value := func(v string) float64 { return 1 / (3 + float64(v[0])) }
		checkHistory(rt, t, make(), make(), value, func([]pair[string, string]) []string { return nil })
	})
}
