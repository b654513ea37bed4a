package dstream_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// unit has no codec: it never leaves its task.
type unit struct{ f func() int }

// numbers is a direct source of the numbers from 1, three a batch.
type numbers struct{ broken bool }

func (numbers) Plan(_ context.Context, r connector.PlanRequest) (connector.Plan, error) {
	first := r.Position("n") + 1
	return connector.Plan{Parts: []connector.Part{{
		Data: []byte{byte(first)}, Records: 3, Bytes: 3, Ranges: []connector.Range{{Partition: "n", First: first, Last: first + 2}},
	}}}, nil
}

func (n numbers) Read(_ context.Context, p connector.Part, yield func(unit) bool) error {
	if n.broken {
		panic("source")
	}
	for i := range 3 {
		if !yield(unit{func() int { return int(p.Data[0]) + i }}) {
			return nil
		}
	}
	return nil
}

// planned plans a batch of the application's only stream, after position 4, and gives an engine that has it.
func planned(t *testing.T, app dataset.App) *lineagetest.Engine {
	t.Helper()
	d, ok := app.Direct(0)
	if !ok {
		t.Fatal("no direct source")
	}
	p, err := d.Plan(t.Context(), connector.PlanRequest{Position: func(string) uint64 { return 4 }, Time: time.UnixMilli(1000)})
	if err != nil {
		t.Fatal(err)
	}
	return &lineagetest.Engine{Parts: map[lineagetest.Input]connector.Part{{Time: 1000}: p.Parts[0]}}
}

func TestTasksReadWhatWasPlanned(t *testing.T) {
	var got []int
	app := built(t, func(c *dstream.Context) {
		dstream.Map(dstream.DirectStream(c, numbers{}), func(u unit) int { got = append(got, u.f()); return 0 }).Print()
	})
	if in := app.Plan().Inputs[0]; in.Receiver || in.Source != "dstream_test.numbers" || in.Pushed {
		t.Errorf("input %+v", in)
	}
	if _, ok := app.Receiver(0); ok {
		t.Error("a direct stream has a receiver")
	}
	if _, ok := app.Direct(1); ok {
		t.Error("a stream that is no input has a direct source")
	}
	e, out := planned(t, app), app.Outputs()[0]
	d, ok, err := app.Dataset(out.Stream(), 1000, e)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := e.Try(d, func(task dataset.Task) { out.Run(task, d, 0) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []int{5, 6, 7}) {
		t.Errorf("read %v, want what follows position 4", got)
	}
}

func TestPanicsOfDirectSourcesAreBlamedOnTheirStream(t *testing.T) {
	app := built(t, func(c *dstream.Context) {
		dstream.Map(dstream.DirectStream(c, numbers{broken: true}), func(unit) int { return 0 }).Print()
	})
	e, out := planned(t, app), app.Outputs()[0]
	d, _, err := app.Dataset(out.Stream(), 1000, e)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		recover()
		pcs := make([]uintptr, 128)
		op, at := app.Blame(pcs[:runtime.Callers(0, pcs)])
		if op != "directStream" || !strings.HasPrefix(at, "dstream/direct_test.go:") {
			t.Errorf("blamed on %q at %q", op, at)
		}
	}()
	t.Error(e.Try(d, func(task dataset.Task) { out.Run(task, d, 0) }))
}

func TestWrongInputStreamsAreErrorsOfTheGraph(t *testing.T) {
	_, err := build(t, func(c *dstream.Context) error {
		dstream.DirectStream[unit](c, nil)
		dstream.DirectStream(c, numbers{}, dstream.Pushed())
		dstream.ReceiverStream(c, idle[int]{}, dstream.MaxRate(0))
		dstream.DirectStream(c, numbers{}, dstream.Check(context.Canceled), dstream.Check(nil)).Repartition(2).Count().Print()
		return nil
	})
	says(t, err, "5 errors", "dstream/direct_test.go:", "directStream: the source is nil", `the option "Pushed" does not apply here`,
		"receiverStream: MaxRate(0): expected at least 1", "directStream: context canceled", "repartition: ")
}
