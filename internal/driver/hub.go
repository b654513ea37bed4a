package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

var (
	// ErrClosed says that a control stream was ended by the driver or by its other end: dial again.
	ErrClosed = errors.New("control stream is closed")
	// ErrRefused says that the executor cannot be taken as it is: it belongs to another cluster, or a newer start of
	// it is known.
	ErrRefused = job.ErrRefused
)

// An executor whose session another one's took the place of comes again at once, up to so many times, after a random
// pause of up to so long that grows with every try.
const (
	sessionTries = 20
	sessionPause = 2 * time.Millisecond
)

// Hub is where executors are connected to the leadership of this node. It implements job.Dialer for executors of this
// process and for the server that carries the streams of others, and Connections for duties. It is empty while this
// node does not lead.
type Hub struct {
	raft Raft
	log  *slog.Logger

	mu      sync.Mutex
	tenure  *tenure // nil: not leading
	number  uint64  // of the last connection
	conns   map[id.Session]*conn
	latest  map[id.Store]*conn // of each store, with those that are closed
	lost    map[id.Session]Loss
	planned map[id.App]*job.SourcesPlanned // the newest of every live application
	changed chan struct{}
}

var (
	_ job.Dialer  = (*Hub)(nil)
	_ Connections = (*Hub)(nil)
)

// NewHub makes a hub that a Driver opens and closes.
func NewHub(r Raft, log *slog.Logger) *Hub {
	return &Hub{raft: r, log: log.With("part", "hub"), changed: make(chan struct{})}
}

// Dial opens a session for the executor, or finds it open, and connects it. A connection of the same store that is
// there already is closed, and Dial returns when the requests that came on it have ended: the executor repeats them in
// order, and none of the old ones may be proposed in between. While this node does not lead it answers a *job.NotLeaderError.
func (h *Hub) Dial(ctx context.Context, hello job.Hello) (job.Link, error) {
	t := h.current()
	if t == nil {
		return nil, h.notLeader()
	}
	ctx, leave, err := t.enter(ctx)
	if err != nil {
		return nil, h.notLeader()
	}
	defer leave()
	cluster := t.View().Cluster()
	if hello.Cluster != "" && hello.Cluster != cluster {
		return nil, fmt.Errorf("%w: store %s belongs to cluster %s, this is cluster %s", ErrRefused, hello.Store, hello.Cluster, cluster)
	}
	session, err := openSession(ctx, t, hello)
	if errors.Is(err, id.ErrNotLeader) {
		return nil, h.notLeader()
	}
	if err != nil {
		return nil, err
	}
	return h.connect(ctx, t, hello.Store, job.Welcome{Session: session, Epoch: t.epoch, Cluster: cluster})
}

// openSession opens the executor's session, or finds it open. A session is named by the index of its entry, so of
// several executors whose commands share an entry one is taken and the others come again.
func openSession(ctx context.Context, t *tenure, hello job.Hello) (id.Session, error) {
	for try := 1; ; try++ {
		opened, err := t.Propose(ctx, &fsm.SessionOpened{
			Store: hello.Store, Generation: hello.Generation, Name: hello.Name, Addr: hello.Addr, Slots: hello.Slots,
			Build: hello.Build, NowMS: time.Now().UnixMilli(),
		})
		switch {
		case err != nil:
			return 0, err
		case opened.Outcome == fsm.Done:
			return id.Session(opened.Index), nil
		case opened.Outcome != fsm.Limited || try == sessionTries:
			return 0, fmt.Errorf("%w: %s", ErrRefused, opened.Reason)
		}
		if !wait(ctx, rand.N(time.Duration(try)*sessionPause), signals{}) {
			return 0, context.Cause(ctx)
		}
	}
}

// connect connects an executor when nothing is left of the connection that it had before.
func (h *Hub) connect(ctx context.Context, t *tenure, store id.Store, w job.Welcome) (job.Link, error) {
	for {
		c, before, err := h.replace(t, store, w)
		if err != nil {
			return nil, err
		}
		if c != nil {
			return &link{c}, nil
		}
		select {
		case <-before.door.empty:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the requests of the connection before: %w", context.Cause(ctx))
		}
	}
}

