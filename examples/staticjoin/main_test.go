package main

import (
	"maps"
	"testing"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestOrdersArePriced(t *testing.T) {
	p := params{Prices: []price{{"tea", 250}, {"cake", 400}}}
	got := streamtest.Run(t, [][]string{{"tea", "tea", "cake"}, {}, {"cake", "water"}}, func(s *dstream.DStream[string]) *dstream.DStream[sum] {
		return turnover(s, p)
	}, streamtest.RestartAfter(1))
	want := []map[string]int64{{"tea": 500, "cake": 400}, {}, {"cake": 400, "water": 0}}
	for i, batch := range got {
		sums := map[string]int64{}
		for _, s := range batch {
			sums[s.Key] += s.Value
		}
		if !maps.Equal(sums, want[i]) {
			t.Errorf("batch %d: got %v, want %v", i+1, batch, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d batches", len(got))
	}
}
