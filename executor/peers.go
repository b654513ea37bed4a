package executor

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// peers is the newest table of open sessions that a driver sent. Tables are immutable.
type peers struct {
	self func() id.Session

	mu      sync.Mutex
	table   *job.Peers
	changed chan struct{}
}

func newPeers(self func() id.Session) *peers {
	return &peers{self: self, table: &job.Peers{}, changed: make(chan struct{})}
}

// set takes a table unless a newer one is there, and gives the sessions that the table before did not have.
func (p *peers) set(t *job.Peers) (fresh []job.Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.Index < p.table.Index {
		return nil
	}
	for _, x := range t.Peers {
		if !slices.ContainsFunc(p.table.Peers, func(o job.Peer) bool { return o.Session == x.Session }) {
			fresh = append(fresh, x)
		}
	}
	p.table = t
	close(p.changed)
	p.changed = make(chan struct{})
	return fresh
}

// current gives the table, and a channel that is closed when there is another one.
func (p *peers) current() (*job.Peers, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table, p.changed
}

func (p *peers) list() []job.Peer {
	t, _ := p.current()
	return t.Peers
}

// Self gives this executor's session, 0 for none.
func (p *peers) Self() id.Session { return p.self() }

// Peer gives the executor of a session. A session is the index of its opening: if it is not in a table of a later
// index it is over; if the table is older, it was not heard of yet and a newer table is waited for.
func (p *peers) Peer(ctx context.Context, s id.Session) (job.Peer, error) {
	for {
		t, changed := p.current()
		for _, x := range t.Peers {
			if x.Session == s {
				return x, nil
			}
		}
		if uint64(s) <= t.Index {
			return job.Peer{}, fmt.Errorf("session %d is over", s)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return job.Peer{}, context.Cause(ctx)
		}
	}
}

// ofStore gives the executor of a store with an open session.
func (p *peers) ofStore(s id.Store) (job.Peer, bool) {
	for _, x := range p.list() {
		if x.Store == s {
			return x, true
		}
	}
	return job.Peer{}, false
}
