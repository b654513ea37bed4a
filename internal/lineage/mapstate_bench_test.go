package lineage_test

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// quarters is a million keys in four partitions: batches of one record for each of 1 % of them, every time others.
type quarters struct{ touched [100][]pair[string, int64] }

const quarter = 4

func (q *quarters) all() (in [][]pair[string, int64]) {
	for i := range million {
		if i%(million/quarter) == 0 {
			in = append(in, nil)
		}
		p := pair[string, int64]{fmt.Sprintf("user-%08d", i*7919%million), 1}
		in[len(in)-1] = append(in[len(in)-1], p)
	}
	for i := range q.touched {
		for j := range touched {
			q.touched[i] = append(q.touched[i], pair[string, int64]{fmt.Sprintf("user-%08d", (i+100*j)*104729%million), 1})
		}
	}
	return in
}

// batch is 1 % of the keys in as many blocks as there are partitions.
func (q *quarters) batch(i int) (in [][]pair[string, int64]) {
	all := q.touched[i%len(q.touched)]
	for p := range quarter {
		in = append(in, all[p*len(all)/quarter:(p+1)*len(all)/quarter])
	}
	return in
}

// cpu is the processor time of the process so far, collecting garbage included.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// steady measures batches, made by next, run by run and completed; before a batch, nothing is measured.
func steady(b *testing.B, e func() *lineagetest.Engine, next func(i int) func() id.Time) {
	b.ReportAllocs()
	var spent time.Duration
	runtime.GC()
	i := 0
	for b.Loop() {
		b.StopTimer()
		run := next(i)
		from := cpu(b)
		b.StartTimer()
		e().Complete(run())
		spent += cpu(b) - from
		i++
	}
	b.ReportMetric(float64(spent.Microseconds())/1000/float64(b.N), "cpu-ms/batch")
}

func tryAll(b *testing.B, e *lineagetest.Engine, d dataset.Dataset, f func(t dataset.Task, part int)) {
	for part := range d.Partitions() {
		if err := e.Try(d, func(t dataset.Task) { f(t, part) }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMapState1M is a batch of 1 % of a million keys in four partitions, from its blocks to the state after it:
// records spread, functions called, the deltas installed; then what changed is encoded, as for a checkpoint.
func BenchmarkMapState1M(b *testing.B) {
	for name, timeout := range map[string]int64{"for-ever": 0, "with-timeout": 200_000} {
		b.Run(name, func(b *testing.B) {
			var q quarters
			m := mapped(b, quarter, timeout, func(_ id.Time, _ string, value *int64, c *lineage.Cell[int64]) (int64, bool) {
				if value == nil {
					return 0, false
				}
				s, _ := c.Get()
				c.Update(s + *value)
				return s, true
			})
			next := func(in [][]pair[string, int64]) func() id.Time {
				n, _ := m.both(m.next(b, in))
				return func() id.Time {
					tryAll(b, m.e, n, func(t dataset.Task, part int) { n.Each(t, part, func(int64) bool { return true }) })
					return m.at
				}
			}
			m.e.Complete(next(q.all())())
			m.e.Complete(next([][]pair[string, int64]{})())
			b.Run("batch", func(b *testing.B) {
				steady(b, func() *lineagetest.Engine { return m.e }, func(i int) func() id.Time { return next(q.batch(i)) })
			})
			b.Run("checkpoint", func(b *testing.B) { changes(b, m.e) })
		})
	}
}

// changes encodes what the last batch changed.
func changes(b *testing.B, e *lineagetest.Engine) {
	b.ReportAllocs()
	from := cpu(b)
	for b.Loop() {
		for part := range quarter {
			s, at := e.State(lineagetest.StatePart{Stream: states, Part: part})
			s.Encode(at-1000, false, 4<<20, func([]byte, int64) bool { return true })
		}
	}
	b.ReportMetric(float64((cpu(b)-from).Microseconds())/1000/float64(b.N), "cpu-ms/checkpoint")
}

// BenchmarkUpdateState1PercentOf1M is the same for a function that is called for every key.
func BenchmarkUpdateState1PercentOf1M(b *testing.B) {
	var q quarters
	u := updating[string](b, quarter, func(values []int64, s int64, _ bool) (int64, bool) {
		for _, v := range values {
			s += v
		}
		return s, true
	})
	next := func(in [][]pair[string, int64]) func() id.Time {
		n := u.next(b, in)
		return func() id.Time {
			tryAll(b, u.e, n, func(t dataset.Task, part int) { n.Each(t, part, func(pair[string, int64]) bool { return false }) })
			return u.at
		}
	}
	u.e.Complete(next(q.all())())
	b.Run("batch", func(b *testing.B) {
		steady(b, func() *lineagetest.Engine { return u.e }, func(i int) func() id.Time { return next(q.batch(i)) })
	})
	b.Run("checkpoint", func(b *testing.B) { changes(b, u.e) })
}

// rss is how much memory the process has had at most, in MiB.
func rss(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Maxrss) / 1024
}

// BenchmarkCounts10M is ten million counts under keys of 12 bytes, built 200,000 at a time and then counted on; it says
// how much memory the process has had at most. Run it alone.
func BenchmarkCounts10M(b *testing.B) {
	const keys, atOnce = 10 * million, 200_000
	u := updating[string](b, quarter, count)
	batch := func(key func(i int) int) {
		in := make([][]pair[string, int64], quarter)
		for i := range atOnce {
			in[i%quarter] = append(in[i%quarter], pair[string, int64]{fmt.Sprintf("key-%08d", key(i)), 1})
		}
		n := u.next(b, in)
		e := &lineagetest.Engine{Blocks: u.e.Blocks, Run: dataset.Batch{Attempt: 1}} // buckets and blocks go with the batch
		for part := range quarter {
			p := lineagetest.StatePart{Stream: states, Part: part}
			if s, at := u.e.State(p); s != nil {
				e.Restore(p, s, at)
			}
		}
		u.e = e
		tryAll(b, e, n, func(t dataset.Task, part int) { n.Each(t, part, func(pair[string, int64]) bool { return false }) })
		e.Complete(u.at)
		e.Blocks = map[lineagetest.Input][]byte{}
	}
	for built := 0; built < keys; built += atOnce {
		batch(func(i int) int { return built + i })
	}
	built := rss(b)
	b.ResetTimer()
	for i := range b.N {
		batch(func(j int) int { return (i*atOnce + j*7919) % keys })
	}
	b.ReportMetric(built, "MiB-peak-built")
	b.ReportMetric(rss(b), "MiB-peak")
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(u)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB-live")
}
