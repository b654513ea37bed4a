package streamtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

// ordersMax bounds the orders to one executor that it has not received; a few wait at a time.
const ordersMax = 256

var errLinkClosed = errors.New("the control stream is closed")

// leader is the leading driver of the executors: requests become entries, orders are sent when the test's clock says
// so. Its methods may be called concurrently.
type leader struct {
	ledger  *ledger
	app     id.App
	now     atomic.Int64             // batch time that the test's clock shows
	planned chan *job.SourcesPlanned // what the coordinator planned last

	mu        sync.Mutex
	links     map[id.Store]*link
	connected chan struct{} // closed at the next connect
}

var _ job.Dialer = (*leader)(nil)

func newLeader(l *ledger, app id.App) *leader {
	return &leader{
		ledger: l, app: app, planned: make(chan *job.SourcesPlanned, 1),
		links: map[id.Store]*link{}, connected: make(chan struct{}),
	}
}

// Dial implements job.Dialer: it opens the executor's session, or finds it open.
func (d *leader) Dial(_ context.Context, h job.Hello) (job.Link, error) {
	r, err := d.ledger.propose(&fsm.SessionOpened{
		Store: h.Store, Generation: h.Generation, Name: h.Name, Addr: h.Addr, Slots: h.Slots, Build: h.Build,
	})
	if err != nil {
		return nil, err
	}
	l := &link{
		leader: d, orders: make(chan job.ToExecutor, ordersMax), closed: make(chan struct{}),
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
func (d *leader) ready(ctx context.Context, n int) error {
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

// forget drops the control stream of an executor that is gone.
func (d *leader) forget(s id.Store) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.links, s)
}

// send sends an order to every executor.
func (d *leader) send(m job.ToExecutor) error {
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
func (d *leader) sendTo(s id.Session, m job.ToExecutor) error {
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
	leader  *leader
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

// Request implements job.Link. Receivers do not run here: what they say is an error of the ledger.
func (l *link) Request(ctx context.Context, _ job.Lane, r job.ToDriver) (job.Reply, error) {
	v := l.leader.ledger.view()
	a, ok := v.App(l.leader.app)
	if !ok {
		return job.Reply{}, errors.New("the application is not there")
	}
	reply := job.Reply{Outcome: job.Done, Index: v.Index()}
	switch r := r.(type) {
	case *job.HistoryRequest:
		reply.History = driver.HistoryOf(v, a, r)
		return reply, nil
	case *job.PositionsRequest:
		reply.Positions = driver.PositionsOf(v, a.ID, r.Stream)
		return reply, nil
	case *job.SourcesPlanned:
		return reply, l.leader.take(ctx, r)
	}
	c, err := driver.CommandOf(r, l.welcome.Session, l.leader.now.Load())
	if err != nil {
		return job.Reply{}, err
	}
	result, err := l.leader.ledger.propose(c)
	if err != nil && result.Outcome == 0 {
		return job.Reply{}, err
	}
	return driver.ReplyTo(r, result)
}

func peersOf(v fsm.View) *job.Peers {
	p := &job.Peers{Index: v.Index()}
	for s := range v.Sessions() {
		p.Peers = append(p.Peers, driver.PeerOf(s))
	}
	return p
}
