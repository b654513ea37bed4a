package main

import (
	"reflect"
	"testing"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestTotalsGoOnFromTheInitialOnes(t *testing.T) {
	got := streamtest.Run(t, [][]string{{"a b", "a"}, {}, {"a"}},
		func(s *dstream.DStream[string]) *dstream.DStream[count] {
			return totals(s, map[string]int64{"a": 10}).DStream
		},
		streamtest.Partitions(1), streamtest.RestartAfter(1), streamtest.RestartAfter(2))
	want := [][]count{{dstream.Pair("a", int64(12)), dstream.Pair("b", int64(1))}, {}, {dstream.Pair("a", int64(13))}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
