package dstream_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

type wordCountParams struct {
	Least int64  `json:"least"`         // counts below are left out
	Out   string `json:"out,omitempty"` // prefix of text files; else print
}

// countWords is apart from the program, so that a test can run it: see package streamtest.
func countWords(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
	words := dstream.FlatMap(lines, strings.FieldsSeq)
	pairs := dstream.Map(words, func(w string) dstream.KV[string, int64] { return dstream.Pair(w, int64(1)) })
	return dstream.ReduceByKey(pairs, dstream.Sum)
}

// An application is a build function under a name. The program's main calls cli.Main after it.
func ExampleRegister() {
	dstream.Register("frequent-words", func(c *dstream.Context, p wordCountParams) error {
		if p.Least < 1 {
			return fmt.Errorf("parameter least: %d, expected at least 1", p.Least)
		}
		frequent := countWords(ingest.TextStream(c)).Filter(func(w dstream.KV[string, int64]) bool { return w.Value >= p.Least })
		if p.Out != "" {
			frequent.SaveAsTextFiles(p.Out, "txt")
		} else {
			frequent.Print(20)
		}
		return nil
	})

	fmt.Println(dstream.Builder().Names())
	_, err := dstream.Builder().Params("frequent-words", map[string]string{"least": "many"})
	fmt.Println(err)
	// Output:
	// [frequent-words]
	// program "frequent-words": parameter "least" is "many", expected an integer (int64)
}

// The function gets the new values of a key and its state, and returns the next state; here a key that was quiet for a
// batch is removed when its count is small.
func ExampleUpdateStateByKey() {
	totals := func(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
		words := dstream.FlatMap(lines, strings.FieldsSeq)
		pairs := dstream.Map(words, func(w string) dstream.KV[string, int64] { return dstream.Pair(w, int64(1)) })
		return dstream.UpdateStateByKey(pairs, func(values []int64, state dstream.Opt[int64]) dstream.Opt[int64] {
			if len(values) == 0 && state.Value < 2 {
				return dstream.None[int64]()
			}
			for _, v := range values {
				state.Value += v
			}
			return dstream.Some(state.Value)
		}).Checkpoint(2 * time.Second)
	}
	batches := [][]string{{"to be or", "not to be"}, {"or"}, {}, {"be"}}
	for _, counts := range streamtest.Run(console{}, batches, totals, streamtest.Partitions(1), streamtest.RestartAfter(3)) {
		fmt.Println(counts)
	}
	// Output:
	// [(to,2) (be,2) (or,1) (not,1)]
	// [(to,2) (be,2) (or,2)]
	// [(to,2) (be,2) (or,2)]
	// [(to,2) (be,3) (or,2)]
}

// The function is told the time of the batch and the key, too; here it notes when a word was new.
func ExampleUpdateStateByKeyTimed() {
	firsts := func(words *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, string]] {
		pairs := dstream.Map(words, func(w string) dstream.KV[string, int64] { return dstream.Pair(w, int64(1)) })
		return dstream.UpdateStateByKeyTimed(pairs, func(t time.Time, word string, _ []int64, first dstream.Opt[string]) dstream.Opt[string] {
			if first.OK {
				return first
			}
			return dstream.Some(fmt.Sprintf("%s since %ds", word, t.Unix()))
		})
	}
	batches := [][]string{{"to", "be"}, {"or"}, {"to"}}
	for _, states := range streamtest.Run(console{}, batches, firsts, streamtest.Partitions(1)) {
		fmt.Println(states)
	}
	// Output:
	// [(to,to since 1s) (be,be since 1s)]
	// [(to,to since 1s) (be,be since 1s) (or,or since 2s)]
	// [(to,to since 1s) (be,be since 1s) (or,or since 2s)]
}

// visits counts the clicks of each user's visit, which ends when there was none for three seconds.
func visits(clicks *dstream.DStream[string]) *dstream.StateStream[string, int64, string] {
	pairs := dstream.Map(clicks, func(user string) dstream.KV[string, int64] { return dstream.Pair(user, int64(1)) })
	return dstream.MapWithState(pairs, func(_ time.Time, user string, click dstream.Opt[int64], st *dstream.State[int64]) dstream.Opt[string] {
		n, _ := st.Get()
		if st.TimingOut() {
			return dstream.Some(fmt.Sprintf("%s left after %d clicks", user, n))
		}
		st.Update(n + click.Value)
		if n > 0 {
			return dstream.None[string]()
		}
		return dstream.Some(user + " came")
	}, dstream.Timeout(3*time.Second))
}

