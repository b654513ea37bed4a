package lineage_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// visitor does to a state what the value says; what it emits says what it saw.
func visitor(t id.Time, key string, value *string, c *lineage.Cell[mean]) (string, bool) {
	s, has := c.Get()
	if value == nil {
		return fmt.Sprintf("%d: %s timed out with %v", t, key, s), c.TimingOut()
	}
	switch *value {
	case "gone":
		c.Remove()
	case "look":
		s.Count++ // not given back
	default:
		next, _ := lately([]string{*value}, s, has)
		c.Update(next)
	}
	return fmt.Sprintf("%s %s %v", key, *value, s), *value != "quiet"
}

// visited is what visitor makes, as a list of rows.
type visited struct {
	timeout int64
	rows    []visitedRow
}

type visitedRow struct {
	key   string
	state mean
	last  id.Time
}

func (v *visited) batch(at id.Time, in [][]pair[string, string]) (emitted []string) {
	type touched struct {
		key   string
		state *mean
		put   bool
	}
	var keys []*touched
	for _, p := range slices.Concat(in...) {
		i := slices.IndexFunc(keys, func(c *touched) bool { return c.key == p.K })
		if i < 0 {
			c := &touched{key: p.K}
			if r := slices.IndexFunc(v.rows, func(r visitedRow) bool { return r.key == p.K }); r >= 0 {
				c.state = &v.rows[r].state
			}
			i, keys = len(keys), append(keys, c)
		}
		c := keys[i]
		var s mean
		if c.state != nil {
			s = *c.state
			s.Last = slices.Clone(s.Last)
		}
		line := fmt.Sprintf("%s %s %v", p.K, p.V, s)
		switch p.V {
		case "gone":
			c.state, c.put = nil, false
		case "look":
			c.put = c.put || c.state != nil && v.timeout > 0
			s.Count++
			line = fmt.Sprintf("%s %s %v", p.K, p.V, s)
		default:
			next, _ := lately([]string{p.V}, s, c.state != nil)
			c.state, c.put = &next, true
		}
		if p.V != "quiet" {
			emitted = append(emitted, line)
		}
	}
	var rows []visitedRow
	for _, r := range v.rows {
		i := slices.IndexFunc(keys, func(c *touched) bool { return c.key == r.key })
		switch {
		case i < 0 && v.timeout > 0 && int64(at-r.last) > v.timeout:
			emitted = append(emitted, fmt.Sprintf("%d: %s timed out with %v", at, r.key, r.state))
			continue
		case i < 0:
		case keys[i].state == nil:
			continue
		case keys[i].put:
			r.state, r.last = *keys[i].state, at
		}
		rows = append(rows, r)
	}
	for _, c := range keys {
		if c.state != nil && !slices.ContainsFunc(v.rows, func(r visitedRow) bool { return r.key == c.key }) {
			rows = append(rows, visitedRow{c.key, *c.state, at})
		}
	}
	v.rows = rows
	return emitted
}

func (v *visited) snapshot() (all []string) {
	for _, r := range v.rows {
		all = append(all, fmt.Sprint(pair[string, mean]{r.key, r.state}))
	}
	return all
}

type visits = maps[string, string, mean, string]

// readVisits reads what a batch emits and leaves, in any order of the two.
func readVisits(rt *rapid.T, m *visits, n steps[string, mean, string]) (emitted, rest []string) {
	out, snapshot := m.both(n)
	first := rapid.Bool().Draw(rt, "emitted first")
	read := func(task dataset.Task) {
		out.Each(task, 0, func(s string) bool { emitted = append(emitted, s); return true })
	}
	if err := m.e.Try(n, func(task dataset.Task) {
		if first {
			read(task)
		}
		snapshot.Each(task, 0, func(p pair[string, mean]) bool { rest = append(rest, fmt.Sprint(p)); return true })
		if !first {
			read(task)
		}
	}); err != nil {
		rt.Fatal(err)
	}
	return emitted, rest
}

// Rules 6 and 7, with timeouts: whatever attempts were given up and whenever the state was restored from an image and
// changes, it is what a plain loop over all batches makes, in one order and byte for byte.
func TestRestoredMappedStateIsTheStateThatWasNeverLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		timeout := rapid.SampledFrom([]int64{0, 1, 1000, 1500, 3000, 4000}).Draw(rt, "timeout")
		live, lossy := mapped(t, 1, timeout, visitor), mapped(t, 1, timeout, visitor)
		lossy.e.Encode = true
		if rapid.Bool().Draw(rt, "emitted values have no codec") {
			lossy.m.Emitted = nil
		}
		want := &visited{timeout: timeout}
		part := lineagetest.StatePart{Stream: states}
		draw := &batches{
			rng:    rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)),
			keys:   rapid.SampledFrom([]int{1, 20, 300}).Draw(rt, "keys"),
			values: []string{"a", "b", "quiet", "look", "gone"},
		}
		var saved checkpoint
		var full bool // an image was saved
		for range 12 {
			in := draw.batch(rt)
			if rapid.Bool().Draw(rt, "an attempt is given up") {
				other := draw.batch(rt)
				lossy.e.Run.Attempt++
				readVisits(rt, lossy, lossy.node(t, lossy.at, other))
				lossy.e.Run.Attempt++
			}
			fresh := &lineagetest.Engine{Blocks: lossy.e.Blocks, Encode: true, Run: lossy.e.Run} // its buckets are of other input
			if s, at := lossy.e.State(part); s != nil {
				fresh.Restore(part, s, at)
			}
			lossy.e = fresh
			a, restA := readVisits(rt, live, live.next(t, in))
			b, restB := readVisits(rt, lossy, lossy.next(t, in))
			live.e.Complete(live.at)
			lossy.e.Complete(lossy.at)
			emitted := want.batch(live.at, in)
			if !slices.Equal(a, emitted) || !slices.Equal(b, emitted) {
				rt.Fatalf("at %d emitted: %q and %q, want %q", live.at, a, b, emitted)
			}
			if rest := want.snapshot(); !slices.Equal(restA, rest) || !slices.Equal(restB, rest) {
				rt.Fatalf("at %d: %v and %v, want %v", live.at, restA, restB, rest)
			}
			state, at := lossy.e.State(part)
			if rapid.IntRange(0, 2).Draw(rt, "checkpoint") == 0 {
				size := rapid.SampledFrom([]int{1, 60, 500, 1 << 20}).Draw(rt, "chunk size")
				image := !full || rapid.Bool().Draw(rt, "image")
				saved.add(rt, state, image, saved.at, at, size)
				full = true
				state.Forget(at)
			}
			if full && saved.leadsTo(state) && rapid.Bool().Draw(rt, "restart") {
				blank := stateful(t, live.node(t, live.at, nil)).Blank()
				lossy.e.Restore(part, saved.restored(rt, blank), at)
			}
			now, _ := live.e.State(part)
			state, _ = lossy.e.State(part)
			if !bytes.Equal(image(now), image(state)) {
				rt.Fatalf("at %d the images differ", at)
			}
		}
	})
}
