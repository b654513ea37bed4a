// Package receivers owns the driver's duty over receivers (Spark: ReceiverTracker): each one of a running application
// has an instance on some executor, and one of an application that stops comes to its end. It promises that an
// executor is told to start an instance after every connect, that one that failed is granted again with back-off, and
// that receivers move to executors that join; it must not know what receivers receive.
package receivers

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// A receiver whose instance ended by itself is granted again after a pause; it doubles with every failure in a row.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// Duty is the duty.
type Duty struct {
	conns  driver.Connections
	limits *driver.Limits // nil: none
	log    *slog.Logger
}

var _ driver.Duty = (*Duty)(nil)

// New makes the duty.
func New(c driver.Connections, log *slog.Logger) *Duty {
	return &Duty{conns: c, log: log.With("duty", "receivers")}
}

// With makes receivers take in what the limits say at most.
func (d *Duty) With(l *driver.Limits) *Duty {
	d.limits = l
	return d
}

// Name names the duty.
func (d *Duty) Name() string { return "receivers" }

// Run does the duty until ctx ends.
func (d *Duty) Run(ctx context.Context, l driver.Ledger) error {
	t := &turn{
		Duty:      d,
		ledger:    l,
		proposals: driver.NewProposals[key](d.log),
		sent:      driver.NewSent[key, order](),
		rates:     driver.NewSent[key, rate](),
		streaks:   make(streaks),
		moves:     newMoves(),
	}
	return driver.TurnsWith(ctx, l, d.conns, d.limits.Changed, t.take)
}

// key names a receiver.
type key struct {
	app    id.App
	stream id.Stream
}

// order is what an executor was told about a receiver last.
type order struct {
	instance      id.Instance
	stop, discard bool
}

// rate is what an executor was told last about how much a receiver takes in.
type rate struct {
	instance  id.Instance
	perSecond int64
}

type turn struct {
	*Duty
	ledger    driver.Ledger
	proposals *driver.Proposals[key]
	sent      *driver.Sent[key, order]
	rates     *driver.Sent[key, rate]
	streaks   streaks
	moves     *moves
}

func (t *turn) take(ctx context.Context, v fsm.View) (time.Duration, error) {
	again := driver.Idle
	commands := make(map[key]fsm.Command)
	now := time.Now()
	t.streaks.forget(v)
	t.moves.look(v)
	for a := range v.Apps() {
		if a.State == fsm.Stopped {
			continue
		}
		again = min(again, t.schedule(v, a, now, commands))
		if !t.order(v, a) {
			again = min(again, driver.Soon)
		}
		abandon(v, a, now, commands)
	}
	known := func(k key) bool {
		_, ok := v.Receiver(k.app, k.stream)
		return ok
	}
	t.sent.Keep(t.conns.All(), known)
	t.rates.Keep(t.conns.All(), known)
	held, err := t.proposals.Make(ctx, t.ledger, commands)
	return min(again, held), err
}

// schedule grants instances to the receivers of a running application that have none (rule 4).
func (t *turn) schedule(v fsm.View, a *fsm.App, now time.Time, commands map[key]fsm.Command) time.Duration {
	again := driver.Idle
	if a.State != fsm.Running {
		return again
	}
	var fresh, idle []*tracker.Receiver
	for r := range v.Receivers(a.ID) {
		t.streaks.note(r)
		switch left := t.retryIn(v, r, now); {
		case r.State != tracker.Inactive:
		case left > 0:
			again = min(again, left)
		case r.Instance == 0:
			fresh = append(fresh, r)
		default:
			idle = append(idle, r)
		}
	}
	executors := t.able(v, a)
	again = min(again, t.moves.begin(v, a, executors, now))
	if len(fresh)+len(idle) == 0 {
		return again
	}
	grant := func(r *tracker.Receiver, candidates []tracker.Candidate) {
		if s := choose(r, candidates, executors); s != 0 {
			commands[key{a.ID, r.Stream}] = &fsm.ReceiverScheduled{
				App: a.ID, Stream: r.Stream, Session: s, Prev: r.Instance, NowMS: now.UnixMilli(),
			}
		}
	}
	for i, candidates := range tracker.ScheduleReceivers(fresh, executors) {
		grant(fresh[i], candidates)
	}
	if len(idle) > 0 {
		all := slices.Collect(eachReceiver(v))
		for _, r := range idle {
			grant(r, tracker.RescheduleReceiver(r, all, executors))
		}
	}
	return again
}

// able lists the executors that are connected and can work for the application, in order of session.
func (t *turn) able(v fsm.View, a *fsm.App) []*tracker.Session {
	can := driver.Able(v, a)
	var able []*tracker.Session
	for s := range v.Sessions() {
		if _, connected := t.conns.Of(s.ID); connected && can(s) {
			able = append(able, s)
		}
	}
	return able
}

