package main

import (
	"reflect"
	"testing"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestWordsAreCountedPerBatch(t *testing.T) {
	got := streamtest.Run(t, [][]string{{"a b", "a"}, {}, {"b"}}, counts, streamtest.Partitions(1))
	want := [][]dstream.KV[string, int64]{{dstream.Pair("a", int64(2)), dstream.Pair("b", int64(1))}, {}, {dstream.Pair("b", int64(1))}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
