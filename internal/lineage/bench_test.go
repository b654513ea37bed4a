package lineage_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
	"github.com/raftstream/raftstream/internal/table"
)

// block makes lines of words as rows, and as text.
func block(tb testing.TB, vocabulary int) (lines []string, words int) {
	rng := rand.New(rand.NewPCG(1, 2))
	z := rand.NewZipf(rng, 1.1, 2.7, uint64(vocabulary-1))
	var b bytes.Buffer
	for range 20000 {
		b.Reset()
		for range 15 {
			fmt.Fprintf(&b, "w%x ", z.Uint64()*2654435761%0xffffff)
			words++
		}
		lines = append(lines, b.String())
	}
	return lines, words
}

// BenchmarkWordCount compares the fused path (block, lines, words, pairs, table of combiners) with the same job as one
// hand-written loop over the same table, and with a Go map.
func BenchmarkWordCount(b *testing.B) {
	for _, vocabulary := range []int{1000, 100000} {
		lines, words := block(b, vocabulary)
		var e lineagetest.Engine
		s := scope()
		n := given(b, &e, s, lines)
		data := e.Blocks[lineagetest.Input{Time: 1000}]
		perWord := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(words), "ns/word")
		}
		c := codecOf[string](b)
		b.Run(fmt.Sprintf("hand/%d", vocabulary), func(b *testing.B) {
			for b.Loop() {
				handLoop(b, c, data)
			}
			perWord(b)
		})
		b.Run(fmt.Sprintf("map/%d", vocabulary), func(b *testing.B) {
			for b.Loop() {
				m := map[string]*int64{}
				var line string
				for rest := data; len(rest) > 0; {
					rest, _ = c.Read(rest, &line)
					for w := range strings.FieldsSeq(line) {
						p := m[w]
						if p == nil {
							p = new(int64)
							m[strings.Clone(w)] = p
						}
						*p++
					}
				}
			}
			perWord(b)
		})
		b.Run(fmt.Sprintf("fused/%d", vocabulary), func(b *testing.B) {
			w := lineage.FlatMap(s, n, strings.FieldsSeq)
			ones := lineage.Map(s, w, func(w string) pair[string, int64] { return pair[string, int64]{w, 1} })
			counts := lineage.CombineByKey(s, ones, keyed[string, int64, int64](b), sum[int64](), 1)
			for b.Loop() {
				if err := e.Try(counts, func(t dataset.Task) { counts.Each(t, 0, func(pair[string, int64]) bool { return true }) }); err != nil {
					b.Fatal(err)
				}
			}
			perWord(b)
		})
	}
}

// BenchmarkFusedAgainstHand runs the fused path and the loop by hand over the same table in turn, so that a slow moment of
// the machine hits both, and reports the median of the pairs' ratios of time.
func BenchmarkFusedAgainstHand(b *testing.B) {
	lines, words := block(b, 100_000)
	var e lineagetest.Engine
	s := scope()
	n := given(b, &e, s, lines)
	data := e.Blocks[lineagetest.Input{Time: 1000}]
	c := codecOf[string](b)
	ones := lineage.Map(s, lineage.FlatMap(s, n, strings.FieldsSeq), func(w string) pair[string, int64] { return pair[string, int64]{w, 1} })
	counts := lineage.CombineByKey(s, ones, keyed[string, int64, int64](b), sum[int64](), 1)
	var ratios, fused, hand []float64
	for b.Loop() {
		start := time.Now()
		handLoop(b, c, data)
		middle := time.Now()
		if err := e.Try(counts, func(t dataset.Task) { counts.Each(t, 0, func(pair[string, int64]) bool { return true }) }); err != nil {
			b.Fatal(err)
		}
		end := time.Now()
		h, f := float64(middle.Sub(start).Nanoseconds()), float64(end.Sub(middle).Nanoseconds())
		ratios, hand, fused = append(ratios, f/h), append(hand, h/float64(words)), append(fused, f/float64(words))
	}
	for _, all := range [][]float64{ratios, hand, fused} {
		slices.Sort(all)
	}
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(hand[len(hand)/2], "hand-ns/word")
	b.ReportMetric(fused[len(fused)/2], "fused-ns/word")
}

func handLoop(b *testing.B, c *codec.Codec[string], data []byte) {
	tab := table.New[string, int64](c.Own)
	hash := new(string)
	for len(data) > 0 {
		// The encoding of a string by hand: lines of the benchmark have lengths of one or two bytes.
		n, k := int(data[0]), 1
		if n >= 0x80 {
			n, k = n&0x7f|int(data[1])<<7, 2
		}
		line := unsafe.String(&data[k], n)
		data = data[k+n:]
		for w := range strings.FieldsSeq(line) {
			*hash = w
			v, _ := tab.Row(c.Hash(hash), w)
			*v++
		}
	}
}

// TestRecordsAreNotBoxed counts allocations of the fused path: a few per partition and per growth of the table, none
// per record.
func TestRecordsAreNotBoxed(t *testing.T) {
	lines, words := block(t, 1000)
	var e lineagetest.Engine
	s := scope()
	n := given(t, &e, s, lines)
	ones := lineage.Map(s, lineage.FlatMap(s, n, strings.FieldsSeq), func(w string) pair[string, int64] { return pair[string, int64]{w, 1} })
	counts := lineage.CombineByKey(s, ones, keyed[string, int64, int64](t), sum[int64](), 1)
	allocs := testing.AllocsPerRun(2, func() {
		if err := e.Try(counts, func(task dataset.Task) { drain(counts, task, 0) }); err != nil {
			t.Fatal(err)
		}
	})
	// strings.FieldsSeq makes one function per line.
	if most := float64(len(lines) + words/100); allocs > most {
		t.Errorf("%v allocations for %d words in %d lines, expected at most %v", allocs, words, len(lines), most)
	}
}
