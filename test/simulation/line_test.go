package simulation_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/executor/job"
)

// silence is after how long without a word from the other side a connection is given up.
const silence = 3 * time.Second

// The planes of traffic that faults tell apart: Raft, control streams, and data among executors.
const (
	raftPlane    = schedule.Raft
	controlPlane = schedule.RPC
	dataPlane    = schedule.Plane("data")
)

// lineOf names the way of one plane's messages from one node to another.
type lineOf struct {
	plane    schedule.Plane
	from, to string
}

// network is all ways among nodes.
type network struct {
	mu    sync.Mutex
	rng   *rand.Rand
	lines map[lineOf]*line
	base  time.Duration // most that a message takes where nothing delays it
}

func newNetwork(seed uint64, base time.Duration) *network {
	return &network{rng: rand.New(rand.NewPCG(seed, 1)), lines: map[lineOf]*line{}, base: base}
}

func (n *network) line(plane schedule.Plane, from, to string) *line {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := lineOf{plane, from, to}
	l := n.lines[key]
	if l == nil {
		l = &line{net: n, turned: make(chan struct{})}
		n.lines[key] = l
	}
	return l
}

// draw gives a duration below most, and whether something of the given chance happens.
func (n *network) draw(most time.Duration, chance float64) (time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := time.Duration(0)
	if most > 0 {
		d = time.Duration(n.rng.Int64N(int64(most)))
	}
	return d, chance > 0 && n.rng.Float64() < chance
}

// line is one direction of a link. What is sent while it is cut waits and arrives when it is healed, unless whoever
// waits for it gives up before.
type line struct {
	net *network

	mu     sync.Mutex
	cuts   int           // faults in effect that cut it
	turned chan struct{} // closed when it is next cut or healed
	delay  time.Duration // of a fault
	jitter time.Duration
	loss   float64 // chance that a connection breaks under a message
	bites  int64   // messages that a fault touched
}

// cut adds (+1) or takes off (-1) a cut.
func (l *line) cut(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts += n
	close(l.turned)
	l.turned = make(chan struct{})
}

// disturb sets what a fault adds to every message.
func (l *line) disturb(delay, jitter time.Duration, loss float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay, l.jitter, l.loss = delay, jitter, loss
}

func (l *line) state() (open bool, turned <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts == 0, l.turned
}

// takes gives how long a message that is sent now is on its way, and whether the connection breaks under it.
func (l *line) takes() (time.Duration, bool) {
	l.mu.Lock()
	delay, jitter, loss := l.delay, l.jitter, l.loss
	if delay > 0 {
		l.bites++
	}
	l.mu.Unlock()
	d, lost := l.net.draw(l.net.base+jitter, loss)
	if lost {
		l.bite()
	}
	return d + delay, lost
}

func (l *line) bite() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bites++
}

// pass takes the time of a message, and waits while the line is cut: job.ErrSilent when that takes too long. broken
// says that the message arrived, and that nothing will come back.
func (l *line) pass(ctx context.Context) (broken bool, err error) {
	d, broken := l.takes()
	if err := rest(ctx, d); err != nil {
		return broken, err
	}
	open, turned := l.state()
	if open {
		return broken, nil
	}
	l.bite()
	patience := time.NewTimer(silence)
	defer patience.Stop()
	for !open {
		select {
		case <-turned:
		case <-patience.C:
			return broken, job.ErrSilent
		case <-ctx.Done():
			return broken, context.Cause(ctx)
		}
		open, turned = l.state()
	}
	return broken, nil
}

// rest waits for d.
func rest(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
