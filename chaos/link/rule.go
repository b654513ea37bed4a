package link

import (
	"sync/atomic"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// rule is a fault on the lanes where it is installed.
type rule struct {
	kind    schedule.Kind
	plane   schedule.Plane
	delay   time.Duration
	jitter  time.Duration
	share   float64 // of the frames, 0 to 1
	perByte float64 // nanoseconds

	passed, dropped, delayed, reordered, duplicated, reset tally
}

// tally is a Count that several lanes add to.
type tally struct{ frames, bytes atomic.Int64 }

func (t *tally) add(p *packet) {
	t.frames.Add(1)
	t.bytes.Add(int64(len(p.frame)))
}

func (t *tally) count() Count { return Count{t.frames.Load(), t.bytes.Load()} }

// meter is a rule on one lane, with what it remembers of the lane.
type meter struct {
	*rule
	free time.Time // when the last frame will have left, of a rule that limits the rate
}

// transit is what the rules of a lane do to a packet.
type transit struct {
	copies    int
	delay     time.Duration
	delayedBy *rule // the last that did
	reset     bool
}

func (r *rule) matches(p *packet) bool {
	if r.kind == schedule.Reset && p.proto != protoTCP {
		return false
	}
	return r.hits(p.plane)
}

func (r *rule) hits(plane schedule.Plane) bool {
	return r.plane == schedule.AllPlanes || r.plane == plane
}

// apply does to the packet what the rule is for; no copies: it does not pass.
func (m *meter) apply(l *lane, p *packet, now time.Time, t *transit) {
	switch m.kind {
	case schedule.Cut:
		m.drop(p, t)
	case schedule.Loss:
		if l.random.Float64() < m.share {
			m.drop(p, t)
		}
	case schedule.Duplicate:
		if l.random.Float64() < m.share {
			t.copies *= 2
			m.duplicated.add(p)
		}
	case schedule.Delay:
		d := m.delay
		if m.jitter > 0 {
			d += time.Duration(l.random.Int64N(2*int64(m.jitter)+1)) - m.jitter
		}
		m.hold(p, t, d)
	case schedule.Reorder:
		if l.random.Float64() < m.share {
			m.hold(p, t, m.delay)
			m.reordered.add(p)
		}
	case schedule.Rate:
		m.limit(p, now, t)
	case schedule.Reset:
		t.copies = 0
		// What resets is not answered: a reset for a reset would never end.
		if !p.has(flagRST) {
			t.reset = true
			m.reset.add(p)
		}
	}
}

func (m *meter) drop(p *packet, t *transit) {
	t.copies = 0
	m.dropped.add(p)
}

func (m *meter) hold(p *packet, t *transit, d time.Duration) {
	if d > 0 {
		t.delay += d
		t.delayedBy = m.rule
		m.delayed.add(p)
	}
}

// rateQueue is how long a frame waits at most for its turn at a rate; one that would wait longer is dropped, as a full
// queue does. Two frames always have room.
const rateQueue = 500 * time.Millisecond

// limit sends frames one after the other at the rate. Only those that wait for another count as delayed.
func (m *meter) limit(p *packet, now time.Time, t *transit) {
	wait := max(m.free.Sub(now), 0)
	if wait > max(rateQueue, time.Duration(2*maxFrame*m.perByte)) {
		m.drop(p, t)
		return
	}
	takes := time.Duration(float64(len(p.frame)) * m.perByte)
	m.free = now.Add(wait + takes)
	t.delay += wait + takes
	t.delayedBy = m.rule
	if wait > 0 {
		m.delayed.add(p)
	}
}
