package gossip

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Status is what gossip believes of a member.
type Status uint8

const (
	// Alive says that it answers, or that others say so.
	Alive Status = iota + 1
	// Suspect says that it has not answered this node's probes lately, or that another one has come at its address; others
	// may still hear it.
	Suspect
	// Dead says that it left or that probes and questions to others failed for seconds. It is shown for a while.
	Dead
)

// String names the status, as the API does.
func (s Status) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// Member is a node as gossip sees it.
type Member struct {
	Meta
	ID         string
	GossipAddr string
	Status     Status
	Since      time.Time // of its being there, or of its death
}

const (
	// maxDead and keepDead bound how many dead members are shown, and for how long.
	maxDead  = 64
	keepDead = time.Hour
	// probeRounds is how many rounds of probes a member may miss before it is suspect.
	probeRounds = 3
	// unheardTime is how long a member must at least have answered no probe over UDP to say something of the network.
	unheardTime = 10 * time.Second
)

// members is the list, kept from memberlist's events. memberlist calls it under its own locks: it never blocks and
// never calls back. The lock is a leaf.
type members struct {
	self  string
	probe time.Duration // interval between probes: one of the others is asked each time

	mu      sync.Mutex
	known   map[string]*known
	changed chan struct{}
}

type known struct {
	member Member
	heard  time.Time // last answer to a probe, or the event that made it alive
}

func newMembers(self string, probe time.Duration) *members {
	return &members{self: self, probe: probe, known: map[string]*known{}, changed: make(chan struct{})}
}

// NotifyJoin is memberlist's: the node is alive.
func (m *members) NotifyJoin(n *memberlist.Node) { m.set(n, Alive) }

// NotifyUpdate is memberlist's: its meta data or address changed.
func (m *members) NotifyUpdate(n *memberlist.Node) { m.set(n, Alive) }

// NotifyLeave is memberlist's: the node is dead or has left.
func (m *members) NotifyLeave(n *memberlist.Node) { m.set(n, Dead) }

// AckPayload is memberlist's: answers to probes carry nothing.
func (m *members) AckPayload() []byte { return nil }

// NotifyPingComplete is memberlist's: the node answered a probe.
func (m *members) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, ok := m.known[n.Name]; ok {
		k.heard = time.Now()
	}
}

func (m *members) set(n *memberlist.Node, s Status) {
	meta, err := decodeMeta(n.Meta)
	if err != nil {
		meta = Meta{Name: n.Name} // of a node that speaks otherwise: shown, without roles
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.known[n.Name]
	if !ok || k.member.Status != s {
		k = &known{member: Member{ID: n.Name, Since: now}}
		m.known[n.Name] = k
	}
	k.member.Meta, k.member.GossipAddr, k.member.Status, k.heard = meta, n.Address(), s, now
	m.forget(now)
	close(m.changed)
	m.changed = make(chan struct{})
}

// forget drops the dead above the bounds, the longest dead first.
func (m *members) forget(now time.Time) {
	var dead []*known
	for name, k := range m.known {
		switch {
		case k.member.Status != Dead:
		case now.Sub(k.member.Since) > keepDead:
			delete(m.known, name)
		default:
			dead = append(dead, k)
		}
	}
	slices.SortFunc(dead, func(a, b *known) int { return a.member.Since.Compare(b.member.Since) })
	for i := 0; i < len(dead)-maxDead; i++ {
		delete(m.known, dead[i].member.ID)
	}
}

// list gives copies, in order of name and id.
func (m *members) list() []Member {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	silence, latest := m.silence(), m.latest()
	out := make([]Member, 0, len(m.known))
	for _, k := range m.known {
		c := k.member
		if c.Status == Alive && c.ID != m.self && (now.Sub(k.heard) > silence || latest[c.GossipAddr] != k) {
			c.Status = Suspect
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Member) int {
		if by := strings.Compare(a.Name, b.Name); by != 0 {
			return by
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// latest gives the member that came last at each address. A node whose disk was replaced comes at the address of the one
// that it was, which memberlist takes for alive for seconds more. The caller holds the lock.
func (m *members) latest() map[string]*known {
	latest := make(map[string]*known, len(m.known))
	for _, k := range m.known {
		if k.member.Status != Alive {
			continue
		}
		if at := latest[k.member.GossipAddr]; at == nil || k.member.Since.After(at.member.Since) {
			latest[k.member.GossipAddr] = k
		}
	}
	return latest
}

// silence is how long a member that answers may be unheard of: one of the others is probed at a time, so that a round
// takes as many intervals as there are others. The caller holds the lock.
func (m *members) silence() time.Duration {
	alive := 0
	for _, k := range m.known {
		if k.member.Status == Alive {
			alive++
		}
	}
	return time.Duration(probeRounds*max(1, alive-1)) * m.probe
}

// unheard reports whether a member has answered no probe over UDP for long, though it was there to be probed.
func (m *members) unheard(member string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.known[member]
	return !ok || time.Since(k.heard) > max(unheardTime, m.silence())
}

func (m *members) wait() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// liveAddrs gives the gossip addresses of who is not dead.
func (m *members) liveAddrs() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	addrs := make(map[string]bool, len(m.known))
	for _, k := range m.known {
		if k.member.Status != Dead {
			addrs[k.member.GossipAddr] = true
		}
	}
	return addrs
}
