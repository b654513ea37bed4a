package streamtest_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

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

// console is the testing.TB of the examples here; a test has its own.
type console struct{ testing.TB }

func (console) Helper()                           {}
func (console) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (console) Fatalf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// totals are the counts since the start.
func totals(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
	return dstream.UpdateStateByKey(wordCount(lines), func(values []int64, state dstream.Opt[int64]) dstream.Opt[int64] {
		for _, v := range values {
			state.Value += v
		}
		return dstream.Some(state.Value)
	})
}

// Batches of half a second, the last of which have no input; a missing dataset is not the same as an empty one.
func ExampleRun() {
	latest := func(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
		return dstream.CountByValue(lines.Window(time.Second, 500*time.Millisecond))
	}
	for _, batch := range streamtest.Run(console{}, [][]string{{"a"}, nil, {"a"}}, latest,
		streamtest.Partitions(1), streamtest.BatchInterval(500*time.Millisecond), streamtest.Batches(5)) {
		fmt.Println(batch)
	}
	// Output:
	// [(a,1)]
	// [(a,1)]
	// [(a,1)]
	// [(a,1)]
	// []
}

// State goes on from what was committed.
func ExampleRestartAfter() {
	for _, batch := range streamtest.Run(console{}, [][]string{{"a b"}, {"a"}, {}}, totals,
		streamtest.Partitions(1), streamtest.RestartAfter(1), streamtest.RestartAfter(2)) {
		fmt.Println(batch)
	}
	// Output:
	// [(a,1) (b,1)]
	// [(a,2) (b,1)]
	// [(a,2) (b,1)]
}

// An executor dies with its memory and its disk between any two batches: what it held is made again.
func ExampleLoseExecutorAfter() {
	for _, batch := range streamtest.Run(console{}, [][]string{{"a b"}, {"a"}, {"b b"}}, totals,
		streamtest.Partitions(1), streamtest.LoseExecutorAfter(1), streamtest.LoseExecutorAfter(2)) {
		fmt.Println(batch)
	}
	// Output:
	// [(a,1) (b,1)]
	// [(a,2) (b,1)]
	// [(a,2) (b,3)]
}
