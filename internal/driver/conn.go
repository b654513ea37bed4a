package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// orderQueue bounds the orders that wait for an executor to take them.
const orderQueue = 1024

// conn is a connection, as duties see it.
type conn struct {
	hub     *Hub
	tenure  *tenure
	number  uint64
	store   id.Store
	welcome job.Welcome
	orders  chan job.ToExecutor
	done    chan struct{} // closed when the connection is
	once    sync.Once
	door    *door // of the requests that came on it
}

func newConn(h *Hub, t *tenure, number uint64, store id.Store, w job.Welcome) *conn {
	return &conn{
		hub: h, tenure: t, number: number, store: store, welcome: w,
		orders: make(chan job.ToExecutor, orderQueue), done: make(chan struct{}), door: newDoor(),
	}
}

func (c *conn) Number() uint64      { return c.number }
func (c *conn) Session() id.Session { return c.welcome.Session }
func (c *conn) Room() int           { return cap(c.orders) - len(c.orders) }
func (c *conn) Close()              { c.hub.disconnect(c, false) }

func (c *conn) Send(m job.ToExecutor) bool {
	select {
	case <-c.done:
		return false
	default:
	}
	select {
	case c.orders <- m:
		return true
	default:
		c.hub.log.Warn("executor takes no orders, its connection is closed", "session", c.welcome.Session, "queue", orderQueue)
		c.Close()
		return false
	}
}

// shut ends the stream for who holds its other end, and the requests that came on it. It does not wait for them.
func (c *conn) shut() {
	c.once.Do(func() {
		close(c.done)
		c.door.close(ErrClosed)
	})
}

// link is a connection, as the executor or its carrier sees it.
type link struct{ conn *conn }

var _ interface {
	job.Link
	job.CauseCloser
} = (*link)(nil)

func (l *link) Welcome() job.Welcome { return l.conn.welcome }

// Request maps a request to a command and answers with its result. An error leaves the outcome unknown.
func (l *link) Request(ctx context.Context, _ job.Lane, r job.ToDriver) (job.Reply, error) {
	c := l.conn
	ctx, leave, err := c.door.enter(ctx)
	if err != nil {
		return job.Reply{}, ErrClosed
	}
	defer leave()
	ctx, leaveTenure, err := c.tenure.enter(ctx)
	if err != nil {
		return job.Reply{}, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	defer leaveTenure()
	return c.answer(ctx, r)
}

func (l *link) Recv() (job.ToExecutor, error) {
	select {
	case <-l.conn.done:
		return nil, ErrClosed
	case m := <-l.conn.orders:
		return m, nil
	}
}

func (l *link) Close() error { return l.CloseCause(nil) }

func (l *link) CloseCause(cause error) error {
	l.conn.hub.disconnect(l.conn, errors.Is(cause, job.ErrPeerDead) || errors.Is(cause, job.ErrSilent))
	return nil
}
