// Package executors owns the driver's duty over sessions (rule 3): the session of an executor that is gone is closed,
// and every executor knows the others. It promises that a session without connection is closed after Silence, and
// sooner when its process is known to be dead (docs/adr/0001-refused-dials.md); it must not know what executors do.
package executors

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

// Silence is how long a session may be without connection.
const Silence = 3 * time.Second

// Duty is the duty.
type Duty struct {
	conns    driver.Connections
	refuses  Refuses
	evidence Evidence
	log      *slog.Logger
}

// Evidence knows of processes that are over. electionwatch.Watch is one.
type Evidence interface {
	// Dead reports whether the process that ran as a start of a store (its generation) is over, for sure. False says
	// nothing.
	Dead(s id.Store, generation uint64) bool
	// Changed is closed when next something is known that was not.
	Changed() <-chan struct{}
}

var _ driver.Duty = (*Duty)(nil)

// New makes the duty. r may be nil: then a process is known to be dead only when its connection said so.
func New(c driver.Connections, r Refuses, log *slog.Logger) *Duty {
	return &Duty{conns: c, refuses: r, log: log.With("duty", "executors")}
}

// With makes the duty close the session of a process at once when there is evidence that it is over. It is to be called
// before Run.
func (d *Duty) With(e Evidence) *Duty {
	d.evidence = e
	return d
}

// Name names the duty.
func (d *Duty) Name() string { return "executors" }

// Run does the duty until ctx ends.
func (d *Duty) Run(ctx context.Context, l driver.Ledger) error {
	t := &turn{
		Duty:      d,
		ledger:    l,
		proposals: driver.NewProposals[id.Session](d.log),
		sent:      driver.NewSent[table, int](),
		probes:    probes{refuses: d.refuses},
	}
	if d.evidence == nil {
		return driver.Turns(ctx, l, d.conns, t.take)
	}
	return driver.TurnsWith(ctx, l, d.conns, d.evidence.Changed, t.take)
}

// table is what there is one of to be sent: the table of peers.
type table struct{}

type turn struct {
	*Duty
	ledger    driver.Ledger
	proposals *driver.Proposals[id.Session]
	sent      *driver.Sent[table, int]
	probes    probes
	peers     []job.Peer // as last sent
	edition   int        // of peers
}

func (t *turn) take(ctx context.Context, v fsm.View) (time.Duration, error) {
	again := driver.Idle
	if !t.announce(v) {
		again = driver.Soon
	}
	closing, wait := t.silent(ctx, v)
	held, err := t.proposals.Make(ctx, t.ledger, closing)
	return min(again, wait, held), err
}

// silent gives the closings of sessions that are gone, and how long until the next one may be. A connection whose
// session is over is closed, so that the executor asks for a new one.
func (t *turn) silent(ctx context.Context, v fsm.View) (closing map[id.Session]fsm.Command, again time.Duration) {
	again = driver.Idle
	closing = make(map[id.Session]fsm.Command)
	end := func(s id.Session, reason string) {
		closing[s] = &fsm.SessionClosed{Session: s, Reason: reason, NowMS: time.Now().UnixMilli()}
	}
	var suspects []suspect
	for s := range v.Sessions() {
		if t.evidence != nil && t.evidence.Dead(s.Store, s.Generation) { // whatever is left of its connection
			end(s.ID, "its process is over")
			continue
		}
		if _, connected := t.conns.Of(s.ID); connected {
			continue
		}
		loss := t.conns.Lost(s.ID)
		passed := time.Since(loss.Since)
		switch {
		case loss.Gone:
			end(s.ID, "its process is dead or silent")
		case passed >= Silence:
			end(s.ID, fmt.Sprintf("no word for %v", passed.Round(time.Millisecond)))
		default:
			suspects = append(suspects, suspect{s, loss.Since})
			again = min(again, Silence-passed)
		}
	}
	if len(suspects) > 0 && t.probes.refuses != nil {
		again = min(again, t.probes.take(ctx, suspects))
		for _, s := range suspects {
			if _, connected := t.conns.Of(s.session.ID); !connected && t.probes.dead(s) {
				end(s.session.ID, fmt.Sprintf("nobody listens at %s", s.session.Addr))
			}
		}
	}
	t.closeStrangers(v)
	return closing, again
}

// closeStrangers closes the connections whose session is over.
func (t *turn) closeStrangers(v fsm.View) {
	for _, c := range t.conns.All() {
		if _, open := v.Session(c.Session()); !open && v.Index() >= uint64(c.Session()) {
			c.Close()
		}
	}
}

// announce sends the table of peers to everybody who does not have it; false: somebody could not take it.
func (t *turn) announce(v fsm.View) bool {
	var peers []job.Peer
	for s := range v.Sessions() {
		peers = append(peers, driver.PeerOf(s))
	}
	if !slices.Equal(peers, t.peers) {
		t.peers = peers
		t.edition++
	}
	conns := t.conns.All()
	t.sent.Keep(conns, func(table) bool { return true })
	all := true
	for _, c := range conns {
		all = t.sent.Send(c, table{}, t.edition, func() job.ToExecutor {
			return &job.Peers{Index: v.Index(), Peers: peers}
		}) && all
	}
	return all
}
