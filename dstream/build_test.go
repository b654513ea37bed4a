package dstream_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

type none struct{}

// idle receives nothing.
type idle[T any] struct{}

func (idle[T]) Run(ctx context.Context, _ connector.Inlet[T]) error {
	<-ctx.Done()
	return nil
}

func stream[T any](c *dstream.Context) *dstream.DStream[T] {
	return dstream.ReceiverStream(c, idle[T]{}, dstream.Source("test"))
}

// build builds a graph apart from the registry.
func build(tb testing.TB, f func(*dstream.Context) error) (dataset.App, error) {
	tb.Helper()
	r := dstream.NewRegistry()
	dstream.RegisterIn(r, "test", func(c *dstream.Context, _ none) error { return f(c) })
	return r.Build(dataset.Spec{Name: "test", BatchMS: 1000, Partitions: 2})
}

func built(tb testing.TB, f func(*dstream.Context)) dataset.App {
	tb.Helper()
	app, err := build(tb, func(c *dstream.Context) error { f(c); return nil })
	if err != nil {
		tb.Fatal(err)
	}
	return app
}

func says(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, expected one that says %q", want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestErrorsOfConstructionAreReportedTogetherWithTheirPlace(t *testing.T) {
	_, err := build(t, func(c *dstream.Context) error {
		s := stream[string](c)
		dstream.Map[string, string](s, nil)
		dstream.Map(s, strings.ToUpper, dstream.Partitions(3))
		s.Repartition(0)
		s.Print(0)
		s.SaveAsTextFiles("p", "a/b")
		c.Remember(0)
		c.Checkpoint(1500 * time.Millisecond)
		dstream.CountByValue(s, dstream.Partitions(-1))
		return nil
	})
	says(t, err, `program "test": 8 errors`, "dstream/build_test.go:", "map: the function is nil", `map: the option "Partitions" does not apply`,
		"repartition: 0 partitions, expected 1 to", "Print([0])", "saveAsTextFiles", "remember: duration 0s",
		"checkpoint: interval 1.5s: expected a multiple of the batch interval 1s, e.g. 1s or 2s", "Partitions(-1)")
	_, err = build(t, func(c *dstream.Context) error { stream[string](c); return nil })
	says(t, err, `program "test": no output operations registered`)
}

func TestAGraphThatIsBuiltDoesNotChange(t *testing.T) {
	var c *dstream.Context
	var s *dstream.DStream[int]
	app := built(t, func(ctx *dstream.Context) { c, s = ctx, stream[int](ctx); s.Print() })
	before := app.Plan().Fingerprint()
	for name, change := range map[string]func(){
		"map":             func() { dstream.Map(s, func(v int) int { return v }) },
		"print":           func() { s.Print() },
		"saveAsTextFiles": func() { s.SaveAsTextFiles("p", "") },
		"foreachPartition": func() {
			dstream.ForeachPartition(s, func(context.Context, dstream.Partition, iter.Seq[int]) error { return nil })
		},
		"name":           func() { s.Name("late") },
		"remember":       func() { c.Remember(time.Minute) },
		"checkpoint":     func() { c.Checkpoint(time.Minute) },
		"receiverStream": func() { stream[int](c) },
	} {
		func() {
			defer func() {
				if v, _ := recover().(string); !strings.Contains(v, name+" at dstream/build_test.go:") || !strings.Contains(v, "the graph is built already") {
					t.Errorf("%s: %q", name, v)
				}
			}()
			change()
		}()
	}
	if app.Plan().Fingerprint() != before || app.Plan().Streams[0].Name != "" || len(app.Outputs()) != 1 {
		t.Error("the graph changed")
	}
}

