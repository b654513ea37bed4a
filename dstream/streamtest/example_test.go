package streamtest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// wordCount is the part of an application that is worth testing: from lines to counts.
func wordCount(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
	words := dstream.FlatMap(lines, strings.FieldsSeq)
	pairs := dstream.Map(words, func(w string) dstream.KV[string, int64] { return dstream.Pair(w, int64(1)) })
	return dstream.ReduceByKey(pairs, dstream.Sum)
}

// TestWordCount is how an application is tested: three batches in, three out, everything volatile lost after the first.
func TestWordCount(t *testing.T) {
	got := streamtest.Run(t, [][]string{{"to be or", "not to be"}, {}, {"be"}}, wordCount,
		streamtest.Partitions(1), streamtest.RestartAfter(1))
	want := [][]dstream.KV[string, int64]{
		{dstream.Pair("to", int64(2)), dstream.Pair("be", int64(2)), dstream.Pair("or", int64(1)), dstream.Pair("not", int64(1))},
		{},
		{dstream.Pair("be", int64(1))},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
