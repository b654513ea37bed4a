package main

import (
	"cmp"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestImpressionsAreJoinedWithTheClicksOfTheirWindow(t *testing.T) {
	input := [][]string{{"imp 1", "imp 2"}, {"click 1", "click 9"}, {"imp 3"}, {"click 3", "click 3", "click 2"}}
	got := streamtest.Run(t, input,
		func(s *dstream.DStream[string]) *dstream.DStream[marked] { return clicked(s, 2*time.Second) },
		streamtest.RestartAfter(1), streamtest.RestartAfter(3))
	for _, batch := range got {
		slices.SortFunc(batch, func(a, b marked) int { return cmp.Compare(a.Key, b.Key) })
	}
	want := [][]marked{{dstream.Pair("1", true), dstream.Pair("2", false)}, {dstream.Pair("3", true)}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
