package receiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// State is where an instance's life stands.
type State string

// States of an instance, in order; Waiting and Exhausted stand for Running.
const (
	Starting  State = "starting"  // asks the ledger to start
	Running   State = "running"   // receives
	Waiting   State = "waiting"   // its last run failed, the next one starts after a while
	Exhausted State = "exhausted" // the source has no more; the instance stays until it is stopped
	Draining  State = "draining"  // receives nothing more, stores what it holds
	Over      State = "over"
)

// Status is a picture of an instance.
type Status struct {
	App       id.App
	Stream    id.Stream
	Instance  id.Instance
	State     State
	Blocks    uint64 // committed
	Records   int64  // of committed blocks
	Bytes     int64  // of committed blocks
	Rate      float64
	Runs      int    // starts of the receiver
	Failures  int    // runs that failed one after the other, 0 once one has lasted
	LastError string // of a run
	Paused    string // why the ledger makes the instance wait, "" if it does not
}

// Supervisor runs one instance of a receiver (Spark: ReceiverSupervisor).
type Supervisor struct {
	cfg      Config
	gen      *generator
	in       *inlet
	drain    chan struct{} // closed by Stop
	discard  chan struct{} // closed by Stop without draining
	deaf     chan struct{} // closed when the receiver takes no pushes any more
	failures chan string   // the newest failure to report

	mu     sync.Mutex
	status Status
}

// New makes a supervisor; Run starts it. The error says what is wrong with the configuration.
func New(c Config) (*Supervisor, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("receiver of stream %d of application %d: %w", c.Stream, c.App.ID, err)
	}
	gen := newGenerator(c.BlockBytes)
	return &Supervisor{
		cfg: c,
		gen: gen,
		in: &inlet{
			gen: gen, limit: newLimiter(c.MaxRate), pushes: make(chan connector.Push, pushesMax),
		},
		drain:    make(chan struct{}),
		discard:  make(chan struct{}),
		deaf:     make(chan struct{}),
		failures: make(chan string, 1),
		status:   Status{App: c.App.ID, Stream: c.Stream, Instance: c.Instance, State: Starting},
	}, nil
}

// Stop asks the instance to end; Run returns when it has. With drain the receiver is stopped and what it stored is
// stored and reported first; without, it is discarded and its receipts fail. It may be called again: a stop without
// drain ends a drain.
func (s *Supervisor) Stop(drain bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	closeOnce(s.drain)
	if !drain {
		closeOnce(s.discard)
	}
}

func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// SetRate limits the records a second: what is not positive is ignored, more than Config.MaxRate is cut to it.
func (s *Supervisor) SetRate(perSecond float64) { s.in.limit.set(perSecond) }

// Limit is SetRate for who means no limit by 0: then Config.MaxRate alone holds.
func (s *Supervisor) Limit(perSecond float64) {
	if perSecond == 0 {
		s.in.limit.lift()
		return
	}
	s.in.limit.set(perSecond)
}

// Status gives a picture of the instance.
func (s *Supervisor) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Rate = s.in.limit.rate()
	return st
}

func (s *Supervisor) update(f func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.status)
}

// Push gives a push to the receiver. After nil its Reply is called once, whatever happens; an error means that it is
// not and nothing was taken.
func (s *Supervisor) Push(ctx context.Context, p connector.Push) error {
	select {
	case <-s.drain:
		return ErrStopped
	case <-s.deaf:
		return ErrStopped
	default:
	}
	select {
	case s.in.pushes <- p:
	case <-s.drain:
		return ErrStopped
	case <-s.deaf:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-s.deaf: // the instance may have ended before it could see the push
		s.refusePushes()
	default:
	}
	return nil
}

// stopPushes is called when no receiver runs any more.
func (s *Supervisor) stopPushes() {
	closeOnce(s.deaf)
	s.refusePushes()
}

// refusePushes answers the pushes that no receiver took.
func (s *Supervisor) refusePushes() {
	for {
		select {
		case p := <-s.in.pushes:
			p.Reply(0, 0, ErrStopped)
		default:
			return
		}
	}
}

