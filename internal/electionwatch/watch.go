package electionwatch

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raftstream/raftstream/internal/id"
)

const (
	// maxPeers bounds the nodes that are watched; further ones are not.
	maxPeers = 1024
	// lookAgain is how often the list of peers is looked at when nobody reports a change.
	lookAgain = time.Second
)

// Peer is a node to watch.
type Peer struct {
	Node   string // id of its data directory: raft's server id and the executor's store
	Addr   string // rpc address, host:port
	Gossip string // gossip address, host:port; "" if it is not known, then the node is never found dead
}

// Config is what a Watch needs.
type Config struct {
	Self string // node id: it is not watched
	// Dial opens a watch connection to an rpc address: what is read from it begins with the hello of who serves there.
	// A refused connection is syscall.ECONNREFUSED.
	Dial Dial
	// Peers lists the nodes to watch. A node that is dead should stay listed for as long as it may come back: its
	// addresses are needed to tell. It must not block.
	Peers func() []Peer
	// PeersChanged is closed at their next change; nil, or a nil channel: they are looked at every second.
	PeersChanged func() <-chan struct{}
	// Died is told of a node whose process is over, once per process, with the time at which its connection ended: what
	// the node did since, another process did. It is called on the goroutine that watches the node, which waits: it
	// should return within some hundred milliseconds, and when ctx ends. nil: nobody is told.
	Died   func(ctx context.Context, node string, lost time.Time)
	Logger *slog.Logger
}

func (c *Config) check() error {
	switch {
	case c.Self == "":
		return errors.New("election watch: the node's id is empty")
	case c.Dial == nil || c.Peers == nil || c.Logger == nil:
		return errors.New("election watch: dial, peers and logger must be given")
	}
	return nil
}

// Verdict is what is known of a node's process.
type Verdict uint8

const (
	// Unknown says that nothing follows: the node was never connected, or its fate is not known.
	Unknown Verdict = iota
	// Alive says that it is connected.
	Alive
	// Restarted says that it is connected, and that a process of it that was connected before is over.
	Restarted
	// Dead says that the process that was connected last is over, and no other one answers.
	Dead
)

// String names the verdict.
func (v Verdict) String() string {
	switch v {
	case Alive:
		return "alive"
	case Restarted:
		return "restarted"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// Watch watches the processes of other nodes. Its methods may be called from any goroutine.
type Watch struct {
	cfg Config
	log *slog.Logger

	workers sync.WaitGroup

	mu      sync.Mutex // a leaf
	peers   map[string]*peer
	changed chan struct{}
}

// peer is a watched node. Its fields are guarded by Watch.mu but for what is set once.
type peer struct {
	node string
	stop context.CancelFunc
	wake chan struct{} // holds one: its addresses changed

	at      Peer // as listed last
	verdict Verdict
	over    uint64 // generations below this one are over
	looking bool   // its connection has ended, and why is being looked for in a hurry
}

func (p *peer) connected() bool { return p.verdict == Alive || p.verdict == Restarted }

// New makes a watch; Run watches.
func New(c Config) (*Watch, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Watch{
		cfg: c, log: c.Logger, peers: map[string]*peer{}, changed: make(chan struct{}),
	}, nil
}

// Run watches until ctx ends, and joins its goroutines. It is called once.
func (w *Watch) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer w.workers.Wait()
	defer cancel()
	for {
		var changed <-chan struct{}
		if w.cfg.PeersChanged != nil {
			changed = w.cfg.PeersChanged()
		}
		w.reconcile(ctx, w.cfg.Peers())
		again := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
			again.Stop()
			return nil
		case <-changed:
		case <-again.C:
		}
		again.Stop()
	}
}

// reconcile starts to watch who is new and stops to watch who is listed no more, unless it is connected, or was a moment
// ago: then its end will still be found.
func (w *Watch) reconcile(ctx context.Context, listed []Peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gone := maps.Clone(w.peers)
	for _, l := range listed {
		if l.Node == w.cfg.Self || l.Node == "" || l.Addr == "" {
			continue
		}
		p, ok := w.peers[l.Node]
		delete(gone, l.Node)
		switch {
		case !ok && len(w.peers) < maxPeers:
			w.begin(ctx, l)
		case ok && p.at != l:
			p.at = l
			select {
			case p.wake <- struct{}{}:
			default:
			}
		}
	}
	for node, p := range gone {
		if !p.connected() && !p.looking {
			p.stop()
			delete(w.peers, node)
		}
	}
}

// begin watches a node on a goroutine of its own. The caller holds the lock.
func (w *Watch) begin(ctx context.Context, at Peer) {
	ctx, stop := context.WithCancel(ctx)
	p := &peer{node: at.Node, at: at, stop: stop, wake: make(chan struct{}, 1)}
	w.peers[at.Node] = p
	w.workers.Go(func() {
		defer stop()
		w.follow(ctx, p)
	})
}

// Dead reports whether the process that ran under a start of an executor's store is over. False says nothing.
func (w *Watch) Dead(store id.Store, generation uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.peers[string(store)]
	return ok && generation < p.over
}

// Alive reports whether a node's process is connected now. False says nothing.
func (w *Watch) Alive(node string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.peers[node]
	return ok && p.connected()
}

// Status is what is known of a node.
type Status struct {
	Node    string
	Verdict Verdict
}

// Status gives what is known of every watched node, in order of their ids.
func (w *Watch) Status() []Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]Status, 0, len(w.peers))
	for node, p := range w.peers {
		all = append(all, Status{node, p.verdict})
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Node, b.Node) })
	return all
}

// Changed is closed when next something is known of a node that was not. Take it before the rest.
func (w *Watch) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// know sets what is known of a peer: verdict v, and that generations below over are over, and no others; 0: of those
// nothing new is known.
func (w *Watch) know(p *peer, v Verdict, over uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.looking = p.connected() && v == Unknown
	p.verdict = v
	if over > 0 {
		p.over = over
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// lookedInVain takes note that a peer's connection has ended for a reason that will not show soon.
func (w *Watch) lookedInVain(p *peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.looking = false
}

// addresses gives where a peer is listed now.
func (w *Watch) addresses(p *peer) Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.at
}
