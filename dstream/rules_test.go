package dstream_test

import (
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
	"github.com/raftstream/raftstream/internal/plan"
)

const second = time.Second

func nothing(past rdd.Past[string], t time.Time) rdd.RDD[string] { return past.Union(t, t) }

func TestMistakesOfWindowsAreReportedWithWhatWouldBeRight(t *testing.T) {
	tooLong := 100_001 * second
	_, err := build(t, func(c *dstream.Context) error {
		s := stream[string](c)
		s.Window(2500*time.Millisecond, second)
		s.Window(0, second)
		s.Window(second, -second)
		s.Window(second/2, 700*time.Microsecond)
		s.Window(tooLong, second)
		s.Window(time.Duration(1<<63-1), second)
		s.Window(4*second, 2*second).Window(3*second, 5*second)
		dstream.Slice(s, 1500*time.Millisecond, nothing)
		dstream.Slice[string, string](s, second, nil)
		s.Window(2*second, 2*second).Union(s)
		c.Remember(1500 * time.Microsecond)
		c.Remember(-second)
		s.Print()
		return nil
	})
	says(t, err, "14 errors", "dstream/rules_test.go:",
		"window: window 2.5s: expected a multiple of the parent's slide 1s, e.g. 2s or 3s",
		"window: window 0s: expected a multiple of the parent's slide 1s, e.g. 1s or 2s",
		"window: slide -1s: expected a multiple of the parent's slide 1s, e.g. 1s or 2s",
		"window: window 500ms: expected", "window: slide 700µs: expected",
		"window: window 27h46m41s: it has 100001 times the parent's slide 1s, expected at most 100000",
		"window: window 2562047h47m16.854775807s: expected at most 876000h0m0s",
		"window: window 3s: expected a multiple of the parent's slide 2s, e.g. 2s or 4s", "window: slide 5s: expected a multiple of the parent's slide 2s, e.g. 4s or 6s",
		"slice: length 1.5s: expected a multiple of the parent's slide 1s, e.g. 1s or 2s", "slice: the function is nil",
		"(window at dstream/rules_test.go:", ") has a slide of 2s, stream 0 (receiverStream at ", ") one of 1s: expected the same",
		"remember: duration 1.5ms: expected whole milliseconds, at least 1ms", "remember: duration -1s: expected whole milliseconds")
}

func TestRememberIsSetOnce(t *testing.T) {
	_, err := build(t, func(c *dstream.Context) error {
		c.Remember(second)
		c.Remember(2 * second)
		stream[string](c).Print()
		return nil
	})
	says(t, err, "remember: set twice, to 1s and to 2s: expected once")
}