// Run runs the instance until it is over, and returns when everything that it started has ended. It is called once.
// The result is nil after Stop, the cause of ctx's end (what was not committed is not taken, and the ledger is not told)
// or a *RefusedError.
func (s *Supervisor) Run(ctx context.Context) error {
	defer s.update(func(st *Status) { st.State = Over })
	defer s.stopPushes()
	work, abort := context.WithCancelCause(ctx) // for storing and reporting: ends when nothing is kept any more
	defer abort(nil)
	receive, stop := context.WithCancel(work) // for the receiver: ends when a stop begins
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { s.watch(work, abort, stop) })
	err := s.register(receive)
	if err == nil {
		s.work(work, receive, abort)
	} else if receive.Err() == nil {
		abort(err)
	}
	cause := context.Cause(work) // nil: drained
	abort(ErrStopped)
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.stopped(ctx, cause)
}

// watch turns Stop into the end of the contexts.
func (s *Supervisor) watch(work context.Context, abort context.CancelCauseFunc, stop context.CancelFunc) {
	select {
	case <-s.drain:
		s.update(func(st *Status) { st.State = Draining })
		stop()
	case <-work.Done():
		return
	}
	select {
	case <-s.discard:
		abort(ErrDiscarded)
	case <-work.Done():
	}
}

// register asks the ledger to take this run as the instance's, and learns the positions to start from (rule 4).
func (s *Supervisor) register(ctx context.Context) error {
	reply, err := s.request(ctx, &job.ReceiverStarted{App: s.cfg.App.ID, Stream: s.cfg.Stream, Instance: s.cfg.Instance})
	if err != nil {
		return err
	}
	if reply.Outcome != job.Done {
		return &RefusedError{What: fmt.Sprintf("receiver instance %d", s.cfg.Instance), Reason: reply.Reason}
	}
	s.gen.start(reply.Positions)
	return nil
}

// renew forgets positions whenever there are too many. Which ones is the ledger's decision, so it is asked as at the
// start: only what it does not know any more is forgotten here. A new partition waits for that, and so does its source.
func (s *Supervisor) renew(ctx context.Context, abort context.CancelCauseFunc) {
	for {
		select {
		case <-s.gen.crowded:
		case <-ctx.Done():
			return
		}
		idle := s.gen.idle()
		reply, err := s.request(ctx, &job.ReceiverStarted{App: s.cfg.App.ID, Stream: s.cfg.Stream, Instance: s.cfg.Instance})
		switch {
		case err != nil:
			return // ctx has ended
		case reply.Outcome != job.Done:
			abort(&RefusedError{What: fmt.Sprintf("receiver instance %d", s.cfg.Instance), Reason: reply.Reason})
			return
		}
		s.gen.forget(idle, reply.Positions)
		sleep(ctx, repeatMin) // what is on its way may have to be committed before there is room
	}
}

// request repeats a request until it is done or refused, or ctx ends.
func (s *Supervisor) request(ctx context.Context, r job.ToDriver) (job.Reply, error) {
	for wait := repeatMin; ; wait = min(2*wait, repeatMax) {
		if ctx.Err() != nil {
			return job.Reply{}, context.Cause(ctx)
		}
		reply, err := s.cfg.Request(ctx, r)
		if err == nil && reply.Outcome != job.Later {
			return reply, nil
		}
		sleep(ctx, wait)
	}
}

// work runs the receiver and the way of its blocks. When it returns both have ended: either everything that was added is
// committed, or work has ended and the rest has failed.
func (s *Supervisor) work(work, receive context.Context, abort context.CancelCauseFunc) {
	p := &pipeline{cfg: &s.cfg, gen: s.gen, abort: abort, settled: s.committed, waits: s.paused}
	var blocks, reports sync.WaitGroup
	blocks.Go(func() { s.gen.run(time.Duration(s.cfg.App.BlockMS) * time.Millisecond) })
	blocks.Go(func() { p.run(work) })
	// When work ends, receipts fail and Adds return at once: the receiver may wait for either before it returns.
	disarm := context.AfterFunc(work, func() { s.gen.close(context.Cause(work)) })
	telling, quiet := context.WithCancel(work)
	reports.Go(func() { s.tell(telling) })
	reports.Go(func() { s.renew(telling, abort) })

	s.receive(receive)
	s.stopPushes()
	s.gen.close(ErrStopped)
	blocks.Wait()
	disarm()
	quiet()
	reports.Wait()
}

