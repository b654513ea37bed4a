package table_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/table"
)

// entry is what a row of a state table holds.
type entry struct {
	key   string
	value int
	at    int64
}

// oracle is a state table as a list.
type oracle struct {
	rows []entry
	gone []entry
}

func (o *oracle) find(key string) int {
	return slices.IndexFunc(o.rows, func(e entry) bool { return e.key == key })
}

func (o *oracle) put(e entry) {
	if i := o.find(e.key); i >= 0 {
		o.rows[i] = e
		return
	}
	o.rows = append(o.rows, e)
}

func (o *oracle) remove(key string, at int64) {
	o.rows = slices.DeleteFunc(o.rows, func(e entry) bool { return e.key == key })
	o.gone = append(o.gone, entry{key: key, at: at})
}

func rowsOf(t *table.State[string, int]) (all []entry) {
	for row := range t.Rows() {
		if t.Live(row) {
			all = append(all, entry{t.Key(row), *t.Value(row), t.Stamp(row)})
		}
	}
	return all
}

// Rule 6: the order of rows follows from what was put and removed, whatever was compacted on the way.
func TestStateHoldsWhatAListHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// A poor hash makes long runs of slots, and equal hashes of different keys.
		mask := rapid.SampledFrom([]uint64{0, 3, 0xff, ^uint64(0)}).Draw(rt, "mask")
		keys := rapid.SampledFrom([]int{1, 20, 400}).Draw(rt, "keys")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		hash := func(key string) uint64 {
			h := uint64(14695981039346656037)
			for _, c := range []byte(key) {
				h = (h ^ uint64(c)) * 1099511628211
			}
			return h & mask
		}
		tab, want := table.NewState[string, int](nil, func(k *string) uint64 { return hash(*k) }), &oracle{}
		for at := int64(1); at <= 12; at++ {
			if rapid.IntRange(0, 3).Draw(rt, "forget") == 0 {
				tab.Forget(at - 2)
				want.gone = slices.DeleteFunc(want.gone, func(e entry) bool { return e.at <= at-2 })
			}
			removing := rapid.SampledFrom([]int{0, 3, 9}).Draw(rt, "removing")
			for i := range rapid.SampledFrom([]int{0, 5, 600}).Draw(rt, "size of a batch") {
				key := fmt.Sprintf("key %d", rng.IntN(keys))
				row := tab.Find(hash(key), key)
				if (row >= 0) != (want.find(key) >= 0) {
					rt.Fatalf("key %q is in row %d, the oracle says %d", key, row, want.find(key))
				}
				switch {
				case i%10 >= removing:
					e := entry{key, i, at}
					tab.Put(hash(key), string([]byte(key)), e.value, at)
					want.put(e)
				case row >= 0:
					tab.Remove(row, at)
					want.remove(key, at)
				}
			}
			tab.Compact()
			if got := rowsOf(tab); !slices.Equal(got, want.rows) || tab.Len() != len(want.rows) {
				rt.Fatalf("at %d: %v, want %v", at, got, want.rows)
			}
			if holes := tab.Rows() - tab.Len(); tab.Rows() >= 64 && holes > tab.Len() {
				rt.Fatalf("%d of %d rows are of removed keys", holes, tab.Rows())
			}
			var gone []entry
			for k := range tab.Removed(at - 2) {
				gone = append(gone, entry{key: *k})
			}
			wantGone := []entry{}
			for _, g := range want.gone {
				if g.at > at-2 {
					wantGone = append(wantGone, entry{key: g.key})
				}
			}
			if !slices.Equal(gone, wantGone) {
				rt.Fatalf("removed after %d: %v, want %v", at-2, gone, wantGone)
			}
		}
	})
}

func TestStateOwnsItsKeys(t *testing.T) {
	type key struct{ A string }
	owned := 0
	tab := table.NewState[key, int](func(*key) { owned++ }, nil)
	for i := range 3 {
		tab.Put(7, key{"a"}, i, 1)
		tab.Put(7, key{"b"}, i, 1)
	}
	if owned != 2 {
		t.Errorf("%d keys owned, expected 2", owned)
	}
	text := []byte("text")
	texts := table.NewState[string, int](nil, nil)
	texts.Put(1, string(text), 1, 1)
	clear(text)
	if texts.Key(0) != "text" {
		t.Error("the key changed")
	}
}

// Rows are kept in pieces: nothing is different where one ends, for keys that are strings and for others.
func TestStateOfManyPieces(t *testing.T) {
	number := func(k *int) uint64 { return uint64(*k%5000) * 0x9e3779b97f4a7c15 } // two keys for most hashes
	ints := table.NewState[int, int](func(*int) {}, number)
	texts := table.NewState[string, int](nil, func(k *string) uint64 { n := len(*k); return number(&n) })
	text := func(i int) string { return strings.Repeat("k", i) }
	many := 2*table.PieceRows + 10
	var hashes []uint64
	var numbers []int
	var keys []string
	for i := range many + 100 {
		hashes, numbers, keys = append(hashes, number(&i)), append(numbers, i), append(keys, text(i))
		if i < many {
			ints.Put(hashes[i], i, -i, int64(i))
			texts.Put(hashes[i], keys[i], -i, int64(i))
		}
	}
	check := func(kept func(i int) bool) {
		t.Helper()
		rows, others := make([]int32, len(keys)), make([]int32, len(keys))
		ints.FindAll(hashes, numbers, rows)
		texts.FindAll(hashes, keys, others)
		for i, row := range rows {
			if row != others[i] || int(row) != ints.Find(hashes[i], i) || (row >= 0) != (i < many && kept(i)) {
				t.Fatalf("key %d is in rows %d and %d, and %d by itself", i, row, others[i], ints.Find(hashes[i], i))
			}
			if row < 0 {
				continue
			}
			vals, stamps := texts.Piece(int(row) / table.PieceRows * table.PieceRows)
			in := int(row) % table.PieceRows
			if ints.Key(int(row)) != i || texts.Key(int(row)) != keys[i] || *ints.Value(int(row)) != -i || vals[in] != -i || stamps[in] != int64(i) {
				t.Fatalf("row %d is not that of key %d", row, i)
			}
		}
	}
	check(func(int) bool { return true })
	for i := range many {
		if i%3 != 0 {
			ints.Remove(ints.Find(hashes[i], i), 1)
			texts.Remove(texts.Find(hashes[i], keys[i]), 1)
		}
	}
	check(func(i int) bool { return i%3 == 0 })
	if !ints.Compact() || !texts.Compact() || ints.Rows() != (many+2)/3 {
		t.Errorf("%d rows after compacting", ints.Rows())
	}
	check(func(i int) bool { return i%3 == 0 })
}