func TestTypesWithoutCodecAreRefusedWhereRecordsWouldCross(t *testing.T) {
	type tagged struct{ Tags map[string]int }
	_, err := build(t, func(c *dstream.Context) error {
		// Without a shuffle any type will do.
		dstream.Map(stream[string](c), func(string) tagged { return tagged{} }).Print()
		dstream.Map(stream[string](c), func(s string) func() string { return func() string { return s } }).Count().Print()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	_, err = build(t, func(c *dstream.Context) error {
		s := dstream.Map(stream[string](c), func(s string) dstream.KV[string, tagged] { return dstream.Pair(s, tagged{}) })
		dstream.GroupByKey(s).Print()
		stream[*int](c).Print()
		return nil
	})
	says(t, err, "2 errors", "groupByKey", ".Value.Tags: a map has no encoding", "receiverStream", "ptr")
}

func TestStreamsOfDifferentGraphsDoNotMix(t *testing.T) {
	var other *dstream.DStream[int]
	built(t, func(c *dstream.Context) { other = stream[int](c); other.Print() })
	_, err := build(t, func(c *dstream.Context) error {
		stream[int](c).Union(other).Print()
		return nil
	})
	says(t, err, "union: the streams are not of the same graph")
	defer func() {
		if v := recover(); v == nil || !strings.Contains(v.(string), "the graph is built already") {
			t.Errorf("a stream was added to a finished graph: %v", v)
		}
	}()
	other.Count()
}

func TestBuildFunctionsMayFailAndPanic(t *testing.T) {
	cause := errors.New("no such pattern")
	_, err := build(t, func(*dstream.Context) error { return cause })
	says(t, err, "the build function failed: no such pattern")
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	_, err = build(t, func(*dstream.Context) error { panic("oops") })
	says(t, err, "panicked at dstream/build_test.go:", "oops")
}

func TestSpecsAreChecked(t *testing.T) {
	r := dstream.NewRegistry()
	dstream.RegisterIn(r, "b", func(*dstream.Context, none) error { return nil })
	dstream.RegisterIn(r, "a", func(*dstream.Context, none) error { return nil })
	_, err := r.Build(dataset.Spec{Name: "c", BatchMS: 1000, Partitions: 1})
	says(t, err, `unknown program "c", this binary has: a, b`)
	_, err = r.Build(dataset.Spec{Name: "a", Partitions: 1})
	says(t, err, "batch interval of 0 ms")
	_, err = r.Build(dataset.Spec{Name: "a", BatchMS: 1000})
	says(t, err, "0 partitions, expected 1 to")
	if got := r.Names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("names %v", got)
	}
	for _, f := range []func(){
		func() { dstream.RegisterIn(r, "a", func(*dstream.Context, none) error { return nil }) },
		func() { dstream.RegisterIn(r, "a b", func(*dstream.Context, none) error { return nil }) },
		func() { dstream.RegisterIn[none](r, "d", nil) },
		func() { dstream.RegisterIn(r, "e", func(*dstream.Context, int) error { return nil }) },
		func() {
			dstream.RegisterIn(r, "f", func(*dstream.Context, struct {
				common
				Other string `json:"source"`
			},
			) error {
				return nil
			})
		},
		func() { dstream.RegisterIn(r, "", func(*dstream.Context, none) error { return nil }) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("registered")
				}
			}()
			f()
		}()
	}
}

func TestPlanDescribesTheGraph(t *testing.T) {
	wordCount := func(c *dstream.Context) {
		c.Remember(5 * time.Second)
		words := dstream.FlatMap(stream[string](c).Name("lines"), strings.FieldsSeq)
		pairs := dstream.Map(words, func(w string) dstream.KV[string, int64] { return dstream.Pair(w, int64(1)) })
		dstream.ReduceByKey(pairs, dstream.Sum, dstream.Partitions(3)).Print()
	}
	p := built(t, wordCount).Plan()
	if p.BatchMS != 1000 || p.RememberMS != 5000 || len(p.Streams) != 4 || len(p.Outputs) != 1 {
		t.Errorf("plan %+v", p)
	}
	if s := p.Streams[0]; s.Name != "lines" || s.Type != "string" || !strings.HasPrefix(s.At, "dstream/build_test.go:") {
		t.Errorf("input stream %+v", s)
	}
	if s := p.Streams[3]; s.Operator != "reduceByKey" || s.Partitions != 3 || len(s.Parents) != 1 || s.Parents[0] != 2 ||
		s.Type != "rdd.KV[string,int64]{Key string;Value int64}" {
		t.Errorf("last stream %+v", s)
	}
	if in := p.Inputs[0]; in.Source != "test" || !in.Receiver || in.Stream != 0 {
		t.Errorf("input %+v", in)
	}
	if out := p.Outputs[0]; out.Name != "print-0" || out.Stream != 3 {
		t.Errorf("output %+v", out)
	}
	if again := built(t, wordCount).Plan().Fingerprint(); again != p.Fingerprint() {
		t.Error("the fingerprint changes from one building to the next")
	}
	other := built(t, func(c *dstream.Context) { stream[string](c).Print() })
	if other.Plan().Fingerprint() == p.Fingerprint() {
		t.Error("two graphs have one fingerprint")
	}
}

func TestStreamsHaveDatasetsAtTheirTimesOnly(t *testing.T) {
	app := built(t, func(c *dstream.Context) { stream[int](c).Print() })
	e := &lineagetest.Engine{}
	for at, want := range map[int64]bool{0: false, -1000: false, 1000: true, 1500: false, 2000: true} {
		_, ok, err := app.Dataset(0, idTime(at), e)
		if ok != want || err != nil {
			t.Errorf("dataset at %d: %v, %v", at, ok, err)
		}
	}
	if _, _, err := app.Dataset(7, 1000, e); err == nil {
		t.Error("a stream that is not in the graph has a dataset")
	}
}

func TestUnionHasThePartitionsOfAllItsParents(t *testing.T) {
	app := built(t, func(c *dstream.Context) {
		s := stream[int](c)
		u := s.Union(dstream.Map(s, func(v int) int { return -v }))
		dstream.ForeachPartition(u, func(context.Context, dstream.Partition, iter.Seq[int]) error { return nil })
	})
	d, ok, err := app.Dataset(2, 1000, &lineagetest.Engine{Blocks: map[lineagetest.Input][]byte{{Time: 1000}: {}, {Time: 1000, Part: 1}: {}}})
	if !ok || err != nil || d.Partitions() != 4 {
		t.Errorf("%v, %v, %v", d, ok, err)
	}
}
