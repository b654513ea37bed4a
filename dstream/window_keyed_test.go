package dstream_test

import (
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
)

func TestWindowsThatCannotBeAreRefused(t *testing.T) {
	sum := func(a, b int) int { return a + b }
	type pairs = *dstream.DStream[dstream.KV[string, int]]
	for _, c := range []struct {
		build func(s pairs)
		want  string
	}{
		{func(s pairs) { dstream.ReduceByKeyAndWindow(s, sum, 2500*time.Millisecond, time.Second).Print() }, "reduceByKeyAndWindow: window 2.5s: expected a multiple of the parent's slide 1s"},
		{func(s pairs) { dstream.GroupByKeyAndWindow(s, 2*time.Second, 1500*time.Millisecond).Print() }, "groupByKeyAndWindow: slide 1.5s: expected a multiple of the parent's slide 1s"},
		{func(s pairs) { s.CountByWindow(0, time.Second).Print() }, "countByWindow: window 0s"},
		{func(s pairs) { dstream.CountByValueAndWindow(s, time.Second, -time.Second).Print() }, "countByValueAndWindow: slide -1s"},
		{func(s pairs) { s.Count().ReduceByWindow(nil, time.Second, time.Second).Print() }, "reduceByWindow: the function is nil"},
		{func(s pairs) { s.Count().ReduceByWindowInverse(dstream.Sum, nil, time.Second, time.Second).Print() }, "reduceByWindowInverse: the function is nil"},
		{func(s pairs) {
			s.Count().ReduceByWindowInverse(dstream.Sum, dstream.Sum, time.Second, 2*time.Second).Print()
		}, "reduceByWindowInverse: slide 2s is greater than the window 1s"},
		{func(s pairs) { dstream.ReduceByKeyAndWindowInverse(s, sum, sum, time.Second, 2*time.Second).Print() }, "reduceByKeyAndWindowInverse: slide 2s is greater than the window 1s"},
		{func(s pairs) {
			keep := dstream.Keep(func(string, int64) bool { return true })
			dstream.ReduceByKeyAndWindowInverse(s, sum, sum, time.Second, time.Second, keep).Print()
		}, "the option Keep has a func(string, int64) bool, expected a func(string, int) bool"},
		{func(s pairs) {
			dstream.ReduceByKeyAndWindowInverse(s, sum, sum, time.Second, time.Second, dstream.Keep[string, int](nil)).Print()
		}, "reduceByKeyAndWindowInverse: the function is nil"},
		{func(s pairs) {
			keep := dstream.Keep(func(string, int) bool { return true })
			dstream.ReduceByKeyAndWindow(s, sum, time.Second, time.Second, keep).Print()
		}, `reduceByKeyAndWindow: the option "Keep" does not apply`},
		{func(s pairs) {
			chans := dstream.MapValues(s, func(int) chan int { return nil })
			dstream.GroupByKeyAndWindow(chans, time.Second, time.Second).Count().Print()
		}, "groupByKeyAndWindow: type"},
		{func(s pairs) {
			dstream.ReduceByKeyAndWindow(s, sum, 4*time.Second, 2*time.Second).Checkpoint(3 * time.Second).Print()
		}, "checkpoint: interval 3s: expected a multiple of the stream's slide 2s"},
	} {
		_, err := build(t, func(ctx *dstream.Context) error {
			c.build(stream[dstream.KV[string, int]](ctx))
			return nil
		})
		says(t, err, "dstream/window_keyed_test.go:", c.want)
	}
}

// What is asked of a stream of windows holds for what is kept for them, which goes on with every batch.
func TestWindowsKeepStateWithEveryBatch(t *testing.T) {
	app := built(t, func(c *dstream.Context) {
		dstream.ReduceByKeyAndWindow(stream[dstream.KV[string, int]](c), dstream.Sum, 6*time.Second, 2*time.Second, dstream.Partitions(3)).
			Name("sums").Checkpoint(4 * time.Second).Print()
	})
	p := app.Plan()
	if len(p.States) != 1 || p.States[0].SlideMS != 1000 || p.States[0].Partitions != 3 || p.CheckpointMS != 4000 || p.RememberMS != 1000 {
		t.Errorf("states %v, checkpoint every %d ms, remember %d ms", p.States, p.CheckpointMS, p.RememberMS)
	}
	windows := p.Streams[p.Outputs[0].Stream]
	if windows.Name != "sums" || windows.SlideMS != 2000 || len(windows.Parents) != 1 || windows.Parents[0] != p.States[0].Stream {
		t.Errorf("windows %+v", windows)
	}
}
