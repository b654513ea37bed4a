package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestTheMostFrequentHashtagsOfTheWindow(t *testing.T) {
	p := params{Window: 2 * time.Second, Slide: time.Second, Top: 2}
	got := streamtest.Run(t, [][]string{
		{"#go is fast", "I like #Go and #raft", "# is none, nor is a#b"},
		{"#raft #raft #spark"},
		{"#spark"},
		{},
		{},
	}, func(s *dstream.DStream[string]) *dstream.DStream[count] { return top(s, p) }, streamtest.RestartAfter(2))
	want := [][]count{
		{dstream.Pair("#go", int64(2)), dstream.Pair("#raft", int64(1))},
		{dstream.Pair("#raft", int64(3)), dstream.Pair("#go", int64(2))},
		{dstream.Pair("#raft", int64(2)), dstream.Pair("#spark", int64(2))}, // in the order of the alphabet
		{dstream.Pair("#spark", int64(1))},
		{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
