package receiver

import (
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter slows a receiver down to a number of records a second (Spark: RateLimiter). What is not used is saved up for
// about one second; it starts with one record saved at most. A change of the rate holds at once, also for who waits.
type limiter struct {
	highest float64 // 0: none
	bucket  *rate.Limiter
	turn    chan struct{} // held by who waits: one wait at a time is owed, however many goroutines there are

	mu      sync.Mutex
	changed chan struct{} // closed at the next change of the rate
}

func newLimiter(highest float64) *limiter {
	l := &limiter{
		highest: highest, bucket: rate.NewLimiter(rate.Inf, 1),
		turn: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	if highest > 0 {
		l.set(highest)
	}
	return l
}

// set changes the rate: a value that is not positive is ignored, one above the highest is cut to it.
func (l *limiter) set(perSecond float64) {
	if !(perSecond > 0) {
		return
	}
	if l.highest > 0 {
		perSecond = min(perSecond, l.highest)
	}
	l.change(rate.Limit(perSecond), int(min(max(1, math.Round(perSecond)), 1<<30)))
}

// change sets the rate and has it noticed.
func (l *limiter) change(to rate.Limit, burst int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to == l.bucket.Limit() {
		return
	}
	now := time.Now()
	l.bucket.SetLimitAt(now, to)
	l.bucket.SetBurstAt(now, burst)
	close(l.changed)
	l.changed = make(chan struct{})
}

// lift takes the limit off, up to the highest.
func (l *limiter) lift() {
	if l.highest > 0 {
		l.set(l.highest)
		return
	}
	l.change(rate.Inf, 1)
}

// rate gives the present limit, 0 for none.
func (l *limiter) rate() float64 {
	if r := l.bucket.Limit(); r != rate.Inf {
		return float64(r)
	}
	return 0
}

// wait waits until n records may be taken, or ctx ends, or over is closed.
func (l *limiter) wait(ctx context.Context, over <-chan struct{}, n int) error {
	if l.bucket.Limit() == rate.Inf {
		return nil
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return ctx.Err()
	case <-over:
		return nil // who called finds out why when it goes on
	}
	for n > 0 {
		l.mu.Lock()
		limit, burst, changed := l.bucket.Limit(), l.bucket.Burst(), l.changed
		l.mu.Unlock()
		if limit == rate.Inf {
			return nil
		}
		some := min(n, burst)
		now := time.Now()
		r := l.bucket.ReserveN(now, some)
		if !r.OK() {
			continue // the burst has just become smaller
		}
		t := time.NewTimer(r.DelayFrom(now))
		select {
		case <-t.C:
			n -= some
		case <-changed: // what was waited for may come sooner or later now
			t.Stop()
			r.Cancel()
		case <-ctx.Done():
			t.Stop()
			r.Cancel()
			return ctx.Err()
		case <-over:
			t.Stop()
			return nil
		}
	}
	return nil
}