func TestAnOperatorOnANilStreamSaysSo(t *testing.T) {
	for name, f := range map[string]func(c *dstream.Context, none *dstream.DStream[string]){
		"map": func(_ *dstream.Context, none *dstream.DStream[string]) { dstream.Map(none, strings.ToUpper) },
		"filter": func(_ *dstream.Context, none *dstream.DStream[string]) {
			none.Filter(func(string) bool { return true })
		},
		"window": func(_ *dstream.Context, none *dstream.DStream[string]) { none.Window(second, second) },
		"print":  func(_ *dstream.Context, none *dstream.DStream[string]) { none.Print() },
	} {
		_, err := build(t, func(c *dstream.Context) error { f(c, nil); return nil })
		if err == nil || !strings.Contains(err.Error(), "the build function panicked at dstream/rules_test.go:") || !strings.Contains(err.Error(), "an operator was given a nil stream, connector or context") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := build(t, func(c *dstream.Context) error { stream[int](c).Union(nil).Print(); return nil })
	says(t, err, "union: stream 2 of the operator is nil")
}

// remembered gives how long each stream's datasets are asked for.
func remembered(p *plan.Plan) (seconds []int64) {
	for _, s := range p.Streams {
		seconds = append(seconds, s.RememberMS/1000)
	}
	return seconds
}

// Spark's "rdd cleanup - map and window": remember durations add up down a chain of windows. Here they are as long as
// batches ask for, without the interval that Spark adds for each window.
func TestRememberDurationsAddUpDownAChain(t *testing.T) {
	for name, c := range map[string]struct {
		build func(c *dstream.Context, s *dstream.DStream[string])
		want  []int64 // by stream
		all   int64
	}{
		"no window":      {func(_ *dstream.Context, s *dstream.DStream[string]) { s.Print() }, []int64{1}, 1},
		"longer by wish": {func(c *dstream.Context, s *dstream.DStream[string]) { c.Remember(7 * second); s.Print() }, []int64{1}, 7},
		"shorter by wish": {func(c *dstream.Context, s *dstream.DStream[string]) {
			c.Remember(2 * second)
			s.Window(4*second, second).Print()
		}, []int64{4, 1}, 4},
		"map and window": {func(_ *dstream.Context, s *dstream.DStream[string]) {
			dstream.Map(s, strings.ToUpper).Window(4*second, 2*second).Window(8*second, 4*second).Print()
		}, []int64{4 - 1 + 8 - 2 + 1, 4 - 1 + 8 - 2 + 1, 8, 4}, 10},
		"what no output needs": {func(_ *dstream.Context, s *dstream.DStream[string]) { s.Window(9*second, second); s.Print() }, []int64{1, 0}, 1},
		"the longest way": {func(_ *dstream.Context, s *dstream.DStream[string]) {
			s.Window(2*second, second).Union(s.Window(5*second, second)).Print()
		}, []int64{5, 1, 1, 1}, 5},
		"a slice of a window": {func(_ *dstream.Context, s *dstream.DStream[string]) {
			dstream.Slice(s.Window(3*second, second), 4*second, nothing).Print()
		}, []int64{6, 4, 1}, 6},
		"a shuffle of a window": {func(_ *dstream.Context, s *dstream.DStream[string]) {
			s.Window(3*second, second).Repartition(2).Print()
		}, []int64{3, 1, 1}, 3},
		"a window of a shuffle": {func(_ *dstream.Context, s *dstream.DStream[string]) {
			s.Repartition(2).Window(3*second, second).Print()
		}, []int64{1, 1, 1, 1}, 1},
		"a window of state of a window": {func(_ *dstream.Context, s *dstream.DStream[string]) {
			dstream.UpdateStateByKey(ones(s.Window(3*second, second)), total).Window(9*second, second).Print()
		}, []int64{3, 1, 1, 1, 1, 1}, 3},
		"as long as may be read again": {func(_ *dstream.Context, s *dstream.DStream[string]) { s.Window(3600*second, second).Print() }, []int64{3600, 1}, 3600},
		"a longer one":                 {func(_ *dstream.Context, s *dstream.DStream[string]) { s.Window(3601*second, second).Print() }, []int64{1, 1, 1}, 1},
		"a longer one by a window below": {func(_ *dstream.Context, s *dstream.DStream[string]) {
			s.Window(2*second, second).Window(3600*second, second).Print()
		}, []int64{2, 1, 1, 1}, 2},
	} {
		p := built(t, func(ctx *dstream.Context) { c.build(ctx, stream[string](ctx)) }).Plan()
		if got := remembered(p); !slices.Equal(got, c.want) || p.RememberMS != c.all*1000 {
			t.Errorf("%s: datasets %v, inputs %d ms, want %v, %d s", name, got, p.RememberMS, c.want, c.all)
		}
	}
}

// asks finds the earliest time of the inputs that a dataset is made of.
func asks(d dataset.Dataset) (oldest id.Time) {
	oldest = d.ID().Time
	for _, dep := range d.Deps() {
		oldest = min(oldest, asks(dep.On))
	}
	return oldest
}

// Rule 8 of the invariants: what is remembered is what some batch reads, no more and no less.
func TestWhatIsRememberedIsWhatBatchesAskFor(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		streams, slides := 1, []time.Duration{second}
		app := built(t, func(c *dstream.Context) {
			all := []*dstream.DStream[string]{stream[string](c)}
			for range rapid.IntRange(1, 6).Draw(rt, "operators") {
				i := rapid.IntRange(max(0, len(all)-2), len(all)-1).Draw(rt, "of")
				s, slide := all[i], slides[i]
				switch rapid.IntRange(0, 3).Draw(rt, "operator") {
				case 0:
					s = dstream.MapPartitions(s, func(in iter.Seq[string]) iter.Seq[string] { return in })
				case 1:
					s = s.Union(s)
				default:
					every := slide * time.Duration(rapid.IntRange(1, 2).Draw(rt, "slide"))
					s = s.Window(slide*time.Duration(rapid.IntRange(1, 4).Draw(rt, "length")), every)
					slide = every
				}
				all, slides = append(all, s), append(slides, slide)
			}
			streams = len(all)
			all[streams-1].Print()
		})
		var back id.Time
		last := id.Stream(streams - 1)
		for at := id.Time(100_000); at < 100_000+64_000; at += 1000 {
			e := &lineagetest.Engine{Blocks: map[lineagetest.Input][]byte{}}
			d, ok, err := app.Dataset(last, at, e)
			if err != nil {
				rt.Fatal(err)
			}
			if ok {
				back = max(back, at-asks(d))
			}
		}
		if got, want := app.Plan().RememberMS, int64(back)+1000; got != want {
			rt.Fatalf("inputs are remembered for %d ms, batches read %d ms back", got, want)
		}
	})
}

