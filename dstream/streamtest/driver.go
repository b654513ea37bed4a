package streamtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// ordersMax bounds the orders to one executor that it has not received; a few wait at a time.
const ordersMax = 256

var errLinkClosed = errors.New("the control stream is closed")

// driver is the leading driver of the executors: requests become entries, orders are sent when the test's clock says
// so. Its methods may be called concurrently.
type driver struct {
	ledger *ledger

	mu        sync.Mutex
	links     map[id.Store]*link
	connected chan struct{} // closed at the next connect
}

var _ job.Dialer = (*driver)(nil)

func newDriver(l *ledger) *driver {
	return &driver{ledger: l, links: map[id.Store]*link{}, connected: make(chan struct{})}
}

// Dial implements job.Dialer: it opens the executor's session, or finds it open.
func (d *driver) Dial(_ context.Context, h job.Hello) (job.Link, error) {
	r, err := d.ledger.propose(&fsm.SessionOpened{
		Store: h.Store, Generation: h.Generation, Name: h.Name, Addr: h.Addr, Slots: h.Slots, Build: h.Build,
	})
	if err != nil {
		return nil, err
	}
	l := &link{
		ledger: d.ledger, orders: make(chan job.ToExecutor, ordersMax), closed: make(chan struct{}),
		welcome: job.Welcome{Session: id.Session(r.Index), Epoch: d.ledger.epoch, Cluster: d.ledger.view().Cluster()},
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.links[h.Store] = l
	close(d.connected)
	d.connected = make(chan struct{})
	return l, nil
}

// ready waits until n executors are connected, and tells them of each other.
func (d *driver) ready(ctx context.Context, n int) error {
	for {
		d.mu.Lock()
		have, connected := len(d.links), d.connected
		d.mu.Unlock()
		if have == n {
			return d.send(peersOf(d.ledger.view()))
		}
		select {
		case <-connected:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// send sends an order to every executor.
func (d *driver) send(m job.ToExecutor) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for store, l := range d.links {
		if err := l.send(m); err != nil {
			return fmt.Errorf("order %T to %s: %w", m, store, err)
		}
	}
	return nil
}

// sendTo sends an order to the executor of a session.
func (d *driver) sendTo(s id.Session, m job.ToExecutor) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.links {
		if l.welcome.Session == s {
			return l.send(m)
		}
	}
	return fmt.Errorf("order %T: session %d is not connected", m, s)
}

// link is an executor's control stream.
type link struct {
	ledger  *ledger
	welcome job.Welcome
	orders  chan job.ToExecutor
	closed  chan struct{}
	once    sync.Once
}

func (l *link) send(m job.ToExecutor) error {
	select {
	case l.orders <- m:
		return nil
	default:
		return fmt.Errorf("%d orders wait already", ordersMax)
	}
}

// Welcome implements job.Link.
func (l *link) Welcome() job.Welcome { return l.welcome }

// Recv implements job.Link.
func (l *link) Recv() (job.ToExecutor, error) {
	select {
	case m := <-l.orders:
		return m, nil
	case <-l.closed:
		return nil, errLinkClosed
	}
}

// Close implements job.Link.
func (l *link) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Request implements job.Link.
func (l *link) Request(_ context.Context, _ job.Lane, r job.ToDriver) (job.Reply, error) {
	var c fsm.Command
	switch r := r.(type) {
	case *job.BatchReport:
		c = reported(r)
	case *job.Inventory:
		c = &fsm.InventoryReported{Session: l.welcome.Session, Blocks: r.Blocks, First: r.First, Last: r.Last}
	default: // receivers do not run here
		return job.Reply{}, fmt.Errorf("request of unknown type %T", r)
	}
	result, err := l.ledger.propose(c)
	if err != nil && result.Outcome == 0 {
		return job.Reply{}, err
	}
	reply := job.Reply{Outcome: job.Done, Index: result.Index, Reason: result.Reason, Delete: result.Missing}
	switch result.Outcome {
	case fsm.Refused:
		reply.Outcome = job.Refused
	case fsm.Limited:
		reply.Outcome = job.Later
	}
	return reply, nil
}

func reported(r *job.BatchReport) fsm.Command {
	if r.Error != "" {
		return &fsm.BatchFailed{
			App: r.App, Time: r.Time, Office: r.Authority.Office, Attempt: r.Authority.Attempt, Error: r.Error,
			StartedMS: r.StartedMS, EndedMS: r.EndedMS, Tries: r.Tries, NowMS: int64(r.Time),
		}
	}
	return &fsm.BatchCompleted{
		App: r.App, Time: r.Time, Office: r.Authority.Office, Attempt: r.Authority.Attempt,
		StartedMS: r.StartedMS, EndedMS: r.EndedMS, Tries: r.Tries, NowMS: int64(r.Time),
	}
}

func peersOf(v fsm.View) *job.Peers {
	p := &job.Peers{Index: v.Index()}
	for s := range v.Sessions() {
		p.Peers = append(p.Peers, job.Peer{Session: s.ID, Store: s.Store, Name: s.Name, Addr: s.Addr, Slots: s.Slots, Build: s.Build})
	}
	return p
}
