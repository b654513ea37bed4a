package streamtest_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// modelled is a stream beside what it is known to hold: the naive oracle, which knows no engine.
type modelled struct {
	slide  int  // batches
	always bool // has a dataset at each of its times
	holds  func(batch int) (records []int, ok bool)
	build  op[int, int]
}

// then puts an operator on top.
func (m modelled) then(f op[int, int]) op[int, int] {
	below := m.build
	return func(s stream[int]) stream[int] { return f(below(s)) }
}

func (m modelled) window(length, slide int) modelled {
	return modelled{slide: slide, always: true, build: m.then(window(length, slide)), holds: func(batch int) (all []int, ok bool) {
		for n := batch - length + m.slide; n <= batch; n += m.slide {
			if n > 0 {
				records, _ := m.holds(n)
				all = append(all, records...)
			}
		}
		return all, true
	}}
}

// passing hands the records on; the operator does not know that.
func (m modelled) passing(f op[int, int]) modelled {
	m.build = m.then(f)
	return m
}

// remembering is passing through a state: that has a dataset from the first one of its parent on.
func (m modelled) remembering() modelled {
	holds := m.holds
	m.build = m.then(over["state"])
	m.holds = func(batch int) ([]int, bool) {
		records, ok := holds(batch)
		for n := batch; n > 0 && !ok; n -= m.slide {
			_, ok = holds(n)
		}
		return records, ok
	}
	return m
}

func (m modelled) twice() modelled {
	holds := m.holds
	m.build = m.then(func(s stream[int]) stream[int] { return s.Union(dstream.Map(s, plus4)) })
	m.holds = func(batch int) ([]int, bool) {
		all, ok := holds(batch)
		for _, v := range all {
			all = append(all, v+4)
		}
		return all, ok
	}
	return m
}

func drawModel(t *rapid.T, input [][]int) modelled {
	m := modelled{slide: 1, build: over["inputs"], holds: func(batch int) ([]int, bool) {
		if batch > len(input) {
			return nil, true
		}
		return slices.Clone(input[batch-1]), input[batch-1] != nil
	}}
	for range rapid.IntRange(1, 4).Draw(t, "operators") {
		switch what := rapid.SampledFrom([]string{"window", "window", "window", "shuffle", "state", "twice", "same"}).Draw(t, "operator"); {
		case what == "window":
			slide := m.slide
			if slide < 4 {
				slide *= rapid.IntRange(1, 3).Draw(t, "slide")
			}
			m = m.window(m.slide*rapid.IntRange(1, 4).Draw(t, "length"), slide)
		case what == "shuffle":
			m = m.passing(shuffled)
		case what == "state":
			m = m.remembering()
		case what == "twice" && m.always:
			m = m.twice()
		default:
			m = m.passing(func(s stream[int]) stream[int] { return dstream.Map(s, func(v int) int { return v }) })
		}
		checkpoint := time.Duration(m.slide*rapid.IntRange(1, 3).Draw(t, "checkpoint")) * second
		m = m.passing(func(s stream[int]) stream[int] { return s.Checkpoint(checkpoint) })
	}
	return m
}

// Rules 6 to 8: windows over windows, shuffles and states hold what a naive reading of their durations says, in the same
// order whatever is lost on the way.
func TestChainsOfWindowsHoldWhatTheirDurationsSay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		input := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) []int {
			if rapid.IntRange(0, 4).Draw(rt, "missing") == 0 {
				return nil
			}
			return rapid.SliceOfN(rapid.IntRange(0, 99), 0, 5).Draw(rt, "records")
		}), 1, 9).Draw(rt, "input")
		m := drawModel(rt, input)
		opts := []streamtest.Option{
			streamtest.Partitions(rapid.IntRange(1, 4).Draw(rt, "partitions")),
			streamtest.Batches(len(input) + rapid.IntRange(0, 4).Draw(rt, "more")),
		}
		straight := streamtest.Run(t, input, m.build, opts...)
		for n := range len(input) + 3 {
			switch rapid.IntRange(0, 3).Draw(rt, "loss") {
			case 0:
				opts = append(opts, streamtest.RestartAfter(n+1))
			case 1:
				opts = append(opts, streamtest.LoseExecutorAfter(n+1))
			}
		}
		if again := streamtest.Run(t, input, m.build, opts...); !reflect.DeepEqual(again, straight) {
			rt.Fatalf("after losses %v, straight %v", again, straight)
		}
		batch := 0
		for _, got := range straight {
			want, ok := []int(nil), false
			for !ok {
				batch += m.slide
				want, ok = m.holds(batch)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				rt.Fatalf("batch %d holds %v, want %v", batch, got, want)
			}
		}
	})
}
