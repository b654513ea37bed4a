package table_test

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/internal/table"
)

func none[K any](*K) {}

func TestTableHoldsWhatAMapHolds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	// A poor hash makes long runs of slots and equal hashes of different keys.
	for _, bits := range []uint64{0, 3, 0xff, ^uint64(0)} {
		tab, want := table.New[int64, int](none), map[int64]int{}
		var order []int64
		for range 3000 {
			k := int64(rng.IntN(900))
			v, found := tab.Row(uint64(k)*0x9e3779b97f4a7c15&bits, k)
			if _, ok := want[k]; ok != found {
				t.Fatalf("key %d: found %v, want %v", k, found, ok)
			}
			if !found {
				order = append(order, k)
			}
			*v++
			want[k]++
		}
		if tab.Len() != len(want) {
			t.Fatalf("%d rows, want %d", tab.Len(), len(want))
		}
		var hashes []uint64
		var keys []int64
		for k := int64(-50); k < 1500; k++ { // some of them are there
			keys, hashes = append(keys, k), append(hashes, uint64(k)*0x9e3779b97f4a7c15&bits)
		}
		rows := make([]int32, len(keys))
		tab.FindAll(hashes, keys, rows)
		for i, k := range keys {
			if row := slices.Index(order, k); int(rows[i]) != row || tab.Find(hashes[i], k) != row {
				t.Fatalf("key %d: row %d of all, %d alone, want %d", k, rows[i], tab.Find(hashes[i], k), row)
			}
		}
		for i, k := range tab.Keys() {
			if k != order[i] || tab.Values()[i] != want[k] {
				t.Errorf("row %d: %d=%d, want %d=%d", i, k, tab.Values()[i], order[i], want[order[i]])
			}
		}
	}
}

func TestStringKeysAreCopiedWhenPut(t *testing.T) {
	tab := table.New[string, int](none)
	var want []string
	hash := maphash.MakeSeed()
	buf := make([]byte, 0, 1<<20)
	for i := range 20000 {
		buf = append(buf[:0], "key "+strconv.Itoa(i)...)
		if i%5000 == 17 {
			buf = append(buf, strings.Repeat("x", 100000)...)
		}
		want = append(want, string(buf))
		tab.Row(maphash.Bytes(hash, buf), string(buf))
	}
	clear(buf)
	for i, k := range tab.Keys() {
		if k != want[i] {
			t.Fatalf("key %d changed", i)
		}
	}
}

func TestOtherKeysAreOwnedOnce(t *testing.T) {
	type key struct{ A, B string }
	n := 0
	tab := table.New[key, int](func(k *key) { n++; k.A, k.B = strings.Clone(k.A), strings.Clone(k.B) })
	for range 3 {
		tab.Row(1, key{"a", "b"})
		tab.Row(1, key{"b", "a"})
	}
	if n != 2 || tab.Len() != 2 {
		t.Errorf("%d keys owned, %d rows", n, tab.Len())
	}
}

// BenchmarkCount compares with a Go map over words with a Zipf-like distribution; the hash is the same for both.
func BenchmarkCount(b *testing.B) {
	for _, vocabulary := range []int{1000, 100000} {
		words := make([]string, 1<<18)
		z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 2.7, uint64(vocabulary-1))
		for i := range words {
			words[i] = fmt.Sprintf("w%x", z.Uint64()*2654435761)
		}
		seed := maphash.MakeSeed()
		b.Run(fmt.Sprintf("map/%d", vocabulary), func(b *testing.B) {
			for b.Loop() {
				m := map[string]int64{}
				for _, w := range words {
					m[w]++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(words)), "ns/word")
		})
		b.Run(fmt.Sprintf("table/%d", vocabulary), func(b *testing.B) {
			for b.Loop() {
				t := table.New[string, int64](none)
				for _, w := range words {
					v, _ := t.Row(maphash.String(seed, w), w)
					*v++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(words)), "ns/word")
		})
	}
}
