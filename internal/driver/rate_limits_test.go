package driver

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// Some of the facts are those of Spark's DirectKafkaStreamSuite, for all partitions of a source together: how they share
// is the source's business.
func TestDirectKafkaStreamSuite(t *testing.T) {
	for _, c := range []struct {
		name           string
		rate, highest  int64 // of rate control, of the graph
		batchMS, limit int64 // records of a batch, 0 for no limit
	}{
		{"maxMessagesPerPartition with backpressure disabled", 0, 2 * 100, 100, 10 + 10},
		{"maxMessagesPerPartition respects max rate", 1000, 50 + 100, 100, 5 + 10},
		{"no limit", 0, 0, 1000, 0},
		{"rate control alone", 120, 0, 500, 60},
		{"rate control below the highest", 120, 300, 500, 60},
		{"a batch has one record at least", 100, 0, 1, 1},
		{"the highest rate and the longest batch", fsm.MaxRate, 0, fsm.MaxBatchMS, fsm.MaxRate * 24 * 60 * 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &fsm.App{ID: 1, BatchMS: c.batchMS, Inputs: []fsm.InputStream{{Stream: 3, Rate: c.highest}}}
			l := NewLimits()
			l.Set(1, 3, c.rate)
			var want []job.SourceLimit
			if c.limit > 0 {
				want = []job.SourceLimit{{Stream: 3, Records: c.limit}}
			}
			if d := cmp.Diff(want, l.PerBatch(a, []id.Stream{3, 4})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLimitsAreChangedAndForgotten(t *testing.T) {
	a := &fsm.App{ID: 1, Inputs: []fsm.InputStream{{Stream: 0, Rate: 70}, {Stream: 1}}}
	l := NewLimits()
	changed := func(what string, want bool, change func()) {
		t.Helper()
		before := l.Changed()
		change()
		select {
		case <-before:
			if !want {
				t.Errorf("%s: told as a change", what)
			}
		default:
			if want {
				t.Errorf("%s: not told", what)
			}
		}
	}
	changed("new limits", true, func() { l.Set(1, 0, 50); l.Set(1, 1, 50) })
	changed("the same again", false, func() { l.Set(1, 0, 50) })
	changed("lifted", true, func() { l.Set(1, 0, 0) })
	changed("lifted again", false, func() { l.Set(1, 0, 0) })
	if got := [2]int64{l.Rate(a, 0), l.Rate(a, 1)}; got != [2]int64{70, 50} {
		t.Errorf("rates %v, expected that of the graph and 50", got)
	}
	changed("kept", false, func() { l.Keep(func(id.App) bool { return true }) })
	changed("forgotten", true, func() { l.Keep(func(id.App) bool { return false }) })
	if got := l.Rate(a, 1); got != 0 {
		t.Errorf("rate %d of a forgotten application", got)
	}
	if none := (*Limits)(nil); none.Rate(a, 0) != 70 || none.Rate(a, 1) != 0 || none.Changed() != nil {
		t.Error("no limits at all limit something")
	}
}
