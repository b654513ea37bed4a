package dstream_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
	"github.com/raftstream/raftstream/internal/plan"
)

type sums = *dstream.DStream[dstream.KV[string, int64]]

func total(values []int64, state dstream.Opt[int64]) dstream.Opt[int64] {
	for _, v := range values {
		state.Value += v
	}
	return dstream.Some(state.Value)
}

func ones(s *dstream.DStream[string]) sums {
	return dstream.Map(s, func(w string) dstream.KV[string, int64] { return dstream.Pair(w, int64(1)) })
}

func totals(c *dstream.Context, opts ...dstream.Option) sums {
	return dstream.UpdateStateByKey(ones(stream[string](c)), total, opts...)
}

func TestPlanNamesTheStreamsWithState(t *testing.T) {
	p := built(t, func(c *dstream.Context) {
		totals(c) // that no output needs: it is never computed
		dstream.MapValues(totals(c, dstream.Partitions(7)), func(v int64) int64 { return v }).Union(totals(c)).Print()
	}).Plan()
	if want := []plan.State{{Stream: 5, SlideMS: 1000, Partitions: 7}, {Stream: 9, SlideMS: 1000, Partitions: 2}}; !reflect.DeepEqual(p.States, want) {
		t.Errorf("states %+v, want %+v", p.States, want)
	}
	if s := p.Streams[5]; s.Operator != "updateStateByKey" || s.Partitions != 7 || s.Type != "rdd.KV[string,int64]{Key string;Value int64}" || !strings.HasPrefix(s.At, "dstream/state_test.go:") {
		t.Errorf("stream %+v", s)
	}
	if p := built(t, func(c *dstream.Context) { totals(c); stream[string](c).Print() }).Plan(); p.States != nil || p.CheckpointMS != 0 {
		t.Errorf("state that no output needs: %+v, every %d ms", p.States, p.CheckpointMS)
	}
}

func TestCheckpointsAreAsOftenAsAnybodyAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		batchMS int64
		build   func(c *dstream.Context, s sums)
		want    int64
	}{
		"default":                  {1000, func(*dstream.Context, sums) {}, 10_000},
		"default, rounded up":      {3000, func(*dstream.Context, sums) {}, 12_000},
		"default of a slow stream": {60_000, func(*dstream.Context, sums) {}, 60_000},
		"by the context":           {1000, func(c *dstream.Context, _ sums) { c.Checkpoint(25 * time.Second) }, 25_000},
		"by the stream":            {1000, func(_ *dstream.Context, s sums) { s.Checkpoint(time.Minute) }, 60_000},
		"by both":                  {1000, func(c *dstream.Context, s sums) { s.Checkpoint(time.Minute); c.Checkpoint(time.Second) }, 1000},
		"by a stream that has no use": {1000, func(c *dstream.Context, _ sums) {
			stream[int](c).Checkpoint(time.Second)
			totals(c).Checkpoint(time.Second)
		}, 10_000},
	} {
		r := dstream.NewRegistry()
		dstream.RegisterIn(r, "test", func(ctx *dstream.Context, _ none) error {
			s := totals(ctx)
			c.build(ctx, s)
			s.Print()
			return nil
		})
		app, err := r.Build(dataset.Spec{Name: "test", BatchMS: c.batchMS, Partitions: 2})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := app.Plan().CheckpointMS; got != c.want {
			t.Errorf("%s: every %d ms, want %d", name, got, c.want)
		}
	}
}

func TestErrorsOfStateAreReportedWithTheirPlace(t *testing.T) {
	_, err := build(t, func(c *dstream.Context) error {
		s := stream[string](c)
		dstream.UpdateStateByKey[string, int64, int64](ones(s), nil)
		dstream.UpdateStateByKey(ones(s), total, dstream.Source("x")).Checkpoint(500 * time.Millisecond)
		s.Checkpoint(1500 * time.Millisecond).Print()
		dstream.UpdateStateByKey(ones(s), func([]int64, dstream.Opt[map[string]int]) dstream.Opt[map[string]int] {
			return dstream.None[map[string]int]()
		})
		return nil
	})
	says(t, err, "5 errors", "dstream/state_test.go:", "updateStateByKey: the function is nil", `updateStateByKey: the option "Source" does not apply`,
		"checkpoint: interval 500ms: expected a multiple of the stream's slide 1s, e.g. 1s or 2s", "checkpoint: interval 1.5s: expected a multiple of the stream's slide 1s, e.g. 1s or 2s",
		"updateStateByKey", ".Value: a map has no encoding")
}

func TestStreamsWithStateDoNotChangeAfterwards(t *testing.T) {
	var s sums
	built(t, func(c *dstream.Context) { s = totals(c); s.Print() })
	for name, change := range map[string]func(){
		"checkpoint":       func() { s.Checkpoint(time.Second) },
		"updateStateByKey": func() { dstream.UpdateStateByKey(s, total) },
	} {
		func() {
			defer func() {
				if v, _ := recover().(string); !strings.Contains(v, name+" at dstream/state_test.go:") {
					t.Errorf("%s: %q", name, v)
				}
			}()
			change()
		}()
	}
}

// some is a receiver whose stream has datasets at some times only.
type some struct {
	idle[string]
	from id.Time
}

func (s some) Yields(at id.Time) bool { return at >= s.from && at%2000 == 0 }

// A stream with state has a dataset from its parent's first one on, whether or not the parent has one, and goes on from
// its own time before.
func TestStateGoesOnFromTheTimeBefore(t *testing.T) {
	app := built(t, func(c *dstream.Context) {
		dstream.UpdateStateByKey(ones(dstream.ReceiverStream(c, some{from: 3000})), total).Print()
	})
	for _, at := range []id.Time{6000, 1000, 3000, 4000, 2000, 5000, 3000, 4000} { // in any order
		d, ok, err := app.Dataset(2, at, &lineagetest.Engine{})
		if err != nil || ok != (at >= 4000) {
			t.Fatalf("at %d: %v, %v", at, ok, err)
		}
		if !ok {
			continue
		}
		base := id.Time(0)
		if at > 4000 {
			base = at - 1000
		}
		of, is := d.Deps()[0].On.(dataset.Stateful)
		if !is || of.Base() != base || of.Partitions() != 2 || (len(of.Deps()) > 0) != (at%2000 == 0) {
			t.Errorf("at %d: base %d, dependencies %v", at, of.Base(), of.Deps())
		}
	}
}