func ExampleMapWithState() {
	batches := [][]string{{"ann", "bob"}, {"ann", "ann"}, {}, {}, {"bob"}, {}}
	op := func(clicks *dstream.DStream[string]) *dstream.DStream[string] { return visits(clicks).DStream }
	for i, lines := range streamtest.Run(console{}, batches, op, streamtest.Partitions(1), streamtest.RestartAfter(2)) {
		fmt.Println(i+1, lines)
	}
	// Output:
	// 1 [ann came bob came]
	// 2 []
	// 3 []
	// 4 []
	// 5 []
	// 6 [ann left after 3 clicks]
}

func ExampleStateStream_StateSnapshots() {
	batches := [][]string{{"ann", "bob"}, {"ann", "ann"}, {}, {}, {"cy"}}
	op := func(clicks *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, int64]] {
		return visits(clicks).StateSnapshots()
	}
	for _, open := range streamtest.Run(console{}, batches, op, streamtest.Partitions(1)) {
		fmt.Println(open)
	}
	// Output:
	// [(ann,1) (bob,1)]
	// [(ann,3) (bob,1)]
	// [(ann,3) (bob,1)]
	// [(ann,3) (bob,1)]
	// [(ann,3) (cy,1)]
}

func ExampleReduceByKey() {
	batches := [][]string{{"to be or", "not to be"}, {}, {"be"}}
	for _, counts := range streamtest.Run(console{}, batches, countWords, streamtest.Partitions(1)) {
		fmt.Println(counts)
	}
	// Output:
	// [(to,2) (be,2) (or,1) (not,1)]
	// []
	// [(be,1)]
}

// A partition may be written again after a failure: its name is the key, so that the second time changes nothing.
func ExampleForeachPartition() {
	type key struct {
		output string
		time   time.Time
		index  int
	}
	table := map[key][]string{} // stands for a database
	store := func(_ context.Context, p dstream.Partition, lines iter.Seq[string]) error {
		var rows []string
		for line := range lines {
			rows = append(rows, strings.ToUpper(line))
		}
		table[key{p.Output, p.Time, p.Index}] = rows
		return nil
	}
	streamtest.Run(console{}, [][]string{{"one", "two"}}, func(lines *dstream.DStream[string]) *dstream.DStream[string] {
		dstream.ForeachPartition(lines, store)
		return lines
	}, streamtest.Partitions(1))
	for k, rows := range table {
		fmt.Println(k.output, k.time.UnixMilli(), k.index, rows)
	}
	// Output:
	// foreachPartition-0 1000 0 [ONE TWO]
}

// The function of a batch runs in one place and asks executors for what it wants: here the three words that came most
// often, for a page that shows them. It may run again after a failure: it writes under the batch time.
func ExampleForeachRDD() {
	page := map[time.Time]string{} // stands for a store that every node reaches
	show := func(ctx context.Context, r rdd.RDD[dstream.KV[string, int64]], t time.Time) error {
		words, err := r.Count(ctx)
		if err != nil || words == 0 {
			return err
		}
		counts, err := r.Collect(ctx)
		if err != nil {
			return err
		}
		slices.SortFunc(counts, func(a, b dstream.KV[string, int64]) int {
			return cmp.Or(cmp.Compare(b.Value, a.Value), strings.Compare(a.Key, b.Key))
		})
		page[t] = fmt.Sprintf("%d words, most often %v", words, counts[:min(3, len(counts))])
		return nil
	}
	streamtest.Run(console{}, [][]string{{"to be or not to be", "or not"}, {}}, func(lines *dstream.DStream[string]) *dstream.DStream[string] {
		dstream.ForeachRDD(dstream.CountByValue(dstream.FlatMap(lines, strings.FieldsSeq)), show)
		return lines
	})
	for t, text := range page {
		fmt.Println(t.UnixMilli(), text)
	}
	// Output:
	// 1000 4 words, most often [(be,2) (not,2) (or,2)]
}

// clock is a receiver of a source that cannot send again.
type clock struct{ every time.Duration }

func (r clock) Run(ctx context.Context, in connector.Inlet[time.Time]) error {
	ticks := time.NewTicker(r.every)
	defer ticks.Stop()
	for {
		select {
		case t := <-ticks.C:
			if err := in.Store(ctx, t); err != nil {
				return err // the executor starts Run again, after a while
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// A stream of any type with an encoding comes from a connector.Receiver, which runs on one executor.
func ExampleReceiverStream() {
	r := dstream.NewRegistry()
	dstream.RegisterIn(r, "ticks", func(c *dstream.Context, _ struct{}) error {
		ticks := dstream.ReceiverStream(c, clock{100 * time.Millisecond}, dstream.Source("clock")).Name("ticks")
		ticks.Count().Print()
		return nil
	})
	fmt.Println(r.Names())
	// Output:
	// [ticks]
}

// console is the testing.TB of an example; a test has its own.
type console struct{ testing.TB }

func (console) Helper()                           {}
func (console) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (console) Fatalf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
