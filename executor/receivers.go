package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/receiver"
	"github.com/raftstream/raftstream/internal/id"
)

// ReceiverOptions are the limits of every receiver that runs here.
type ReceiverOptions struct {
	MaxRate    float64 // records a second, 0 for no limit (Spark: spark.streaming.receiver.maxRate)
	BlockBytes int     // a block is cut at this size, 0 for the default
}

// ReceiverStatus is a picture of an instance.
type ReceiverStatus = receiver.Status

// stream names a receiver.
type stream struct {
	app    id.App
	stream id.Stream
}

// instance is one run of a receiver here. Its fields but ctx's cancel are under the lock of receivers.
type instance struct {
	of     stream
	id     id.Instance
	cancel context.CancelCauseFunc
	sup    *receiver.Supervisor // nil while the graph is being built
	asked  bool                 // to stop
	drain  bool                 // and how, where asked before sup was there
	rate   int64                // records a second as the driver said last, 0 for no limit
	over   chan struct{}        // closed when nothing of it runs any more
}

// receivers are the receiver instances that run on this executor, and those that did. What an instance is told and
// when it is over is the driver's business.
type receivers struct {
	e *Executor

	mu      sync.Mutex
	closed  bool
	current map[stream]*instance   // the newest instance of each
	over    map[stream]id.Instance // the newest that is over, so that a repeated order does not revive it
	running map[*instance]struct{} // current ones, and superseded ones that have not ended
	idle    chan struct{}          // closed when running becomes empty; nil while it is
}

func newReceivers(e *Executor) *receivers {
	return &receivers{
		e: e, closed: true,
		current: map[stream]*instance{}, over: map[stream]id.Instance{}, running: map[*instance]struct{}{},
	}
}

// open takes orders from now on.
func (r *receivers) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = false
}

// start runs an instance, unless it or a newer one runs or ran. An older one is over for the ledger: it ends, and only
// then does the new one begin, so that no two receivers of a stream run here at a time.
func (r *receivers) start(m *job.StartReceiver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := stream{m.App.ID, m.Stream}
	old := r.current[of]
	if old != nil && m.Instance == old.id {
		old.limit(m.Rate)
	}
	if r.closed || m.Instance <= r.over[of] || old != nil && m.Instance <= old.id {
		return
	}
	for in := range r.running {
		if in.of == of {
			in.cancel(fmt.Errorf("instance %d is superseded by %d", in.id, m.Instance))
		}
	}
	in := r.add(of, m.Instance)
	in.rate = m.Rate
	ctx, cancel := context.WithCancelCause(context.Background()) // ended by stop, ended or a newer instance
	in.cancel = cancel
	r.current[of] = in
	before := r.others(in)
	go func() { // joined by stop
		defer r.leave(in)
		if await(ctx, before) {
			r.run(ctx, in, m)
		}
	}()
}

// others lists what ends when the other instances of the stream that run here have ended. The lock of receivers is held.
func (r *receivers) others(in *instance) (over []<-chan struct{}) {
	for x := range r.running {
		if x != in && x.of == in.of {
			over = append(over, x.over)
		}
	}
	return over
}