func (s *Supervisor) committed(b *block) {
	s.gen.committed(b)
	s.update(func(st *Status) {
		st.Blocks++
		st.Records += b.records
		st.Bytes += int64(len(b.data))
	})
}

func (s *Supervisor) paused(reason string) {
	s.mu.Lock()
	before := s.status.Paused
	s.status.Paused = reason
	s.mu.Unlock()
	if before == "" && reason != "" {
		s.cfg.Logger.Warn("the ledger makes the receiver wait", slog.String("reason", reason))
	}
}

// receive runs the receiver, again with back-off after a failure, until ctx ends.
func (s *Supervisor) receive(ctx context.Context) {
	for wait := restartMin; ctx.Err() == nil; {
		s.update(func(st *Status) {
			st.Runs++
			if st.State != Draining {
				st.State = Running
			}
		})
		began := time.Now()
		err := s.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.cfg.Logger.Info("the receiver's source is exhausted")
			s.become(Exhausted)
			<-ctx.Done()
			return
		}
		lasted := time.Since(began) > restartMax
		if lasted {
			wait = restartMin
		}
		s.failed(err, lasted)
		s.become(Waiting)
		sleep(ctx, wait)
		wait = min(2*wait, restartMax)
	}
}

func (s *Supervisor) become(state State) {
	s.update(func(st *Status) {
		if st.State != Draining {
			st.State = state
		}
	})
}

// runOnce is the border to user code: a panic is an error here.
func (s *Supervisor) runOnce(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("the receiver ended its goroutine")
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("the receiver panicked: %v\n%s", r, debug.Stack())
			}
			done <- err
		}()
		err = s.cfg.Receiver.Run(ctx, s.in)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	late := time.NewTicker(10 * time.Second)
	defer late.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-late.C:
			s.cfg.Logger.Warn("the receiver was stopped and has not returned yet")
		}
	}
}

// failed notes a failed run and has it reported, unless a newer one overtakes it. One that lasted begins a new count.
func (s *Supervisor) failed(err error, lasted bool) {
	text := err.Error()
	if len(text) > failureBytesMax {
		text = text[:failureBytesMax] + " ..."
	}
	s.cfg.Logger.Warn("the receiver failed", slog.String("error", text))
	s.update(func(st *Status) {
		if lasted {
			st.Failures = 0
		}
		st.Failures++
		st.LastError = text
	})
	select {
	case <-s.failures:
	default:
	}
	s.failures <- text // only this goroutine sends, and has just made room
}

// tell reports failures until ctx ends; with no driver to tell the receiver goes on all the same.
func (s *Supervisor) tell(ctx context.Context) {
	for {
		select {
		case text := <-s.failures:
			r := &job.ReceiverFailed{App: s.cfg.App.ID, Stream: s.cfg.Stream, Instance: s.cfg.Instance, Error: text}
			if reply, err := s.request(ctx, r); err == nil && reply.Outcome == job.Refused {
				s.cfg.Logger.Info("the ledger does not want the failure", slog.String("reason", reply.Reason))
			}
		case <-ctx.Done():
			return
		}
	}
}

// stopped tells the ledger that the instance adds nothing more, and why.
func (s *Supervisor) stopped(ctx context.Context, cause error) error {
	r := &job.ReceiverStopped{App: s.cfg.App.ID, Stream: s.cfg.Stream, Instance: s.cfg.Instance, Message: ErrStopped.Error()}
	refused := (*RefusedError)(nil)
	switch {
	case errors.As(cause, &refused):
		r.Message, r.Error = "refused by the ledger", refused.Error()
	case cause != nil:
		r.Message = cause.Error()
	}
	if _, err := s.request(ctx, r); err != nil { // a refusal means that the ledger has ended the instance itself
		return fmt.Errorf("say that the receiver stopped: %w", err)
	}
	if refused != nil {
		return refused
	}
	return nil
}
