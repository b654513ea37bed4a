package dstream_test

import (
	"iter"
	"maps"
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

func countUp(_ time.Time, key string, value dstream.Opt[int64], st *dstream.State[int64]) dstream.Opt[string] {
	n, _ := st.Get()
	st.Update(n + value.Value)
	return dstream.Some(key)
}

func initially[S any](states map[string]S) func() iter.Seq2[string, S] {
	return func() iter.Seq2[string, S] { return maps.All(states) }
}

func TestPlanNamesTheStreamsOfMapWithState(t *testing.T) {
	p := built(t, func(c *dstream.Context) {
		m := dstream.MapWithState(ones(stream[string](c)), countUp, dstream.Partitions(7))
		m.Name("keys").Print()
		m.StateSnapshots().Print()
		m.Checkpoint(3 * time.Second)
		if again := m.StateSnapshots(); again != m.StateSnapshots() {
			t.Error("two streams of snapshots")
		}
	}).Plan()
	if want := []plan.State{{Stream: 2, SlideMS: 1000, Partitions: 7}}; !reflect.DeepEqual(p.States, want) || p.CheckpointMS != 3000 {
		t.Errorf("states %+v, want %+v; every %d ms", p.States, want, p.CheckpointMS)
	}
	for i, want := range map[int]plan.Stream{
		2: {Operator: "mapWithState", Type: "lineage.Step[string,int64,string]", Partitions: 7},
		3: {Operator: "mapped", Type: "string", Name: "keys"},
		4: {Operator: "stateSnapshots", Type: "rdd.KV[string,int64]{Key string;Value int64}"},
	} {
		s := p.Streams[i]
		if s.Operator != want.Operator || s.Type != want.Type || s.Partitions != want.Partitions || s.Name != want.Name || !strings.HasPrefix(s.At, "dstream/mapstate_test.go:") {
			t.Errorf("stream %+v, want %+v", s, want)
		}
	}
	// The state is needed by whatever reads either stream, and by nothing else.
	for name, c := range map[string]struct {
		read func(m *dstream.StateStream[string, int64, string])
		want int
	}{
		"mapped":    {func(m *dstream.StateStream[string, int64, string]) { m.Print() }, 1},
		"snapshots": {func(m *dstream.StateStream[string, int64, string]) { m.StateSnapshots().Print() }, 1},
		"neither":   {func(*dstream.StateStream[string, int64, string]) {}, 0},
	} {
		p := built(t, func(c2 *dstream.Context) {
			s := stream[string](c2)
			s.Print()
			c.read(dstream.MapWithState(ones(s), countUp))
		}).Plan()
		if len(p.States) != c.want {
			t.Errorf("%s: states %+v", name, p.States)
		}
	}
}

func TestErrorsOfMapWithStateAreReportedWithTheirPlace(t *testing.T) {
	_, err := build(t, func(c *dstream.Context) error {
		s := ones(stream[string](c))
		dstream.MapWithState[string, int64, int64, string](s, nil)
		dstream.MapWithState(s, countUp, dstream.Timeout(0))
		dstream.MapWithState(s, countUp, dstream.Timeout(-time.Second))
		dstream.MapWithState(s, countUp, dstream.Timeout(1500*time.Microsecond))
		dstream.MapWithState(s, countUp, dstream.InitialState(initially(map[string]int{"a": 1})))
		dstream.MapWithState(s, countUp, dstream.InitialState[string, int64](nil))
		dstream.MapWithState(s, countUp, dstream.Source("x")).Checkpoint(1500 * time.Millisecond)
		dstream.UpdateStateByKey(s, total, dstream.Timeout(time.Second))
		dstream.UpdateStateByKey(s, total, dstream.InitialState(initially(map[string]string{"a": "1"}))).Print()
		dstream.UpdateStateByKeyTimed[string, int64, int64](s, nil)
		dstream.MapWithState(s, func(time.Time, string, dstream.Opt[int64], *dstream.State[chan int]) dstream.Opt[string] {
			return dstream.None[string]()
		})
		return nil
	})
	says(t, err, "12 errors", "dstream/mapstate_test.go:", "mapWithState: the function is nil",
		"timeout 0s: expected whole milliseconds", "timeout -1s: expected whole milliseconds", "timeout 1.5ms: expected whole milliseconds",
		"mapWithState: InitialState: the function is a func() iter.Seq2[string,int], expected a func() iter.Seq2[string,int64]",
		`mapWithState: the option "Source" does not apply`, "checkpoint: interval 1.5s",
		`updateStateByKey: the option "Timeout" does not apply`,
		"updateStateByKey: InitialState: the function is a func() iter.Seq2[string,string], expected a func() iter.Seq2[string,int64]",
		"updateStateByKey: the function is nil", ".Value: a chan has no encoding")
}

// A stream with mapped state has a dataset at each of its times, and goes on from the time before.
func TestMappedStateGoesOnFromTheTimeBefore(t *testing.T) {
	app := built(t, func(c *dstream.Context) {
		dstream.MapWithState(ones(dstream.ReceiverStream(c, some{from: 3000})), countUp).Print()
	})
	for _, at := range []id.Time{6000, 1000, 3000, 4000, 2000} { // in any order
		d, ok, err := app.Dataset(2, at, &lineagetest.Engine{})
		if err != nil || !ok {
			t.Fatalf("at %d: %v, %v", at, ok, err)
		}
		of, is := d.Deps()[0].On.(dataset.Stateful)
		if !is || of.Base() != at-1000 || of.Partitions() != 2 || (len(of.Deps()) > 0) != (at >= 4000 && at%2000 == 0) {
			t.Errorf("at %d: base %d, dependencies %v", at, of.Base(), of.Deps())
		}
	}
}
