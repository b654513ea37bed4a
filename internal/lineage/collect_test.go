package lineage_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

func TestRowsAreReadBackUpToTheirLimit(t *testing.T) {
	c, err := codec.For[[]string]()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		words := rapid.SliceOfN(rapid.SliceOfN(rapid.StringN(0, 20, -1), 0, 3), 0, 30).Draw(rt, "words")
		if len(words) > 0 && rapid.Bool().Draw(rt, "a long one") {
			words[0] = []string{strings.Repeat("x", 200<<10)} // more than a piece
		}
		limit := rapid.IntRange(-1, 31).Draw(rt, "limit")
		block := []byte{}
		for i := range words {
			block = c.AppendRow(block, &words[i])
		}
		e := lineagetest.Engine{Blocks: map[lineagetest.Input][]byte{{Time: 1}: block}}
		n := lineage.Source(&lineage.Scope{Time: 1}, 1, c)
		var rows []byte
		var records, count int64
		if err := e.Try(n, func(task dataset.Task) {
			records = n.Rows(task, 0, limit, c, func(piece []byte) {
				rows = append(rows, piece...)
				clear(piece) // it is the loop's again
			})
			count = n.Count(task, 0)
		}); err != nil {
			rt.Fatal(err)
		}
		want := words
		if limit >= 0 {
			want = words[:min(limit, len(words))]
		}
		got, err := lineage.ReadRows([][]string{{"before"}}, rows, records, c)
		if err != nil || records != int64(len(want)) || count != int64(len(words)) {
			rt.Fatalf("%d of %d records, %v, expected %d of %d", records, count, err, len(want), len(words))
		}
		if !slices.EqualFunc(got[1:], want, slices.Equal[[]string]) {
			rt.Errorf("got %q, want %q", got[1:], want)
		}
	})
}

// BenchmarkCollect measures what collecting costs beside computing: reading a block, with and without making rows of it,
// and reading those.
func BenchmarkCollect(b *testing.B) {
	lines, _ := block(b, 1000)
	var e lineagetest.Engine
	s := scope()
	n := given(b, &e, s, lines)
	c := codecOf[string](b)
	perLine := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(lines)), "ns/line")
	}
	var rows []byte
	if err := e.Try(n, func(task dataset.Task) {
		b.Run("compute", func(b *testing.B) {
			for b.Loop() {
				n.Count(task, 0)
			}
			perLine(b)
		})
		b.Run("rows", func(b *testing.B) {
			for b.Loop() {
				rows = rows[:0]
				n.Rows(task, 0, -1, c, func(piece []byte) { rows = append(rows, piece...) })
			}
			perLine(b)
		})
	}); err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		var got []string
		for b.Loop() {
			var err error
			if got, err = lineage.ReadRows(got[:0], rows, int64(len(lines)), c); err != nil {
				b.Fatal(err)
			}
		}
		perLine(b)
	})
}

func TestDamagedRowsAreErrors(t *testing.T) {
	c, err := codec.For[string]()
	if err != nil {
		t.Fatal(err)
	}
	word := "abc"
	rows := c.AppendRow(c.AppendRow(nil, &word), &word)
	for name, read := range map[string]func() ([]string, error){
		"fewer records":   func() ([]string, error) { return lineage.ReadRows(nil, rows, 1, c) },
		"more records":    func() ([]string, error) { return lineage.ReadRows(nil, rows, 3, c) },
		"far more":        func() ([]string, error) { return lineage.ReadRows(nil, rows, 1<<60, c) },
		"less than none":  func() ([]string, error) { return lineage.ReadRows(nil, rows, -1, c) },
		"cut in a record": func() ([]string, error) { return lineage.ReadRows(nil, rows[:len(rows)-1], 2, c) },
	} {
		if _, err := read(); !errors.Is(err, codec.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
