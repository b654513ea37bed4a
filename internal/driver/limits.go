package driver

import (
	"maps"
	"slices"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// Limits are how many records per second the inputs of applications may take in at present, as rate control found out
// in this leadership. They are in no ledger: a new leader begins without. A nil *Limits has none, and any number of
// goroutines may use one.
type Limits struct {
	mu      sync.Mutex
	of      map[input]int64
	changed chan struct{}
}

type input struct {
	app    id.App
	stream id.Stream
}

// NewLimits makes an empty one.
func NewLimits() *Limits {
	return &Limits{of: make(map[input]int64), changed: make(chan struct{})}
}

// Set limits an input to so many records per second; 0 lifts the limit.
func (l *Limits) Set(a id.App, s id.Stream, perSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := (input{a, s}); l.of[k] != perSecond {
		l.of[k] = perSecond
		if perSecond == 0 {
			delete(l.of, k)
		}
		l.broadcast()
	}
}

// Keep lifts the limits of applications that are not kept.
func (l *Limits) Keep(kept func(id.App) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.of)
	maps.DeleteFunc(l.of, func(k input, _ int64) bool { return !kept(k.app) })
	if len(l.of) != before {
		l.broadcast()
	}
}

// Rate is how many records per second an input takes in at most, 0 for no limit: the lower one of what its graph says
// and what rate control found out.
func (l *Limits) Rate(a *fsm.App, s id.Stream) int64 {
	var rate int64
	if l != nil {
		l.mu.Lock()
		rate = l.of[input{a.ID, s}]
		l.mu.Unlock()
	}
	i := slices.IndexFunc(a.Inputs, func(in fsm.InputStream) bool { return in.Stream == s })
	if i < 0 || a.Inputs[i].Rate == 0 {
		return rate
	}
	if rate == 0 {
		return a.Inputs[i].Rate
	}
	return min(rate, a.Inputs[i].Rate)
}

// PerBatch gives what a batch reads of direct streams at most: those without a limit are left out.
func (l *Limits) PerBatch(a *fsm.App, streams []id.Stream) (limits []job.SourceLimit) {
	for _, s := range streams {
		if rate := l.Rate(a, s); rate > 0 {
			// Seconds and the rest apart: the product of all could overflow.
			n := rate*(a.BatchMS/1000) + rate*(a.BatchMS%1000)/1000
			limits = append(limits, job.SourceLimit{Stream: s, Records: max(n, 1)})
		}
	}
	return limits
}

// Changed is closed at the next change.
func (l *Limits) Changed() <-chan struct{} {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Limits) broadcast() {
	close(l.changed)
	l.changed = make(chan struct{})
}
