package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
)

var errBroken = errors.New("the connection broke")

// Dial implements job.Dialer: it asks the nodes one after the other, first whoever is said to lead.
func (p *process) Dial(ctx context.Context, h job.Hello) (job.Link, error) {
	err := error(job.ErrNotLeader)
	asked := map[string]bool{}
	for _, name := range p.sim.shuffled(p.node.name) {
		for hint := name; hint != "" && !asked[hint]; {
			asked[hint] = true
			link, failed := p.dial(ctx, hint, h)
			if failed == nil {
				return link, nil
			}
			err, hint = errors.Join(err, failed), ""
			if not := (*job.NotLeaderError)(nil); errors.As(failed, &not) && not.Leader != "" {
				hint = nameOf(not.Leader)
			}
		}
	}
	return nil, err
}

// dial asks one node.
func (p *process) dial(ctx context.Context, name string, h job.Hello) (job.Link, error) {
	if !p.alive() {
		return nil, errDead
	}
	if name == p.node.name {
		return p.hub.Dial(ctx, h)
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	up, down := p.sim.net.line(controlPlane, p.node.name, name), p.sim.net.line(controlPlane, name, p.node.name)
	if _, err := up.pass(ctx); err != nil {
		return nil, err
	}
	q := p.sim.running(name)
	if q == nil {
		return nil, fmt.Errorf("dial %s: connection refused", name)
	}
	link, err := q.hub.Dial(ctx, h)
	if err == nil {
		w := newWire(p, q, link, up, down)
		if _, err = down.pass(ctx); err == nil && p.alive() && q.alive() {
			return w, nil
		}
		w.fail(errBroken)
	} else if _, lost := down.pass(ctx); lost != nil {
		err = lost
	}
	if err == nil {
		err = errBroken
	}
	return nil, err
}

// wire is a control stream between two processes: the executor has it, inner is the driver's end.
type wire struct {
	inner    job.Link
	from, to *process // executor and driver
	up, down *line

	once   sync.Once
	orders chan job.ToExecutor // that have arrived
	broken chan struct{}       // at the executor's end
	cause  error               // valid when it is broken
	gone   chan struct{}       // at the driver's end
	went   sync.Once
}

func newWire(from, to *process, inner job.Link, up, down *line) *wire {
	w := &wire{
		inner: inner, from: from, to: to, up: up, down: down,
		orders: make(chan job.ToExecutor), broken: make(chan struct{}), gone: make(chan struct{}),
	}
	from.keep(w)
	to.keep(w)
	s := from.sim
	s.work.Go(w.carry)
	s.work.Go(func() { w.listen(up, from.dead, w.gone, w.drop) })
	s.work.Go(func() { w.listen(down, to.dead, w.broken, w.fail) })
	return w
}

// listen ends one end of the wire when the other one is not heard of for too long. A process that ends is heard of, if
// its word gets through.
func (w *wire) listen(way *line, dead, ended <-chan struct{}, end func(error)) {
	open, turned := way.state()
	for open {
		select {
		case <-ended:
			return
		case <-turned:
			open, turned = way.state()
		case <-dead:
			if _, err := way.pass(context.Background()); err != nil {
				end(err)
				return
			}
			end(job.ErrPeerDead)
			return
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-ended:
			cancel()
		case <-stop:
		}
	}()
	switch _, err := way.pass(ctx); {
	case errors.Is(err, job.ErrSilent):
		end(err)
	case err == nil:
		w.listen(way, dead, ended, end)
	}
}

// fail breaks the executor's end. The driver's end hears of it when the way up lets it.
func (w *wire) fail(cause error) {
	w.once.Do(func() {
		w.cause = cause
		close(w.broken)
		w.from.forget(w)
		w.from.sim.work.Go(func() {
			if _, err := w.up.pass(context.Background()); err != nil {
				w.drop(err)
				return
			}
			w.drop(nil)
		})
	})
}

// drop ends the driver's end; the executor's hears of it when the way down lets it.
func (w *wire) drop(cause error) {
	w.went.Do(func() {
		close(w.gone)
		w.to.forget(w)
		_ = w.inner.(job.CauseCloser).CloseCause(cause) // of a hub: never fails
		w.from.sim.work.Go(func() {
			if _, err := w.down.pass(context.Background()); err != nil {
				w.fail(err)
				return
			}
			w.fail(errBroken)
		})
	})
}

// Welcome implements job.Link.
func (w *wire) Welcome() job.Welcome { return w.inner.Welcome() }

// Request implements job.Link. What was sent arrives, whoever still waits for the answer.
func (w *wire) Request(ctx context.Context, lane job.Lane, r job.ToDriver) (job.Reply, error) {
	type answer struct {
		reply job.Reply
		err   error
	}
	select {
	case <-w.broken:
		return job.Reply{}, w.cause
	default:
	}
	answered := make(chan answer, 1)
	w.from.sim.work.Go(func() {
		ctx := context.Background()
		if !w.from.alive() {
			return
		}
		cut, err := w.up.pass(ctx)
		if err != nil || !w.to.alive() {
			return // the listeners end the wire
		}
		reply, err := w.inner.Request(ctx, lane, r)
		w.from.sim.seenRequest(r, reply, err)
		if err != nil {
			w.drop(err)
			return
		}
		if !w.to.alive() {
			return
		}
		lost, err := w.down.pass(ctx)
		if cut || lost || err != nil {
			w.from.sim.seen(unknownOutcome)
			w.fail(errBroken)
			return
		}
		answered <- answer{reply, nil}
	})
	select {
	case a := <-answered:
		return a.reply, a.err
	case <-w.broken:
		return job.Reply{}, w.cause
	case <-ctx.Done():
		return job.Reply{}, context.Cause(ctx)
	}
}

// carry brings orders to the executor's end until the driver's end is closed.
func (w *wire) carry() {
	for {
		m, err := w.inner.Recv()
		if err != nil || !w.to.alive() {
			w.drop(nil)
			return
		}
		lost, err := w.down.pass(context.Background())
		if lost || err != nil {
			w.fail(errBroken)
			continue // until the driver's end hears of it
		}
		w.from.sim.seenOrder(m)
		select {
		case w.orders <- m:
		case <-w.broken:
		}
	}
}

// Recv implements job.Link.
func (w *wire) Recv() (job.ToExecutor, error) {
	select {
	case <-w.broken:
		return nil, w.cause
	case m := <-w.orders:
		return m, nil
	}
}

// Close implements job.Link.
func (w *wire) Close() error {
	w.fail(errBroken)
	return nil
}