// replace makes the store's connection, or closes the one before and gives that if its requests have not ended.
func (h *Hub) replace(t *tenure, store id.Store, w job.Welcome) (c, before *conn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tenure != t {
		return nil, nil, &job.NotLeaderError{}
	}
	if before = h.latest[store]; before != nil {
		if session := before.welcome.Session; session > w.Session {
			return nil, nil, fmt.Errorf("%w: session %d of store %s is over, session %d was connected", ErrRefused, w.Session, store, session)
		}
		h.drop(before, false)
		if !before.door.left() {
			return nil, before, nil
		}
	}
	h.number++
	c = newConn(h, t, h.number, store, w)
	h.latest[store], h.conns[w.Session] = c, c
	delete(h.lost, w.Session)
	h.broadcast()
	return c, nil, nil
}

// All lists the connections in order of session.
func (h *Hub) All() []Connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	sessions := slices.Sorted(maps.Keys(h.conns))
	all := make([]Connection, len(sessions))
	for i, session := range sessions {
		all[i] = h.conns[session]
	}
	return all
}

// Of gives the connection of a session.
func (h *Hub) Of(s id.Session) (Connection, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.conns[s]
	if !ok {
		return nil, false
	}
	return c, true
}

// Lost says since when a session has no connection: it was lost, or this leadership never had one. A session that this
// leadership opened has its time from when it was first asked for: its executor is about to be connected.
func (h *Hub) Lost(s id.Session) Loss {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l, ok := h.lost[s]; ok {
		return l
	}
	if h.tenure == nil {
		return Loss{Since: time.Now()}
	}
	if uint64(s) > uint64(h.tenure.epoch) {
		l := Loss{Since: time.Now()}
		h.lost[s] = l
		return l
	}
	return Loss{Since: h.tenure.began}
}

// Planned gives the newest plan of an application's direct streams.
func (h *Hub) Planned(a id.App) (*job.SourcesPlanned, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.planned[a]
	return p, ok
}

// plan keeps a plan that came on a connection in place of the one before; false: it is not from the coordinator. Plans
// of applications that are over are forgotten, so that live ones bound what is kept.
func (h *Hub) plan(c *conn, a *fsm.App, p *job.SourcesPlanned) bool {
	if a.Coordinator != c.welcome.Session || a.Office != p.Office {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tenure != c.tenure {
		return false
	}
	v := c.tenure.View()
	maps.DeleteFunc(h.planned, func(n id.App, _ *job.SourcesPlanned) bool {
		a, ok := v.App(n)
		return !ok || !a.Live()
	})
	h.planned[a.ID] = p
	h.broadcast()
	return true
}

// Changed is closed at the next connect, disconnect or plan.
func (h *Hub) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// open starts a tenure: executors may connect from here on.
func (h *Hub) open(t *tenure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tenure = t
	h.conns = make(map[id.Session]*conn)
	h.latest = make(map[id.Store]*conn)
	h.lost = make(map[id.Session]Loss)
	h.planned = make(map[id.App]*job.SourcesPlanned)
	h.broadcast()
}

// close ends every connection of the tenure.
func (h *Hub) close(t *tenure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tenure != t {
		return
	}
	for _, c := range h.conns {
		c.shut()
	}
	h.tenure, h.conns, h.latest, h.lost, h.planned = nil, nil, nil, nil, nil
	h.broadcast()
}

// disconnect ends a connection. One that was replaced before leaves no trace.
func (h *Hub) disconnect(c *conn, gone bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(c, gone)
}

// drop is disconnect. The lock is held.
func (h *Hub) drop(c *conn, gone bool) {
	c.shut()
	if h.tenure != c.tenure || h.conns[c.welcome.Session] != c {
		return
	}
	delete(h.conns, c.welcome.Session)
	h.prune()
	h.lost[c.welcome.Session] = Loss{Since: time.Now(), Gone: gone}
	h.broadcast()
}

// prune forgets what is known of sessions that are over, so that what is remembered is bounded by the ledger's open
// sessions.
func (h *Hub) prune() {
	v := h.tenure.View()
	over := func(s id.Session) bool {
		_, open := v.Session(s)
		return !open
	}
	maps.DeleteFunc(h.lost, func(s id.Session, _ Loss) bool { return over(s) })
	maps.DeleteFunc(h.latest, func(_ id.Store, c *conn) bool { return over(c.welcome.Session) && c.door.left() })
}

func (h *Hub) current() *tenure {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tenure
}

func (h *Hub) broadcast() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *Hub) notLeader() error {
	_, addr := h.raft.Leader()
	return &job.NotLeaderError{Leader: addr}
}
