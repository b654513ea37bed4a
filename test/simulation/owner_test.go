package simulation_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/fsm"
)

// What the owner of the newest application does to it, and what the owner's code does. These are no faults of the
// cluster, so that package schedule does not know them.
const (
	stopApp      schedule.Kind = "stop"          // in order, and submitted again under its name
	stopNow      schedule.Kind = "stop-now"      // at once, and submitted again under its name
	failOutput   schedule.Kind = "fail-output"   // its outputs fail for a while; then it is resumed
	failReceiver schedule.Kind = "fail-receiver" // its receivers fail, or panic
	acceptLoss   schedule.Kind = "accept-loss"   // its oldest pending batch may run without what nobody holds
)

// What user code fails, and panics, with when it is told to.
var (
	errUser  = errors.New("user code fails (injected)")
	errPanic = errors.New("user code panics (injected)")
)

// maxLives bounds how often one application is submitted.
const maxLives = 3

// drawOwner draws what the owner does, in every other run. Most of it comes together with a cut of the control streams
// of a node that works for the application: what is on its way there arrives when the application has changed.
func drawOwner(r *rand.Rand, newest *program, length int64) (all []schedule.Event) {
	if r.IntN(2) == 0 {
		return nil
	}
	kinds := []schedule.Kind{stopApp, stopNow, stopNow, failOutput, failReceiver}
	if !newest.words { // the totals of words would not say which lines are lost
		kinds = append(kinds, acceptLoss, acceptLoss, acceptLoss, acceptLoss)
	}
	for range 1 + r.IntN(3) {
		e := schedule.Event{AtMS: 1500 + r.Int64N(length), ForMS: 100 + r.Int64N(3000)}
		e.Kind = kinds[r.IntN(len(kinds))]
		switch {
		case e.Kind == acceptLoss && r.IntN(3) == 0:
			all = append(all, hideInput(e.AtMS)...)
			e.AtMS, e.ForMS = e.AtMS+sessionsEnd, 2500
		case r.IntN(4) > 0:
			all = append(all, drawCut(r, e.AtMS))
		}
		all = append(all, e)
	}
	return all
}

// drawCut draws a cut of the control streams of a node that begins before a time: sessions outlive most of them.
func drawCut(r *rand.Rand, before int64) schedule.Event {
	e := schedule.Event{AtMS: before - r.Int64N(1500), Kind: schedule.Cut, Plane: controlPlane, Both: r.IntN(2) == 0}
	e.Targets = []string{[]string{coordinator, coordinator, receiver}[r.IntN(3)]}
	e.ForMS = 500 + r.Int64N(2300)
	if r.IntN(4) == 0 {
		e.ForMS = 3000 + r.Int64N(4000)
	}
	return e
}

// sessionsEnd is when, in ms, sessions are over at the latest of nodes that are not heard of: a link that is silent is
// given up after 3 s, and has 3 s to come back.
const sessionsEnd = 6300

// hideInput cuts off nodes that are likely to hold the input of the next batches, until after it may be given up.
func hideInput(at int64) (all []schedule.Event) {
	for _, role := range []string{coordinator, receiver} {
		for _, plane := range []schedule.Plane{controlPlane, dataPlane} {
			all = append(all, schedule.Event{
				AtMS: at, ForMS: sessionsEnd + 5700, Kind: schedule.Cut, Plane: plane, Both: true, Targets: []string{role},
			})
		}
	}
	return all
}

// ofOwner reports whether an event is done by an application's owner, or the owner's code.
func ofOwner(e schedule.Event) bool {
	switch e.Kind {
	case stopApp, stopNow, failOutput, failReceiver, acceptLoss:
		return true
	}
	return false
}

// act brings about an event of an owner.
func (s *sim) act(e schedule.Event) {
	all := s.apps()
	p := all[len(all)-1]
	if *verbose {
		s.Logf("%v: %s %s", time.Since(s.began), e.Kind, p.name)
	}
	s.hurt(string(e.Kind))
	last := time.Duration(e.ForMS) * time.Millisecond
	switch e.Kind {
	case stopApp, stopNow:
		s.replace(p, e.Kind == stopNow)
	case failOutput:
		p.failing.Add(1)
		sleep(last)
		p.failing.Add(-1)
	case failReceiver:
		for _, src := range p.sources {
			src.trip(e.ForMS%2 == 0)
		}
	case acceptLoss:
		s.acceptLoss(p, last)
	}
}

// replace stops an application and submits it again. Who comes later only says once more that it stops.
func (s *sim) replace(p *program, now bool) {
	if !p.stopping.CompareAndSwap(false, true) {
		s.sayStop(p, now)
		return
	}
	s.stop(p, now)
	if p.life < maxLives {
		s.submit(p.again())
		s.seen(submittedAgain)
	}
}

// stop stops an application and judges it.
func (s *sim) stop(p *program, now bool) {
	s.sayStop(p, now)
	var a *fsm.App
	s.until(p.name+" is stopped", func() bool {
		s.resume(p)
		a = s.app(p)
		return a.State == fsm.Stopped
	})
	s.judge(p, a)
}

func (s *sim) sayStop(p *program, now bool) {
	s.until(p.name+" is told to stop", func() bool {
		s.resume(p)
		return s.propose(&fsm.ApplicationStopped{App: p.id(), Now: now, NowMS: time.Now().UnixMilli()}).Outcome == fsm.Done
	})
}

// submit submits an application until it is taken: the one that had its name before may still be live.
func (s *sim) submit(p *program) {
	for _, src := range p.sources {
		src.sim = s
	}
	s.mu.Lock()
	s.programs = append(s.programs, p)
	s.mu.Unlock()
	c := p.submitted(p.graph(nil).Plan())
	s.until(p.name+" is taken", func() bool {
		r := s.propose(c)
		p.number.Store(r.Index)
		return r.Outcome == fsm.Done
	})
}

// resume resumes an application that user code has failed, when that code is well again.
func (s *sim) resume(p *program) {
	a := s.app(p)
	if a.State != fsm.Failed || p.failing.Load() > 0 {
		return
	}
	if s.propose(&fsm.ApplicationResumed{App: p.id(), Prev: a.Resumed, NowMS: time.Now().UnixMilli()}).Outcome == fsm.Done {
		s.seen(resumed)
	}
}

// acceptLoss lets the next batch that is pending run without what nobody holds.
func (s *sim) acceptLoss(p *program, last time.Duration) {
	for end := time.Now().Add(last); p.lossy && time.Now().Before(end); sleep(10 * time.Millisecond) {
		a := s.app(p)
		if a.Pending == 0 {
			continue
		}
		r := s.propose(&fsm.ApplicationResumed{App: p.id(), Prev: a.Resumed, AcceptLoss: true, NowMS: time.Now().UnixMilli()})
		if r.Outcome == fsm.Done {
			s.seen(lossAccepted)
			return
		}
	}
}

// again gives an application of the same name that is fed from its beginning.
func (p *program) again() *program {
	n := &program{
		app: p.app, life: p.life + 1, words: p.words, streams: p.streams, batchMS: p.batchMS, blockMS: p.blockMS,
		checkpoint: p.checkpoint, bucket: p.bucket, factor: p.factor, lossy: p.lossy,
	}
	n.name = fmt.Sprintf("%s-life-%d", p.app, n.life)
	for i, src := range p.sources {
		n.sources = append(n.sources, newSource(fmt.Sprint(n.name, "-", i), src.partitions, src.every, src.most))
	}
	return n
}

// userFailed reports whether a failure is one that was injected into user code.
func userFailed(reason string) bool { return strings.Contains(reason, errUser.Error()) }
