package properties_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// property is one operator with its oracle.
type property struct {
	name  string
	check func(rt *rapid.T)
}

// drawn is what a run was drawn with.
type drawn struct {
	partitions int
	batches    int
}

// cut gives the partitions of a batch.
func cut[T any](batch []T, d drawn) [][]T {
	parts := make([][]T, d.partitions)
	for i := range parts {
		parts[i] = batch[i*len(batch)/d.partitions : (i+1)*len(batch)/d.partitions]
	}
	return parts
}

// failing fails calls of user code: a task that meets one runs again. No task is made to fail more often than it is tried.
type failing struct {
	mu   sync.Mutex
	at   map[int]bool // numbers of calls
	call int
}

// drawFailing draws at most so many calls to fail.
func drawFailing(rt *rapid.T, most int) *failing {
	f := &failing{at: map[int]bool{}}
	for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(1, 60), 0, most, rapid.ID[int]).Draw(rt, "failing calls") {
		f.at[n] = true
	}
	return f
}

func (f *failing) step() {
	f.mu.Lock()
	f.call++
	fails := f.at[f.call]
	f.mu.Unlock()
	if fails {
		panic("a function of the test fails once")
	}
}

// shaken is the stream with a function that may fail.
func shaken[T any](f *failing, s *dstream.DStream[T]) *dstream.DStream[T] {
	return dstream.Map(s, func(v T) T {
		f.step()
		return v
	})
}

// recorder is a testing.TB whose failures are the property's.
type recorder struct {
	testing.TB
	rt *rapid.T
}

func (r recorder) Helper()                   {}
func (r recorder) Errorf(f string, a ...any) { r.rt.Errorf(f, a...) }
func (r recorder) Fatalf(f string, a ...any) { r.rt.Fatalf(f, a...) }

func drawBatches[T any](rt *rapid.T, elements *rapid.Generator[T], missing bool, name string) [][]T {
	n := rapid.IntRange(1, 9).Draw(rt, name+" batches")
	in := make([][]T, n)
	for i := range in {
		if missing && rapid.IntRange(0, 5).Draw(rt, name+" missing") == 0 {
			continue
		}
		in[i] = append([]T{}, rapid.SliceOfN(elements, 0, 7).Draw(rt, name)...)
	}
	return in
}

func drawOptions(rt *rapid.T, inputs int) (drawn, []streamtest.Option) {
	d := drawn{
		partitions: rapid.IntRange(1, 4).Draw(rt, "partitions"),
		batches:    inputs + rapid.IntRange(0, 3).Draw(rt, "batches beyond the input"),
	}
	opts := []streamtest.Option{streamtest.Partitions(d.partitions), streamtest.Batches(d.batches)}
	for n := range d.batches {
		switch rapid.IntRange(0, 7).Draw(rt, "after the batch") {
		case 0, 1:
			opts = append(opts, streamtest.RestartAfter(n+1))
		case 2:
			opts = append(opts, streamtest.LoseExecutorAfter(n+1))
		}
	}
	return d, opts
}

// texts makes batches comparable: as sorted texts.
func texts[T any](batches [][]T) [][]string {
	out := make([][]string, len(batches))
	for i, b := range batches {
		out[i] = []string{}
		for _, v := range b {
			out[i] = append(out[i], fmt.Sprint(v))
		}
		slices.Sort(out[i])
	}
	return out
}

func compare[U any](rt *rapid.T, got, want [][]U) {
	g, w := texts(got), texts(want)
	if !slices.EqualFunc(g, w, slices.Equal[[]string]) {
		rt.Fatalf("\n got %v\nwant %v", g, w)
	}
}

// filled is the input with the batches beyond it, which are empty.
func filled[T any](in [][]T, d drawn) [][]T {
	all := slices.Clone(in)
	for len(all) < d.batches {
		all = append(all, []T{})
	}
	return all
}

// holds makes the property of an operator on one stream. The oracle gets a batch's elements for every batch that runs,
// nil where there is no dataset, and gives what the batches with a result hold.
func holds[T, U any](name string, elements *rapid.Generator[T], missing bool,
	op func(*dstream.DStream[T]) *dstream.DStream[U], oracle func(in [][]T, d drawn) [][]U,
) property {
	return property{name, func(rt *rapid.T) {
		in := drawBatches(rt, elements, missing, "input")
		d, opts := drawOptions(rt, len(in))
		before, after := drawFailing(rt, 2), drawFailing(rt, 1) // fewer than a task has tries
		got := streamtest.Run(recorder{rt: rt}, in, func(s *dstream.DStream[T]) *dstream.DStream[U] {
			return shaken(after, op(shaken(before, s)))
		}, opts...)
		compare(rt, got, oracle(filled(in, d), d))
	}}
}

// holds2 is holds for two streams, which have a dataset in every batch.
func holds2[T, V, U any](name string, left *rapid.Generator[T], right *rapid.Generator[V],
	op func(*dstream.DStream[T], *dstream.DStream[V]) *dstream.DStream[U], oracle func(a []T, b []V) []U,
) property {
	return property{name, func(rt *rapid.T) {
		a, b := drawBatches(rt, left, false, "left"), drawBatches(rt, right, false, "right")
		d, opts := drawOptions(rt, max(len(a), len(b)))
		before, after := drawFailing(rt, 2), drawFailing(rt, 1) // fewer than a task has tries
		got := streamtest.Run2(recorder{rt: rt}, a, b, func(x *dstream.DStream[T], y *dstream.DStream[V]) *dstream.DStream[U] {
			return shaken(after, op(shaken(before, x), y))
		}, opts...)
		x, y := filled(a, d), filled(b, d)
		want := make([][]U, d.batches)
		for i := range want {
			want[i] = oracle(x[i], y[i])
		}
		compare(rt, got, want)
	}}
}

// each makes the oracle of an operator that looks at one batch; where there is no dataset, there is no result.
func each[T, U any](f func(batch []T, d drawn) []U) func([][]T, drawn) [][]U {
	return func(in [][]T, d drawn) (out [][]U) {
		for _, batch := range in {
			if batch != nil {
				out = append(out, f(batch, d))
			}
		}
		return out
	}
}

const interval = time.Second

// Each property has generators of its own: those of rapid are not for several goroutines.

func small() *rapid.Generator[int] { return rapid.IntRange(-9, 9) }

func words() *rapid.Generator[string] { return rapid.SampledFrom([]string{"", "a", "b", "c"}) }

func pairs() *rapid.Generator[dstream.KV[string, int]] {
	keys, values := words(), small()
	return rapid.Custom(func(rt *rapid.T) dstream.KV[string, int] {
		return dstream.Pair(keys.Draw(rt, "key"), values.Draw(rt, "value"))
	})
}

func TestMain(m *testing.M) {
	flag.Parse()
	const name = "rapid.checks"
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == name })
	if !asked { // there are many operators, and a run of one takes some milliseconds
		if err := flag.Set(name, "25"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

func TestEveryOperatorGivesWhatItsOracleGives(t *testing.T) {
	for _, group := range [][]property{elementProperties(), keyProperties(), joinProperties(), windowProperties(), stateProperties()} {
		for _, p := range group {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				rapid.Check(t, p.check)
			})
		}
	}
}
