package lineage_test

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

type wordInt = pair[string, int64]

// BenchmarkJoin compares a join and a cogroup of two partitions in memory with the same by hand over Go maps: a million
// records on the left, one on the right for every key.
func BenchmarkJoin(b *testing.B) {
	const records = 1 << 20
	for _, keys := range []int{1000, 100_000} {
		rng := rand.New(rand.NewPCG(1, 2))
		var left, right []wordInt
		for i := range keys {
			right = append(right, wordInt{fmt.Sprintf("key %d", i), int64(i)})
		}
		for range records {
			left = append(left, wordInt{fmt.Sprintf("key %d", rng.IntN(keys)), rng.Int64()})
		}
		perRecord := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
		}
		byHand := func() (sum int64) {
			m := map[string][]int64{}
			for _, p := range right {
				m[p.K] = append(m[p.K], p.V)
			}
			for _, p := range left {
				for _, v := range m[p.K] {
					sum += p.V ^ v
				}
			}
			return sum
		}
		want := byHand()
		b.Run(fmt.Sprintf("join by hand/%d", keys), func(b *testing.B) {
			for b.Loop() {
				byHand()
			}
			perRecord(b)
		})
		b.Run(fmt.Sprintf("cogroup by hand/%d", keys), func(b *testing.B) {
			for b.Loop() {
				m := map[string]*[2][]int64{}
				for i, side := range [][]wordInt{left, right} {
					for _, p := range side {
						if m[p.K] == nil {
							m[p.K] = new([2][]int64)
						}
						m[p.K][i] = append(m[p.K][i], p.V)
					}
				}
			}
			perRecord(b)
		})
		s := scope()
		side := func(in []wordInt) lineage.Side[wordInt, string, int64] {
			n := lineage.Static(s, 1, func(int) iter.Seq[wordInt] {
				return func(yield func(wordInt) bool) {
					for _, p := range in {
						if !yield(p) {
							return
						}
					}
				}
			})
			return lineage.Side[wordInt, string, int64]{Node: n, Split: func(p wordInt) (string, int64) { return p.K, p.V }, Value: codecOf[int64](b)}
		}
		k := lineage.JoinKey[string]{Codec: codecOf[string](b), By: "pair", Parts: 1}
		joined := lineage.Join(s, side(left), side(right), k, lineage.Outer{}, func(_ string, v int64, _ bool, w int64, _ bool) int64 { return v ^ w })
		grouped := lineage.CoGroup(s, side(left), side(right), k, func(_ string, v, w []int64) int { return len(v) * len(w) })
		var e lineagetest.Engine
		b.Run(fmt.Sprintf("join/%d", keys), func(b *testing.B) {
			for b.Loop() {
				sum := int64(0)
				if err := e.Try(joined, func(t dataset.Task) { joined.Each(t, 0, func(v int64) bool { sum += v; return true }) }); err != nil || sum != want {
					b.Fatalf("%d, want %d (%v)", sum, want, err)
				}
			}
			perRecord(b)
		})
		b.Run(fmt.Sprintf("cogroup/%d", keys), func(b *testing.B) {
			for b.Loop() {
				n := 0
				if err := e.Try(grouped, func(t dataset.Task) { grouped.Each(t, 0, func(v int) bool { n += v; return true }) }); err != nil || n != records {
					b.Fatalf("%d (%v)", n, err)
				}
			}
			perRecord(b)
		})
	}
}
