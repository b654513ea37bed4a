package executortest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// ErrLost is for Driver.Answer: the request has taken effect, and the stream breaks before the answer.
var ErrLost = errors.New("answer lost")

// errCut is what a broken stream says.
var errCut = errors.New("stream broken")

// Request is one request that came to a driver.
type Request struct {
	Epoch   id.Epoch
	Session id.Session
	Lane    job.Lane
	Message job.ToDriver
}

// Driver is a leading driver without a ledger: sessions are numbered, requests are recorded and answered.
type Driver struct {
	// Cluster is the cluster id that welcomes carry.
	Cluster string

	mu       sync.Mutex
	answerer func(ctx context.Context, r Request) (job.Reply, error)
	down     bool
	epoch    id.Epoch
	index    uint64
	sessions map[id.Store]id.Session
	links    map[id.Store]*link
	requests []Request
	reported int
	changed  chan struct{}
}

var _ job.Dialer = (*Driver)(nil)

// NewDriver makes a driver that leads with epoch 1.
func NewDriver() *Driver {
	return &Driver{epoch: 1, index: 100, sessions: map[id.Store]id.Session{}, links: map[id.Store]*link{}, changed: make(chan struct{})}
}

// Dial implements job.Dialer.
func (d *Driver) Dial(_ context.Context, h job.Hello) (job.Link, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return nil, job.ErrNotLeader
	}
	if d.sessions[h.Store] == 0 {
		d.index++
		d.sessions[h.Store] = id.Session(d.index)
	}
	l := &link{d: d, epoch: d.epoch, session: d.sessions[h.Store], orders: make(chan job.ToExecutor, 1024), dead: make(chan struct{})}
	if old := d.links[h.Store]; old != nil {
		old.die()
	}
	d.links[h.Store] = l
	d.broadcast()
	return l, nil
}

func (d *Driver) broadcast() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Wait waits until what holds; it is asked after every connect and request.
func (d *Driver) Wait(ctx context.Context, what func() bool) error {
	for {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		if what() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the driver waited in vain: %w", context.Cause(ctx))
		}
	}
}

// Connected gives the session of a connected store, 0 for none.
func (d *Driver) Connected(s id.Store) id.Session {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.links[s]
	if l == nil || l.gone() {
		return 0
	}
	return l.session
}

// Send sends an order; false: the store is not connected.
func (d *Driver) Send(to id.Store, m job.ToExecutor) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.links[to]
	if l == nil || l.gone() {
		return false
	}
	l.orders <- m // there is room for more than a test sends
	return true
}

// Epoch is the present leadership.
func (d *Driver) Epoch() id.Epoch {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.epoch
}

// Lead makes this another driver that has won: all streams break and the epoch rises.
func (d *Driver) Lead() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch++
	d.cut()
}

// Down makes the driver unreachable, or reachable again.
func (d *Driver) Down(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
	if down {
		d.cut()
	}
}

func (d *Driver) cut() {
	for _, l := range d.links {
		l.die()
	}
	d.broadcast()
}

// End ends the session of a store and breaks its stream: it comes back with another one.
func (d *Driver) End(s id.Store) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, s)
	if l := d.links[s]; l != nil {
		l.die()
	}
	d.broadcast()
}

// Index counts on, as the ledger's index does.
func (d *Driver) Index() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index++
	return d.index
}

// Requests lists what took effect, in order.
func (d *Driver) Requests() []Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Request(nil), d.requests...)
}

// Reported counts the reports of batches that took effect.
func (d *Driver) Reported() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reported
}

// Of lists the requests of a type, in order.
func Of[M job.ToDriver](d *Driver) []M {
	var all []M
	for _, r := range d.Requests() {
		if m, ok := r.Message.(M); ok {
			all = append(all, m)
		}
	}
	return all
}

// Answer makes a function answer the requests that come from now on, Done if it is nil. ErrLost as error breaks the
// stream after the request took effect, any other before. It may block until ctx ends; it is called without a lock.
func (d *Driver) Answer(by func(ctx context.Context, r Request) (job.Reply, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answerer = by
}

func (d *Driver) answer(ctx context.Context, r Request) (job.Reply, error) {
	reply, err := job.Reply{Outcome: job.Done, Index: d.Index()}, error(nil)
	d.mu.Lock()
	by := d.answerer
	d.mu.Unlock()
	if by != nil {
		reply, err = by(ctx, r)
	}
	if err != nil && !errors.Is(err, ErrLost) {
		return reply, err
	}
	if b, ok := r.Message.(*job.BlocksReport); ok && reply.Outcome == job.Done && reply.Blocks == nil {
		for range b.Blocks {
			reply.Blocks = append(reply.Blocks, job.BlockReply{Outcome: job.Done, Index: reply.Index})
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, r)
	if _, ok := r.Message.(*job.BatchReport); ok {
		d.reported++
	}
	d.broadcast()
	return reply, err
}

// link is the executor's end of a stream.
type link struct {
	d       *Driver
	epoch   id.Epoch
	session id.Session
	orders  chan job.ToExecutor
	once    sync.Once
	dead    chan struct{}
}

func (l *link) die() { l.once.Do(func() { close(l.dead) }) }

func (l *link) gone() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

func (l *link) Welcome() job.Welcome {
	return job.Welcome{Session: l.session, Epoch: l.epoch, Cluster: l.d.Cluster}
}

func (l *link) Request(ctx context.Context, lane job.Lane, m job.ToDriver) (job.Reply, error) {
	if l.gone() {
		return job.Reply{}, errCut
	}
	reply, err := l.d.answer(ctx, Request{Epoch: l.epoch, Session: l.session, Lane: lane, Message: m})
	if err != nil {
		l.die()
		return job.Reply{}, err
	}
	if l.gone() {
		return job.Reply{}, errCut
	}
	return reply, nil
}

func (l *link) Recv() (job.ToExecutor, error) {
	select {
	case m := <-l.orders:
		return m, nil
	case <-l.dead:
		return nil, errCut
	}
}

func (l *link) Close() error {
	l.die()
	return nil
}
