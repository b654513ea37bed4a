package receiver

import (
	"context"
	"math"
	"time"

	"golang.org/x/time/rate"
)

// limiter slows a receiver down to a number of records a second (Spark: RateLimiter). What is not used is saved up for
// about one second; it starts with one record saved at most.
type limiter struct {
	highest float64 // 0: none
	bucket  *rate.Limiter
}

func newLimiter(highest float64) *limiter {
	l := &limiter{highest: highest, bucket: rate.NewLimiter(rate.Inf, 1)}
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
	burst := int(min(max(1, math.Round(perSecond)), 1<<30))
	now := time.Now()
	l.bucket.SetLimitAt(now, rate.Limit(perSecond))
	l.bucket.SetBurstAt(now, burst)
}

// lift takes the limit off, up to the highest.
func (l *limiter) lift() {
	if l.highest > 0 {
		l.set(l.highest)
		return
	}
	now := time.Now()
	l.bucket.SetLimitAt(now, rate.Inf)
	l.bucket.SetBurstAt(now, 1)
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
	for n > 0 {
		if l.bucket.Limit() == rate.Inf {
			return nil
		}
		some := min(n, l.bucket.Burst())
		now := time.Now()
		r := l.bucket.ReserveN(now, some)
		if !r.OK() {
			continue // the burst has just become smaller
		}
		t := time.NewTimer(r.DelayFrom(now))
		select {
		case <-t.C:
			n -= some
		case <-ctx.Done():
			t.Stop()
			r.Cancel()
			return ctx.Err()
		case <-over:
			t.Stop()
			return nil // who called finds out why when it goes on
		}
	}
	return nil
}
