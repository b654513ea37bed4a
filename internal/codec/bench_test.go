package codec_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/codec"
)

// five is a record of five fields.
type five struct {
	Name  string
	Count int64
	Score float64
	Good  bool
	Small int32
}

// bench measures appending one value and reading it back.
func bench[T any](b *testing.B, v T) {
	c, err := codec.For[T]()
	if err != nil {
		b.Fatal(err)
	}
	got := new(T)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		buf = c.Append(buf[:0], &v)
		if _, err := c.Read(buf, got); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// cpu is the processor time of the process so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkKV(b *testing.B) { bench(b, rdd.Pair("some key", int64(1234))) }

func BenchmarkStruct(b *testing.B) { bench(b, five{"some name", 123456, 1.5, true, -7}) }

func BenchmarkSlices(b *testing.B) {
	b.Run("string", func(b *testing.B) { bench(b, []string{"a", "bc", "def", "", "ghij", "k", "l", "m"}) })
	b.Run("int64", func(b *testing.B) { bench(b, []int64{1, 2, 300, 4, 5, 6, -7, 8}) })
	b.Run("float64", func(b *testing.B) { bench(b, []float64{1, 2, 3, 4, 5, 6, 7, 8}) })
}