// choose takes the first candidate that is there, and after a failure one other than the executor that it failed on.
// A preferred node that is not there does not keep the receiver waiting. 0: nobody is there.
func choose(r *tracker.Receiver, candidates []tracker.Candidate, executors []*tracker.Session) id.Session {
	sessions := make([]id.Session, 0, len(candidates)+len(executors))
	for _, c := range candidates {
		if c.Session != 0 {
			sessions = append(sessions, c.Session)
		}
	}
	for _, e := range executors {
		sessions = append(sessions, e.ID)
	}
	if len(sessions) == 0 {
		return 0
	}
	if failed(r) {
		if i := slices.IndexFunc(sessions, func(s id.Session) bool { return s != r.Session }); i >= 0 {
			return sessions[i]
		}
	}
	return sessions[0]
}

// order tells the executors what to do with the application's instances; false: somebody could not take it.
func (t *turn) order(v fsm.View, a *fsm.App) bool {
	all := true
	for r := range v.Receivers(a.ID) {
		if r.Instance == 0 {
			continue
		}
		c, connected := t.conns.Of(r.Session)
		if !connected {
			continue
		}
		o := order{instance: r.Instance}
		switch {
		case r.State == tracker.Inactive:
			o.stop, o.discard = true, true
		case a.Draining || t.moves.moving(r):
			o.stop = true
		}
		told := t.sent.Send(c, key{a.ID, r.Stream}, o, func() job.ToExecutor { return t.message(a, r, o) })
		if told && !o.stop && t.limits != nil {
			told = t.limit(c, a, r)
		}
		all = told && all
	}
	return all
}

// limit tells an executor how much an instance takes in that it was told to start; false: it could not take it.
func (t *turn) limit(c driver.Connection, a *fsm.App, r *tracker.Receiver) bool {
	now := rate{r.Instance, t.limits.Rate(a, r.Stream)}
	return t.rates.Send(c, key{a.ID, r.Stream}, now, func() job.ToExecutor {
		return &job.SetRate{Epoch: t.ledger.Epoch(), App: a.ID, Stream: r.Stream, Instance: r.Instance, Rate: now.perSecond}
	})
}

func (t *turn) message(a *fsm.App, r *tracker.Receiver, o order) job.ToExecutor {
	epoch := t.ledger.Epoch()
	if o.stop {
		return &job.StopReceiver{Epoch: epoch, App: a.ID, Stream: r.Stream, Instance: r.Instance, Discard: o.discard}
	}
	return &job.StartReceiver{Epoch: epoch, App: driver.AppOf(a), Stream: r.Stream, Instance: r.Instance, Rate: t.limits.Rate(a, r.Stream)}
}

// abandon closes instances of a draining application that never began: they may not begin any more, and nobody would
// say that they have stopped.
func abandon(v fsm.View, a *fsm.App, now time.Time, commands map[key]fsm.Command) {
	if !a.Draining {
		return
	}
	for r := range v.Receivers(a.ID) {
		if r.State == tracker.Scheduled {
			commands[key{a.ID, r.Stream}] = &fsm.ReceiverDeregistered{
				App: a.ID, Stream: r.Stream, Instance: r.Instance, Message: "stopped before it began", NowMS: now.UnixMilli(),
			}
		}
	}
}

// failed reports whether the last instance ended by an error of its own.
func failed(r *tracker.Receiver) bool { return r.LastError != "" && r.ErrorMS >= r.Since }

// retryIn is how long a receiver has to wait after its instance ended by itself; there is no wait when it ended with its
// session, or because it moves. It is never more than the longest pause, wherever the wall clock has jumped to.
func (t *turn) retryIn(v fsm.View, r *tracker.Receiver, now time.Time) time.Duration {
	pause := time.Duration(0)
	if _, open := v.Session(r.Session); open && !t.moves.moving(r) {
		pause = firstRetry
	}
	if failed(r) {
		pause = min(firstRetry<<min(max(t.streaks.failures(r)-1, 0), 5), lastRetry)
	}
	passed := time.Duration(now.UnixMilli()-r.Since) * time.Millisecond
	return pause - max(passed, 0)
}

// eachReceiver lists the receivers of all applications.
func eachReceiver(v fsm.View) iter.Seq[*tracker.Receiver] {
	return func(yield func(*tracker.Receiver) bool) {
		for a := range v.Apps() {
			for r := range v.Receivers(a.ID) {
				if !yield(r) {
					return
				}
			}
		}
	}
}
