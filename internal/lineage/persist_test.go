package lineage_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/lineage/lineagetest"
)

// keeper is an engine that keeps partitions, and a persisted dataset of words whose computations it counts.
type keeper struct {
	lineagetest.Engine
	words    *lineage.Node[string]
	computed int
}

func newKeeper(tb testing.TB, room int64, words ...string) *keeper {
	k := &keeper{Engine: lineagetest.Engine{Keep: map[lineagetest.KeptPart][][]byte{}, Room: room}}
	s := scope()
	in := given(tb, &k.Engine, s, words)
	k.words = lineage.Persist(s, lineage.Map(s, in, func(w string) string { k.computed++; return w }), codecOf[string](tb), false)
	return k
}

// take reads at most limit records, all if it is negative.
func (k *keeper) take(tb interface {
	Helper()
	Fatal(args ...any)
}, limit int,
) (got []string) {
	tb.Helper()
	err := k.Try(k.words, func(t dataset.Task) {
		k.words.Each(t, 0, func(w string) bool {
			got = append(got, w)
			return len(got) != limit
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

// Rule 6: it cannot be told whether a partition was kept, computed, or too large to be kept.
func TestKeptPartitionsAreWhatIsComputed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", strings.Repeat("b", 900), strings.Repeat("c", 70_000)}), 0, 300).Draw(rt, "words")
		room := rapid.SampledFrom([]int64{0, 50_000, 200_000, 1 << 30}).Draw(rt, "room")
		k := newKeeper(t, room, words...)
		for range rapid.IntRange(1, 5).Draw(rt, "readings") {
			limit := rapid.IntRange(-1, len(words)+1).Draw(rt, "limit")
			want := words
			if limit > 0 {
				want = words[:min(limit, len(words))]
			} else if limit == 0 {
				limit = -1
			}
			if got := k.take(rt, limit); !slices.Equal(got, want) {
				rt.Fatalf("%d records, expected %d", len(got), len(want))
			}
			if rapid.Bool().Draw(rt, "lost") {
				clear(k.Keep)
			}
		}
	})
}

func TestKeptPartitionIsNotComputedAgain(t *testing.T) {
	k := newKeeper(t, 1<<20, "a", "b", "c")
	k.take(t, -1)
	if k.take(t, -1); k.computed != 3 {
		t.Errorf("%d records were computed, expected 3", k.computed)
	}
}

func TestEmptyPartitionIsKept(t *testing.T) {
	k := newKeeper(t, 1<<20)
	k.take(t, -1)
	if chunks, ok := k.Keep[lineagetest.KeptPart{Dataset: k.words.ID()}]; !ok || len(chunks) != 0 {
		t.Errorf("kept: %v, %v", chunks, ok)
	}
}

func TestConsumerThatHasEnoughEndsTheComputationSoon(t *testing.T) {
	k := newKeeper(t, 1<<30, slices.Repeat([]string{strings.Repeat("x", 1000)}, 10_000)...)
	k.take(t, 1)
	if k.computed > 100 || len(k.Keep) > 0 {
		t.Errorf("%d records were computed for 1, %d partitions kept", k.computed, len(k.Keep))
	}
}

func TestTooLargePartitionIsNotKept(t *testing.T) {
	k := newKeeper(t, 100_000, slices.Repeat([]string{strings.Repeat("x", 1000)}, 200)...)
	if got := k.take(t, -1); len(got) != 200 || len(k.Keep) != 0 {
		t.Errorf("%d records, %d partitions kept", len(got), len(k.Keep))
	}
}

func TestHalfComputedPartitionIsNotKept(t *testing.T) {
	boom := errors.New("boom")
	long := slices.Repeat([]string{strings.Repeat("x", 1000)}, 1000)
	for name, run := range map[string]func(k *keeper) error{
		"a panic of the consumer": func(k *keeper) (err error) {
			defer func() { _ = recover() }()
			return k.Try(k.words, func(t dataset.Task) { k.words.Each(t, 0, func(string) bool { panic(boom) }) })
		},
		"a task that is cancelled": func(k *keeper) error {
			ctx, cancel := context.WithCancel(t.Context())
			k.Ctx = ctx
			err := k.Try(k.words, func(t dataset.Task) { k.words.Each(t, 0, func(string) bool { cancel(); return true }) })
			if !errors.Is(err, context.Canceled) {
				return fmt.Errorf("task ended with %w", err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper(t, 1<<30, long...)
			if err := run(k); err != nil {
				t.Error(err)
			}
			if len(k.Keep) > 0 {
				t.Error("the partition was kept")
			}
			if k.Ctx = nil; !slices.Equal(k.take(t, -1), long) {
				t.Error("the next task does not read all of it")
			}
		})
	}
}

// A user function below the persisted dataset that recovers the panic of one above it must not end the partition early.
func TestPanicThatIsRecoveredOnTheWayFailsTheTask(t *testing.T) {
	k := &lineagetest.Engine{Keep: map[lineagetest.KeptPart][][]byte{}, Room: 1 << 30}
	s := scope()
	in := given(t, k, s, slices.Repeat([]string{strings.Repeat("x", 1000)}, 1000))
	swallow := lineage.FlatMap(s, in, func(w string) iter.Seq[string] {
		return func(yield func(string) bool) {
			defer func() { _ = recover() }()
			yield(w)
		}
	})
	kept := lineage.Persist(s, swallow, codecOf[string](t), false)
	err := k.Try(kept, func(t dataset.Task) { kept.Each(t, 0, func(string) bool { panic("boom") }) })
	if err == nil || !strings.Contains(err.Error(), "recovered") || len(k.Keep) > 0 {
		t.Errorf("task ended with %v, %d partitions kept", err, len(k.Keep))
	}
}

// Rule 6: a time that was computed in some location has none in either reading.
func TestComputedRecordsAreNormalAsKeptOnesAre(t *testing.T) {
	e := &lineagetest.Engine{Keep: map[lineagetest.KeptPart][][]byte{}, Room: 1 << 20}
	s := scope()
	in := given(t, e, s, []int{1, 2})
	times := lineage.Map(s, in, func(n int) time.Time { return time.Unix(int64(n), 0).In(time.FixedZone("x", 3600)) })
	kept := lineage.Persist(s, times, codecOf[time.Time](t), false)
	var got [2][]time.Time
	for i := range got {
		if err := e.Try(kept, func(t dataset.Task) { got[i] = slices.Collect(kept.Seq(t, 0)) }); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(got[0], got[1]) {
		t.Errorf("computed %v, kept %v", got[0], got[1])
	}
}

func TestDamagedKeptRecordFailsTheTask(t *testing.T) {
	k := newKeeper(t, 1<<20, "a")
	k.Keep[lineagetest.KeptPart{Dataset: k.words.ID()}] = [][]byte{{9, 'x'}}
	err := k.Try(k.words, func(t dataset.Task) { k.words.Each(t, 0, func(string) bool { return true }) })
	if err == nil || !strings.Contains(err.Error(), "kept record at byte 0 of 2") {
		t.Errorf("task ended with %v", err)
	}
}

func TestBlocksAndKeyedStateAreNotKeptTwice(t *testing.T) {
	var e lineagetest.Engine
	s := scope()
	in := given(t, &e, s, []int{1})
	if lineage.Persist(s, in, codecOf[int](t), false) != in {
		t.Error("a dataset of blocks is kept once more")
	}
	ring := lineage.Ring(s, in, codecOf[int](t), lineage.Kept{MS: 1000, Parts: 1})
	if lineage.Persist(s, ring, codecOf[int](t), false) != ring {
		t.Error("keyed state is kept once more")
	}
}

// parsed is what a program makes of a line of a log.
type parsed struct {
	Host, Path string
	Status     int
	Bytes      int64
}

func parse(line string) parsed {
	f := strings.Fields(line)
	var p parsed
	p.Host, p.Path = f[0], f[1]
	_, _ = fmt.Sscan(f[2], &p.Status)
	_, _ = fmt.Sscan(f[3], &p.Bytes)
	return p
}

// BenchmarkWindowOfParsed reads a window of 30 batches of parsed lines, with and without kept partitions.
func BenchmarkWindowOfParsed(b *testing.B) {
	const batches, lines = 30, 1000
	for _, persist := range []bool{false, true} {
		b.Run(fmt.Sprintf("persist=%v", persist), func(b *testing.B) {
			e := &lineagetest.Engine{Keep: map[lineagetest.KeptPart][][]byte{}, Room: 1 << 30}
			blocks := map[lineagetest.Input][]byte{}
			var nodes []*lineage.Node[parsed]
			for n := range batches {
				s := &lineage.Scope{Time: id.Time(n+1) * 1000, Partitions: 1}
				all := make([]string, lines)
				for i := range all {
					all[i] = fmt.Sprintf("10.0.%d.%d /page/%d 200 %d", n, i%250, i, i*17)
				}
				rows, in := []byte{}, lineage.Source(s, 1, codecOf[string](b))
				for i := range all {
					rows = codecOf[string](b).AppendRow(rows, &all[i])
				}
				blocks[lineagetest.Input{Time: s.Time}] = rows
				node := lineage.Map(s, in, parse)
				if persist {
					node = lineage.Persist(s, node, codecOf[parsed](b), false)
				}
				nodes = append(nodes, node)
			}
			e.Blocks = blocks
			w := lineage.Union(&lineage.Scope{Stream: 1, Time: 1000, Partitions: 1}, nodes)
			var sum int64
			for b.Loop() {
				for part := range w.Partitions() {
					if err := e.Try(w, func(t dataset.Task) {
						w.Each(t, part, func(p parsed) bool { sum += p.Bytes; return true })
					}); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(batches*lines), "ns/record")
		})
	}
}