func TestStateIsCheckpointedAtTimesThatAllStreamsHave(t *testing.T) {
	// state makes a stream of state with a time every n seconds.
	state := func(s *dstream.DStream[string], n int) sums {
		return dstream.UpdateStateByKey(ones(s.Window(time.Duration(n)*second, time.Duration(n)*second)), total)
	}
	for name, c := range map[string]struct {
		slides []int
		ask    func(c *dstream.Context, s []sums)
		want   int64
	}{
		"the least common multiple of 10 s or more": {[]int{2, 3}, nil, 12},
		"one of 10 s is enough":                     {[]int{2, 5}, nil, 10},
		"a long one":                                {[]int{7, 9}, nil, 63},
		"as the context asks":                       {[]int{2, 3}, func(c *dstream.Context, _ []sums) { c.Checkpoint(6 * second) }, 6},
		"as a stream asks, when all have a time":    {[]int{2, 3}, func(_ *dstream.Context, s []sums) { s[0].Checkpoint(8 * second) }, 12},
		"the shortest that was asked for":           {[]int{2, 3}, func(_ *dstream.Context, s []sums) { s[0].Checkpoint(8 * second); s[1].Checkpoint(3 * second) }, 6},
		"a window of state is asked for its own": {[]int{2}, func(_ *dstream.Context, s []sums) {
			s[0].Window(8*second, 4*second).Checkpoint(4 * second).Print()
		}, 4},
	} {
		p := built(t, func(ctx *dstream.Context) {
			in := stream[string](ctx)
			var all []sums
			for _, n := range c.slides {
				s := state(in, n)
				s.Print()
				all = append(all, s)
			}
			if c.ask != nil {
				c.ask(ctx, all)
			}
		}).Plan()
		if p.CheckpointMS != c.want*1000 {
			t.Errorf("%s: every %d ms, want %d s", name, p.CheckpointMS, c.want)
		}
	}
	_, err := build(t, func(c *dstream.Context) error {
		in := stream[string](c)
		state(in, 2).Print()
		c.Checkpoint(3 * second)
		state(in, 71).Union(state(in, 71)).Print()
		state(in, 73).Print()
		state(in, 5).Print()
		return nil
	})
	says(t, err, "6 errors", "checkpoint: stream 3 (updateStateByKey at dstream/rules_test.go:", "interval 3s: expected a multiple of the stream's slide 2s, e.g. 2s or 4s",
		"updateStateByKey: state with times every 73000 ms: together with the streams before it that is one time in common in 10366 batches, expected at most 5000")
}
