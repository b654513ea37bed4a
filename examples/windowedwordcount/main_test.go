package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestWordsOfTheWindowAreCounted(t *testing.T) {
	p := params{Window: 4 * time.Second, Slide: 2 * time.Second}
	got := streamtest.Run(t, [][]string{{"a"}, {"a b"}, {}, {"b"}, {}, {}, {}, {}},
		func(s *dstream.DStream[string]) *dstream.DStream[count] { return counts(s, p) },
		streamtest.Partitions(1), streamtest.RestartAfter(3))
	want := [][]count{
		{dstream.Pair("a", int64(2)), dstream.Pair("b", int64(1))}, // seconds 1 and 2
		{dstream.Pair("a", int64(2)), dstream.Pair("b", int64(2))}, // 1 to 4
		{dstream.Pair("b", int64(1))},                              // 3 to 6
		{},                                                         // 5 to 8
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
