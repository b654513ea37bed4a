package model

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
)

type (
	count  = dstream.KV[string, int64]
	lines  = *dstream.DStream[string]
	counts = *dstream.DStream[count]
)

// spans are how far the graphs look back, and how often.
type spans struct{ window, slide, short, batch time.Duration }

func pairs(in lines) counts {
	return dstream.Map(dstream.FlatMap(in, strings.FieldsSeq), func(w string) count { return dstream.Pair(w, int64(1)) })
}

func text(in counts) lines { return dstream.Map(in, count.String) }

// counts are how often each word occurred within the window: panes and what is subtracted.
func (s spans) counts(in lines) lines {
	minus := func(a, b int64) int64 { return a - b }
	some := func(_ string, n int64) bool { return n != 0 }
	return text(dstream.ReduceByKeyAndWindowInverse(pairs(in), dstream.Sum, minus, s.window, s.slide, dstream.Keep(some)))
}

// sessions has, for each word of the short window, the most words of a line that it stands in, joined with how often it
// occurred in a session that ends in this batch: blocks of panes, timeouts and a join.
func (s spans) sessions(in lines) lines {
	lengths := dstream.FlatMap(in, func(line string) iter.Seq[count] {
		return func(yield func(count) bool) {
			all := strings.Fields(line)
			for _, w := range all {
				if !yield(dstream.Pair(w, int64(len(all)))) {
					return
				}
			}
		}
	})
	longest := dstream.ReduceByKeyAndWindow(lengths, func(a, b int64) int64 { return max(a, b) }, s.short, s.batch)
	ended := dstream.MapWithState(pairs(in), session, dstream.Timeout(3*s.batch))
	joined := dstream.FullOuterJoin(longest, ended.DStream)
	return dstream.Map(joined, func(p dstream.KV[string, dstream.Joined[dstream.Opt[int64], dstream.Opt[int64]]]) string {
		return fmt.Sprint(p)
	})
}

// session counts a word until it was idle for long enough.
func session(_ time.Time, word string, n dstream.Opt[int64], s *dstream.State[int64]) dstream.Opt[count] {
	total, _ := s.Get()
	if s.TimingOut() {
		return dstream.Some(dstream.Pair(word, total))
	}
	s.Update(total + n.Value)
	return dstream.None[count]()
}

// snapshots are all open sessions of words that begin with a letter of every two, and two that there are at the start.
func (s spans) snapshots(in lines) lines {
	some := pairs(in).Filter(func(c count) bool { return c.Key[0]%2 == 0 })
	start := func() iter.Seq2[string, int64] {
		return func(yield func(string, int64) bool) { _ = yield("func", 1000) && yield("never seen", 1) }
	}
	return text(dstream.MapWithState(some, session, dstream.Timeout(4*s.batch), dstream.InitialState(start)).StateSnapshots())
}

// recent counts first words within a window of lines, whose batches are kept and read again.
func (s spans) recent(in lines) lines {
	first := dstream.FlatMap(in, func(line string) iter.Seq[string] {
		return func(yield func(string) bool) {
			if w, _, _ := strings.Cut(strings.TrimSpace(line), " "); w != "" {
				yield(w)
			}
		}
	})
	return text(dstream.CountByValue(first.Window(s.window, s.slide)))
}

// reduced adds the counts of a window of counts, which executors keep as state.
func (s spans) reduced(in lines) lines {
	perBatch := dstream.ReduceByKey(pairs(in), dstream.Sum)
	return text(dstream.ReduceByKey(perBatch.Window(s.short, s.batch), dstream.Sum))
}

// totals are those of all words since the start that begin with f.
func (s spans) totals(in lines) lines {
	some := pairs(in).Filter(func(c count) bool { return c.Key[0] == 'f' })
	add := func(values []int64, state dstream.Opt[int64]) dstream.Opt[int64] {
		for _, v := range values {
			state.Value += v
		}
		return dstream.Some(state.Value)
	}
	return text(dstream.UpdateStateByKey(some, add))
}

// number is how many lines the window has, written by a stream that is kept.
func (s spans) number(in lines) lines {
	return dstream.Map(in.CountByWindow(s.window, s.batch), func(n int64) string { return fmt.Sprint(n) }).Persist()
}

// sliced counts the words that begin with g of this batch and of the one two before, from what a shuffle made of them.
func (s spans) sliced(in lines) lines {
	perBatch := dstream.ReduceByKey(pairs(in).Filter(func(c count) bool { return c.Key[0] == 'g' }), dstream.Sum)
	return text(dstream.Slice(perBatch, s.short, func(past rdd.Past[count], t time.Time) rdd.RDD[count] {
		before := t.Add(-2 * s.batch)
		return rdd.ReduceByKey(past.Union(t, t).Union(past.Union(before, before)), dstream.Sum)
	}))
}
