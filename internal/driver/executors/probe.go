package executors

import (
	"context"
	"sync"
	"time"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// An executor without connection is dead when its port refuses so many dials in a row, one every probeEvery. It
// listens there for as long as it lives: the port is opened before the session and closed after it.
const (
	refusals   = 3
	probeEvery = 100 * time.Millisecond
	// probesAtOnce bounds the dials in flight.
	probesAtOnce = 16
)

// Refuses reports whether nobody listens at an rpc address: a dial is refused, not merely unanswered. It must return
// within a few times probeEvery. rpc.Refuses is one.
type Refuses func(ctx context.Context, addr string) bool

// probes counts refused dials, session by session. One goroutine uses it.
type probes struct {
	refuses Refuses // nil: nobody is dialled, silence alone counts
	last    time.Time
	counts  map[id.Session]count
}

type count struct {
	refused int
	lost    time.Time // the loss that it is about: another one starts anew
}

// suspect is an open session without connection.
type suspect struct {
	session *tracker.Session
	lost    time.Time
}

// take dials the suspects if the time has come. It returns how long it is until the next time; Idle has no place here:
// without suspects nobody asks.
func (p *probes) take(ctx context.Context, suspects []suspect) (again time.Duration) {
	if left := probeEvery - time.Since(p.last); left > 0 {
		return left
	}
	p.last = time.Now()
	refused := make([]bool, len(suspects))
	places := make(chan struct{}, probesAtOnce)
	var dials sync.WaitGroup
	for i, s := range suspects {
		places <- struct{}{}
		dials.Go(func() {
			defer func() { <-places }()
			refused[i] = p.refuses(ctx, s.session.Addr)
		})
	}
	dials.Wait()
	counts := make(map[id.Session]count, len(suspects))
	for i, s := range suspects {
		if !refused[i] {
			continue
		}
		c := count{refused: 1, lost: s.lost}
		if old, ok := p.counts[s.session.ID]; ok && old.lost.Equal(s.lost) {
			c.refused += old.refused
		}
		counts[s.session.ID] = c
	}
	p.counts = counts
	return probeEvery
}

// dead reports whether a session's process is known to be dead.
func (p *probes) dead(s suspect) bool {
	c := p.counts[s.session.ID]
	return c.refused >= refusals && c.lost.Equal(s.lost)
}
