package dstream_test

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

func idTime(ms int64) id.Time { return id.Time(ms) }

type thing struct{ words []string }

func (w *thing) index(i int) string { return w.words[i] } // panics

func convert[T any](i int) T { return make([]T, 0)[i] } // panics

var zero = 0

func helper(i int) int { return i / zero } // panics

type panicking struct{}

func (panicking) Run(context.Context, connector.Inlet[int]) error { panic("receiver") }

// TestPanicsAreBlamedOnTheOperatorAndLine covers the shapes that functions of users have.
func TestPanicsAreBlamedOnTheOperatorAndLine(t *testing.T) {
	mk := func(add int) func(int) int { return func(i int) int { return helper(i) + add } }
	for _, c := range []struct {
		name, op, file string
		make           func(s *dstream.DStream[int])
	}{
		{"closure", "map", "dstream/blame_test.go", func(s *dstream.DStream[int]) {
			dstream.Map(s, func(i int) int { return helper(i) }).Print()
		}},
		{"made closure", "map", "dstream/blame_test.go", func(s *dstream.DStream[int]) {
			dstream.Map(dstream.Map(s, func(i int) int { return i }), mk(1)).Print()
		}},
		{"function", "map", "dstream/blame_test.go", func(s *dstream.DStream[int]) { dstream.Map(s, helper).Print() }},
		{"method value", "map", "dstream/blame_test.go", func(s *dstream.DStream[int]) { dstream.Map(s, (&thing{}).index).Print() }},
		{"method expression", "map", "dstream/blame_test.go", func(s *dstream.DStream[int]) {
			things := dstream.Map(s, func(int) *thing { return &thing{} })
			dstream.Map(things, func(w *thing) string { return w.index(3) }).Print()
		}},
		{"generic function", "map", "dstream/blame_test.go", func(s *dstream.DStream[int]) { dstream.Map(s, convert[string]).Print() }},
		{"sequence", "flatMap", "dstream/blame_test.go", func(s *dstream.DStream[int]) {
			dstream.FlatMap(s, func(i int) iter.Seq[int] {
				return func(yield func(int) bool) {
					for j := range 3 {
						if !yield(j / zero) {
							return
						}
					}
				}
			}).Filter(func(int) bool { return true }).Print()
		}},
		{"range over a sequence", "mapPartitions", "dstream/blame_test.go", func(s *dstream.DStream[int]) {
			dstream.MapPartitions(s, func(seq iter.Seq[int]) iter.Seq[int] {
				var out []int
				for i := range seq {
					out = append(out, helper(i))
				}
				return slices.Values(out)
			}).Print()
		}},
		{"combiner", "reduceByKey", "dstream/blame_test.go", func(s *dstream.DStream[int]) {
			p := dstream.Map(s, func(i int) dstream.KV[int, int] { return dstream.Pair(0, i) })
			dstream.ReduceByKey(p, func(a, b int) int { return helper(a) }).Print()
		}},
		{"update", "updateStateByKey", "dstream/blame_test.go", func(s *dstream.DStream[int]) {
			p := dstream.Map(s, func(i int) dstream.KV[int, int] { return dstream.Pair(i, i) })
			dstream.UpdateStateByKey(p, func(values []int, _ dstream.Opt[int]) dstream.Opt[int] { return dstream.Some(helper(values[0])) }, dstream.Partitions(1)).Print()
		}},
		{"output", "foreachPartition", "dstream/blame_test.go", func(s *dstream.DStream[int]) {
			dstream.ForeachPartition(s, func(_ context.Context, _ dstream.Partition, seq iter.Seq[int]) error {
				for i := range seq {
					if helper(i) == 0 {
						break
					}
				}
				return nil
			})
		}},
		{"function that calls a library", "map", "dstream/blame_test.go", func(s *dstream.DStream[int]) {
			dstream.Map(dstream.Map(s, func(int) string { return "x" }), mustRepeat).Print()
		}},
	} {
		app := built(t, func(g *dstream.Context) { c.make(stream[int](g)) })
		op, at := blamed(t, app)
		if op != c.op || !strings.HasPrefix(at, c.file) {
			t.Errorf("%s: blamed on %q at %q, expected %q in %s", c.name, op, at, c.op, c.file)
		}
	}
}

func mustRepeat(s string) string { return strings.Repeat(s, -1) }

// blamed runs the first output over two records and asks whom its panic is to be blamed on.
func blamed(t *testing.T, app dataset.App) (op, at string) {
	t.Helper()
	e := &lineagetest.Engine{Blocks: map[lineagetest.Input][]byte{{Time: 1000}: {2, 4}}}
	out := app.Outputs()[0]
	d, _, err := app.Dataset(out.Stream(), 1000, e)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	defer func() {
		if v := recover(); v != nil {
			pcs := make([]uintptr, 128)
			op, at = app.Blame(pcs[:runtime.Callers(0, pcs)])
			panic(v)
		}
	}()
	err = e.Try(d, func(task dataset.Task) { out.Run(task, d, 0) })
	t.Error(err)
	return "", ""
}

func TestPanicsOfReceiversAreBlamedOnTheirStream(t *testing.T) {
	app := built(t, func(c *dstream.Context) { dstream.ReceiverStream(c, panicking{}).Print() })
	r, ok := app.Receiver(0)
	if !ok {
		t.Fatal("no receiver")
	}
	defer func() {
		recover()
		pcs := make([]uintptr, 128)
		op, at := app.Blame(pcs[:runtime.Callers(0, pcs)])
		if op != "receiverStream" || !strings.HasPrefix(at, "dstream/blame_test.go:") {
			t.Errorf("blamed on %q at %q", op, at)
		}
	}()
	_ = r.Run(t.Context(), nil)
}

func TestPanicsOfOthersAreNotBlamed(t *testing.T) {
	app := built(t, func(c *dstream.Context) { stream[int](c).Filter(func(int) bool { return true }).Print() })
	pcs := make([]uintptr, 128)
	if op, at := app.Blame(pcs[:runtime.Callers(0, pcs)]); op != "" || at != "" {
		t.Errorf("blamed on %q at %q", op, at)
	}
	if op, _ := app.Blame(nil); op != "" {
		t.Errorf("blamed on %q without frames", op)
	}
}