// await waits for all of them; false: ctx has ended.
func await(ctx context.Context, all []<-chan struct{}) bool {
	for _, one := range all {
		select {
		case <-one:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

// rate limits what an instance takes in.
func (r *receivers) rate(m *job.SetRate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in := r.current[stream{m.App, m.Stream}]; in != nil && in.id == m.Instance {
		in.limit(m.Rate)
	}
}

// limit takes a rate, also before the supervisor is there. The lock of receivers is held.
func (in *instance) limit(rate int64) {
	in.rate = rate
	if in.sup != nil {
		in.sup.Limit(float64(rate))
	}
}

func (r *receivers) add(of stream, n id.Instance) *instance {
	in := &instance{of: of, id: n, over: make(chan struct{})}
	if len(r.running) == 0 {
		r.idle = make(chan struct{})
	}
	r.running[in] = struct{}{}
	return in
}

func (r *receivers) leave(in *instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in.cancel(nil)
	close(in.over)
	if r.current[in.of] == in {
		delete(r.current, in.of)
	}
	if !r.closed {
		r.over[in.of] = max(r.over[in.of], in.id)
	}
	delete(r.running, in)
	if len(r.running) == 0 {
		close(r.idle)
		r.idle = nil
	}
}

// order tells an instance to stop. One that never ran here has nothing to drain: the ledger is told at once.
func (r *receivers) order(m *job.StopReceiver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := stream{m.App, m.Stream}
	in := r.current[of]
	switch {
	case in != nil && in.id == m.Instance:
		in.stop(!m.Discard)
	case r.closed || m.Discard || m.Instance <= r.over[of] || in != nil && m.Instance < in.id:
	default:
		none := r.add(of, m.Instance)
		ctx, cancel := context.WithCancelCause(context.Background())
		none.cancel = cancel
		r.over[of] = m.Instance
		go func() { // joined by stop
			defer r.leave(none)
			r.say(ctx, &job.ReceiverStopped{App: m.App, Stream: m.Stream, Instance: m.Instance, Message: "it did not run"})
		}()
	}
}

// stop stops an instance, also one whose graph is still being built. The lock of receivers is held.
func (in *instance) stop(drain bool) {
	in.drain = drain && (in.drain || !in.asked)
	in.asked = true
	if in.sup != nil {
		in.sup.Stop(in.drain)
	}
}

func (r *receivers) run(ctx context.Context, in *instance, m *job.StartReceiver) {
	log := r.e.log.With("app", m.App.Name, "stream", int(m.Stream), "instance", uint64(m.Instance))
	sup, err := r.build(m)
	if err != nil {
		log.Error("receiver cannot run here", "error", err)
		r.say(ctx, &job.ReceiverStopped{App: m.App.ID, Stream: m.Stream, Instance: m.Instance, Message: "it cannot run here", Error: err.Error()})
		return
	}
	r.mu.Lock()
	in.sup = sup
	sup.Limit(float64(in.rate))
	if in.asked {
		sup.Stop(in.drain)
	}
	r.mu.Unlock()
	log.Info("receiver starts")
	log.Info("receiver is over", "error", sup.Run(ctx))
}

func (r *receivers) build(m *job.StartReceiver) (*receiver.Supervisor, error) {
	app, err := r.e.graphs.get(m.App)
	if err != nil {
		return nil, err
	}
	rec, ok := app.Receiver(m.Stream)
	if !ok {
		return nil, fmt.Errorf("stream %d of application %q has no receiver", m.Stream, m.App.Name)
	}
	return receiver.New(receiver.Config{
		App: m.App, Stream: m.Stream, Instance: m.Instance, Receiver: rec,
		Store: r.e.store.Store, Report: r.e.control.Report, Request: r.e.control.Request,
		MaxRate: r.e.cfg.Receivers.MaxRate, BlockBytes: r.e.cfg.Receivers.BlockBytes, Logger: r.e.log,
	})
}

// say tells the ledger, until it answers or the session is over.
func (r *receivers) say(ctx context.Context, m *job.ReceiverStopped) {
	if _, err := r.e.control.Request(ctx, m); err != nil {
		r.e.log.Info("end of a receiver not reported", "instance", uint64(m.Instance), "error", err)
	}
}

// ended stops everything of an application that is over, and forgets it.
func (r *receivers) ended(app id.App) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for in := range r.running {
		if in.of.app == app {
			in.cancel(errors.New("the application has ended"))
		}
	}
	for of := range r.over {
		if of.app == app {
			delete(r.over, of)
		}
	}
}

// drain lets every instance store and report what it holds, and waits for that. No driver may be there to report to:
// what is not committed by the end of ctx is not acknowledged to its source either.
func (r *receivers) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	r.mu.Lock()
	r.closed = true
	for in := range r.running {
		in.stop(true)
	}
	idle := r.idle
	r.mu.Unlock()
	if err := join(ctx, idle); err != nil {
		r.e.log.Warn("receivers hold records that could not be committed before leaving; they are not acknowledged", "error", err)
	}
}

// stop ends every instance without telling the ledger, and waits for that: the session is over or the process leaves.
func (r *receivers) stop(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	for in := range r.running {
		in.cancel(errors.New("the executor's session is over"))
	}
	clear(r.over) // a new session gets new instances
	idle, n := r.idle, len(r.running)
	r.mu.Unlock()
	if err := join(ctx, idle); err != nil {
		return fmt.Errorf("%d receivers did not stop: %w", n, err)
	}
	return nil
}

// join waits until idle, nil for already so, is closed.
func join(ctx context.Context, idle <-chan struct{}) error {
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *receivers) push(ctx context.Context, app id.App, of id.Stream, p connector.Push) error {
	r.mu.Lock()
	var sup *receiver.Supervisor
	if in := r.current[stream{app, of}]; in != nil {
		sup = in.sup
	}
	r.mu.Unlock()
	if sup == nil {
		return fmt.Errorf("push to stream %d of application %d: %w", of, app, job.ErrNoReceiver)
	}
	err := sup.Push(ctx, p)
	if errors.Is(err, receiver.ErrStopped) {
		return fmt.Errorf("push to stream %d of application %d: %w: %w", of, app, job.ErrNoReceiver, err)
	}
	return err
}

func (r *receivers) status() []ReceiverStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []ReceiverStatus
	for in := range r.running {
		if in.sup != nil {
			all = append(all, in.sup.Status())
		}
	}
	slices.SortFunc(all, func(a, b ReceiverStatus) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Instance, b.Instance))
	})
	return all
}
