package ratecontrol

import (
	"testing"

	"pgregory.net/rapid"
)

func TestControllerDecides(t *testing.T) {
	type step struct {
		records, processing, scheduling int64
		limit                           int64
	}
	tests := map[string][]step{
		"idle: no limit": {{1000, 100, 0, 0}, {1000, 100, 0, 0}},
		"busy but in time: the speed is the limit":     {{8000, 800, 0, 0}, {8000, 800, 0, 10000}},
		"the first slow batch limits at once":          {{50000, 5000, 0, 10000}},
		"a batch that waited lowers the limit":         {{50000, 5000, 0, 10000}, {50000, 5000, 2000, 6000}},
		"never below the lowest rate":                  {{50000, 5000, 0, 10000}, {50000, 5000, 9000, 100}},
		"limited and near the limit: kept":             {{50000, 5000, 0, 10000}, {50000, 5000, 9000, 100}, {100, 10, 0, 10000}},
		"limited but far from it: lifted":              {{50000, 5000, 0, 10000}, {10000, 1000, 0, 10000}, {1000, 100, 0, 0}},
		"no records, fast: lifted":                     {{50000, 5000, 0, 10000}, {0, 1, 0, 0}},
		"no records, slow: nothing changes":            {{50000, 5000, 0, 10000}, {0, 1200, 0, 10000}},
		"unmeasurably fast at the limit: speed of 1ms": {{50000, 5000, 0, 10000}, {50000, 5000, 9000, 100}, {100, 0, 0, 100000}},
		"clocks were set: nothing changes":             {{50000, 5000, 0, 10000}, {50000, -5, 0, 10000}, {50000, 5000, -1, 10000}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := NewController(Default(1000))
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range steps {
				b := c.Allocated(s.records)
				if got := c.Completed(b, Run{EndMS: int64(i+1) * 1000, ProcessingMS: s.processing, SchedulingMS: s.scheduling}); got != s.limit {
					t.Errorf("step %d: limit %d, expected %d", i, got, s.limit)
				}
				if c.Limit() != c.limit {
					t.Errorf("step %d: Limit gives %d", i, c.Limit())
				}
			}
		})
	}
}

// A batch that was gathered while the limit changed was bound by the lower one.
func TestBatchIsBoundByTheLowerLimitOfItsTime(t *testing.T) {
	c, err := NewController(Default(1000))
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct{ limit, bound int64 }{{0, 0}, {500, 500}, {300, 300}, {900, 300}, {900, 900}, {0, 900}, {0, 0}} {
		c.limit = tt.limit
		if got := c.Allocated(1); got.Bound != tt.bound {
			t.Errorf("batch %d: bound %d, expected %d", i, got.Bound, tt.bound)
		}
	}
}

// model is an application: batches of one input run one after the other, each as long as its records need.
type model struct {
	perSecond int64 // records that it can process
	fixedMS   int64 // what every batch takes beside
	c         *Controller
	freeMS    int64 // when the last batch that was given is done
	pending   []pending
	worst     int64 // ms that a batch waited, the longest
	taken     int64 // records of the last batch
}

type pending struct {
	batch            Batch
	at, started, end int64
}

// second lets one batch interval pass in which a source offers so many records.
func (m *model) second(atMS, offered int64) {
	m.taken = offered
	if l := m.c.Limit(); l > 0 {
		m.taken = min(offered, l)
	}
	b := m.c.Allocated(m.taken)
	started := max(atMS, m.freeMS)
	m.freeMS = started + m.fixedMS + m.taken*1000/m.perSecond
	m.pending = append(m.pending, pending{b, atMS, started, m.freeMS})
	m.worst = max(m.worst, started-atMS)
	for len(m.pending) > 0 && m.pending[0].end <= atMS+1000 {
		p := m.pending[0]
		m.pending = m.pending[1:]
		m.c.Completed(p.batch, Run{EndMS: p.end, ProcessingMS: p.end - p.started, SchedulingMS: p.started - p.at})
	}
}

func TestOverloadedApplicationSettlesAndRecovers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, err := NewController(Default(1000))
		if err != nil {
			t.Fatal(err)
		}
		m := &model{
			perSecond: rapid.Int64Range(2_000, 1_000_000).Draw(t, "records per second"),
			fixedMS:   rapid.Int64Range(0, 300).Draw(t, "fixed ms"), c: c,
		}
		offered := m.perSecond * rapid.Int64Range(2, 6).Draw(t, "times too much")
		now := int64(0)
		for range 300 {
			now += 1000
			m.second(now, offered)
		}
		m.worst = 0
		sum := int64(0)
		for range 100 {
			now += 1000
			m.second(now, offered)
			sum += m.taken
		}
		if m.worst > 2000 {
			t.Errorf("settled, a batch waited %d ms", m.worst)
		}
		capacity := m.perSecond * (1000 - m.fixedMS) / 1000
		if mean := sum / 100; mean < capacity*6/10 || mean > capacity*11/10 {
			t.Errorf("settled at %d records per second, it can do %d", mean, capacity)
		}
		few := max(m.perSecond/50, 1)
		for range 20 {
			now += 1000
			m.second(now, few)
		}
		if c.Limit() != 0 && m.fixedMS < 400 {
			t.Errorf("the burst is over, the limit is still %d", c.Limit())
		}
	})
}
