package streamtest_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// The facts are those of Spark's CheckpointSuite: what comes out is the same whether all processes restart between two
// batches or none does.
func TestCheckpointSuite(t *testing.T) {
	t.Run("recovery with map and reduceByKey operations", func(t *testing.T) {
		half := [][]string{{"a", "a", "b"}, {"", ""}, {}}
		got := streamtest.Run(t, append(half, half...), func(s stream[string]) stream[stringInts] {
			return dstream.ReduceByKey(dstream.Map(s, pairOne), dstream.Sum)
		}, streamtest.RestartAfter(3), streamtest.BatchInterval(500*time.Millisecond), streamtest.Partitions(2))
		want := [][]map[string]int{{{"a": 2, "b": 1}}, {{"": 2}}, {{}}, {{"a": 2, "b": 1}}, {{"": 2}}, {{}}}
		for i, batch := range got {
			sums := map[string]int{}
			for _, p := range batch {
				sums[p.Key] += p.Value
			}
			if !reflect.DeepEqual(sums, want[i][0]) || len(batch) != len(sums) {
				t.Errorf("batch %d: %v, expected %v", i+1, batch, want[i][0])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d batches, expected %d", len(got), len(want))
		}
	})
	t.Run("recovery with updateStateByKey operation", func(t *testing.T) {
		var input [][]string
		var want [][]stringInts
		for i := range 10 {
			input = append(input, []string{"a"})
			want = append(want, []stringInts{pair("a", i+1)})
		}
		got := streamtest.Run(t, input, every(time.Second), streamtest.RestartAfter(7), streamtest.BatchInterval(500*time.Millisecond))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

// Spark: FailureSuite.
func TestFailureSuite(t *testing.T) {
	t.Run("multiple failures with updateStateByKey", TestMultipleFailuresWithUpdateStateByKey)
}
