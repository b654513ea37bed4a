package streamtest_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestStateSurvivesTheLossOfAnExecutorAfterAnyBatch(t *testing.T) {
	for n := 1; n <= len(letters); n++ {
		for name, op := range map[string]op[string, stringInts]{"without checkpoints": running, "with checkpoints": every(2 * time.Second)} {
			got := streamtest.Run(t, letters, op, streamtest.LoseExecutorAfter(n), streamtest.Partitions(3))
			if g, w := sorted(texts(got)), sorted(texts(lettersSums)); !reflect.DeepEqual(g, w) {
				t.Errorf("%s, lost after %d: %v, want %v", name, n, g, w)
			}
		}
	}
}

func TestStateSurvivesLossesAndRestartsAfterEveryBatch(t *testing.T) {
	var opts []streamtest.Option
	for n := range tenOfA {
		opts = append(opts, streamtest.LoseExecutorAfter(n+1), streamtest.RestartAfter(n+1))
	}
	got := streamtest.Run(t, tenOfA, every(3*time.Second), opts...)
	if want := onesOfA(len(tenOfA)); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func sorted(batches [][]string) [][]string {
	for _, b := range batches {
		slices.Sort(b)
	}
	return batches
}
