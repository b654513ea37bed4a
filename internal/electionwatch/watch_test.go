package electionwatch

import (
	"context"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if node := os.Getenv(helperNode); node != "" {
		helper(node)
		return
	}
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

// fakeNode is a node's two ports, of which the rpc port speaks the watch protocol only.
type fakeNode struct {
	t           *testing.T
	rpc, gossip *net.TCPListener
	work        sync.WaitGroup

	mu    sync.Mutex
	hello Hello
	mute  bool // connections are reset instead of greeted
	conns map[net.Conn]bool
	count int           // of greetings
	next  chan struct{} // closed at the next one
}

func listen(t *testing.T, addr string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // again, if the test has closed it
	return l.(*net.TCPListener)
}

// ownLoopback is an address where no other test listens: a port that a fake has closed must stay refused, and tests of
// other packages, which run at the same time, take free ports of 127.0.0.1. Only Linux has all of 127.0.0.0/8.
func ownLoopback() string {
	if runtime.GOOS == "linux" {
		return "127.0.83.1:0"
	}
	return "127.0.0.1:0"
}

func newFake(t *testing.T, node string) *fakeNode {
	t.Helper()
	n := &fakeNode{
		t: t, rpc: listen(t, ownLoopback()), gossip: listen(t, ownLoopback()), conns: map[net.Conn]bool{},
		next: make(chan struct{}),
	}
	n.start(node, 1)
	t.Cleanup(func() {
		n.stopListening()
		n.drop()
		n.work.Wait()
	})
	return n
}

// start makes it a process of a node.
func (n *fakeNode) start(node string, generation uint64) {
	n.t.Helper()
	h, err := NewHello(node, generation)
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	n.hello, n.mute = h, false
	n.mu.Unlock()
	n.work.Go(func() { n.serve(n.rpc) })
}

func (n *fakeNode) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		if n.mute {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		} else {
			n.conns[c] = true
			_, _ = c.Write(n.hello.encode())
			n.count++
			close(n.next)
			n.next = make(chan struct{})
		}
		n.mu.Unlock()
	}
}

// awaitGreeted waits until so many connections were greeted in all.
func (n *fakeNode) awaitGreeted(count int) {
	n.t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		n.mu.Lock()
		have, next := n.count, n.next
		n.mu.Unlock()
		if have >= count {
			return
		}
		select {
		case <-next:
		case <-end.C:
			n.t.Fatalf("%d connections were greeted within %v, expected %d", have, patience, count)
		}
	}
}

// drop ends every connection.
func (n *fakeNode) drop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.Close()
	}
	clear(n.conns)
}

func (n *fakeNode) stopListening() { _ = n.rpc.Close() }

// die ends as a process does: ports and connections, without a word.
func (n *fakeNode) die() {
	n.stopListening()
	_ = n.gossip.Close()
	n.drop()
}

func (n *fakeNode) peer(node string) Peer {
	return Peer{Node: node, Addr: n.rpc.Addr().String(), Gossip: n.gossip.Addr().String()}
}

// watched is a watch with what it tells.
type watched struct {
	*Watch
	died chan string

	mu    sync.Mutex
	peers []Peer
	news  chan struct{}
}

func watch(t *testing.T, peers ...Peer) *watched {
	t.Helper()
	w := &watched{died: make(chan string, 100), peers: peers, news: make(chan struct{})}
	var err error
	w.Watch, err = New(Config{
		Self: "self",
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		Peers: func() []Peer {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.peers
		},
		PeersChanged: func() <-chan struct{} {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.news
		},
		Died:   func(_ context.Context, node string, _ time.Time) { w.died <- node },
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *watched) list(peers ...Peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peers = peers
	close(w.news)
	w.news = make(chan struct{})
}

// until waits for what is known of a node.
func (w *watched) until(t *testing.T, node string, want Verdict) {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		changed := w.Changed()
		for _, s := range w.Status() {
			if s.Node == node && s.Verdict == want {
				return
			}
		}
		select {
		case <-changed:
		case <-end.C:
			t.Fatalf("%s is not %v within %v: %v", node, want, patience, w.Status())
		}
	}
}

func (w *watched) silent(t *testing.T) {
	t.Helper()
	select {
	case node := <-w.died:
		t.Fatalf("%s is said to be over", node)
	default:
	}
}

func (w *watched) told(t *testing.T, node string) {
	t.Helper()
	select {
	case got := <-w.died:
		if got != node {
			t.Fatalf("%s is said to be over, expected %s", got, node)
		}
	case <-time.After(patience):
		t.Fatalf("nobody is told that %s is over", node)
	}
}

// Rule 3: a broken connection and refused dials of both ports are a death, of that process and those before it.
func TestDeadProcessIsToldOnce(t *testing.T) {
	n := newFake(t, "a")
	w := watch(t, n.peer("a"))
	w.until(t, "a", Alive)
	if !w.Alive("a") || w.Dead("a", 1) || !w.Dead("a", 0) {
		t.Errorf("alive %v, dead %v, the one before dead %v", w.Alive("a"), w.Dead("a", 1), w.Dead("a", 0))
	}
	n.die()
	w.told(t, "a")
	if w.Alive("a") || !w.Dead("a", 1) || w.Dead("a", 2) || w.Dead("b", 0) {
		t.Errorf("alive %v, dead %v, the next one %v, an unknown one %v", w.Alive("a"), w.Dead("a", 1), w.Dead("a", 2), w.Dead("b", 0))
	}
	w.until(t, "a", Dead)
	w.silent(t)
}

func TestDroppedConnectionsAreNoDeath(t *testing.T) {
	n := newFake(t, "a")
	w := watch(t, n.peer("a"))
	for times := range 8 {
		n.awaitGreeted(times + 1)
		n.drop()
	}
	n.awaitGreeted(9)
	w.until(t, "a", Alive)
	if w.Dead("a", 1) {
		t.Error("it is said to be dead")
	}
	w.silent(t)
}

func TestOneClosedPortIsNoDeath(t *testing.T) {
	for _, port := range []string{"rpc", "gossip"} {
		t.Run(port, func(t *testing.T) {
			n := newFake(t, "a")
			w := watch(t, n.peer("a"))
			w.until(t, "a", Alive)
			if port == "gossip" {
				_ = n.gossip.Close()
				for times := range 5 {
					n.drop()
					n.awaitGreeted(times + 2)
				}
				w.until(t, "a", Alive)
				w.silent(t)
				return
			}
			n.stopListening()
			n.drop()
			w.until(t, "a", Unknown)
			// A second node, found dead after it, proves that there was time to be wrong about the first.
			other := newFake(t, "b")
			w.list(n.peer("a"), other.peer("b"))
			w.until(t, "b", Alive)
			other.die()
			w.told(t, "b")
			w.silent(t)
			if w.Dead("a", 1) {
				t.Error("a node that still has its gossip port is said to be dead")
			}
			n.die()
			w.told(t, "a")
		})
	}
}

// A process that dies closes its sockets one after the other: until the last one is closed it is not dead.
func TestProcessThatAcceptsAndResetsIsDying(t *testing.T) {
	n := newFake(t, "a")
	w := watch(t, n.peer("a"))
	w.until(t, "a", Alive)
	n.mu.Lock()
	n.mute = true
	n.mu.Unlock()
	n.drop()
	w.until(t, "a", Unknown)
	w.silent(t)
	n.die()
	w.told(t, "a")
}

func TestAnotherNonceMeansThatTheProcessBeforeIsOver(t *testing.T) {
	n := newFake(t, "a")
	w := watch(t, n.peer("a"))
	w.until(t, "a", Alive)
	h, err := NewHello("a", 2)
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.hello = h
	n.mu.Unlock()
	n.drop()
	w.told(t, "a")
	w.until(t, "a", Restarted)
	if !w.Alive("a") || !w.Dead("a", 1) || w.Dead("a", 2) {
		t.Errorf("alive %v, the old one dead %v, the new one %v", w.Alive("a"), w.Dead("a", 1), w.Dead("a", 2))
	}
	n.die()
	w.told(t, "a")
	if !w.Dead("a", 2) {
		t.Error("the second death is not known")
	}
}

// Rule 2: who answers at an address may be another node than the one that was there.
func TestStrangerAtTheAddressSaysNothing(t *testing.T) {
	n := newFake(t, "a")
	w := watch(t, n.peer("a"))
	w.until(t, "a", Alive)
	h, err := NewHello("wiped", 1)
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.hello = h
	n.mu.Unlock()
	n.drop()
	w.until(t, "a", Unknown)
	w.list(n.peer("a"), n.peer("wiped"))
	w.until(t, "wiped", Alive)
	w.silent(t)
	if w.Alive("a") || w.Dead("a", 1) {
		t.Errorf("alive %v, dead %v, expected neither", w.Alive("a"), w.Dead("a", 1))
	}
}

func TestNodeThatWasNeverConnectedIsNotDead(t *testing.T) {
	n, other := newFake(t, "a"), newFake(t, "b")
	n.die()
	w := watch(t, n.peer("a"), other.peer("b"))
	w.until(t, "b", Alive)
	other.die()
	w.told(t, "b")
	w.silent(t)
	if w.Dead("a", 1) || w.Dead("a", 0) {
		t.Error("a node that never answered is said to be dead")
	}
}

// Refused dials at a new address say nothing of the process that was connected at the old one.
func TestNodeThatMovesIsNotDead(t *testing.T) {
	n, nobody := newFake(t, "a"), newFake(t, "a")
	nobody.die()
	w := watch(t, n.peer("a"))
	w.until(t, "a", Alive)
	w.list(nobody.peer("a"))
	n.drop()
	w.until(t, "a", Unknown)
	other := newFake(t, "b")
	w.list(nobody.peer("a"), other.peer("b"))
	w.until(t, "b", Alive)
	other.die()
	w.told(t, "b")
	w.silent(t)
	n.mu.Lock()
	n.hello.Generation, n.hello.Nonce = 2, Nonce{}
	n.mu.Unlock()
	w.list(n.peer("a"), other.peer("b"))
	w.told(t, "a")
	w.until(t, "a", Restarted)
}

func TestConnectedNodeThatIsListedNoMoreIsWatchedToItsEnd(t *testing.T) {
	n := newFake(t, "a")
	w := watch(t, n.peer("a"))
	w.until(t, "a", Alive)
	w.list()
	if !w.Alive("a") {
		t.Error("it is forgotten while it is connected")
	}
	n.die()
	w.told(t, "a")
	w.until(t, "a", Dead)
	other := newFake(t, "b")
	w.list(other.peer("b"))
	w.until(t, "b", Alive)
	if got := w.Status(); len(got) != 1 {
		t.Errorf("it is still watched: %v", got)
	}
}

func TestOwnAndUnusablePeersAreLeftOut(t *testing.T) {
	n := newFake(t, "self")
	other := newFake(t, "b")
	w := watch(t, n.peer("self"), Peer{Node: "", Addr: "127.0.0.1:1"}, Peer{Node: "c"}, other.peer("b"))
	w.until(t, "b", Alive)
	if got := w.Status(); len(got) != 1 {
		t.Errorf("%v are watched, expected b alone", got)
	}
}

func TestPeersAreBounded(t *testing.T) {
	w, err := New(Config{
		Self: "self", Peers: func() []Peer { return nil }, Logger: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var many []Peer
	for i := range maxPeers + 10 {
		many = append(many, Peer{Node: string(rune('a' + i)), Addr: "127.0.0.1:1"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.reconcile(ctx, many)
	if got := len(w.Status()); got != maxPeers {
		t.Errorf("%d peers are watched, expected %d", got, maxPeers)
	}
	cancel()
	w.workers.Wait()
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration is taken")
	}
	if _, err := New(Config{Self: "self"}); err == nil {
		t.Error("a configuration without dial is taken")
	}
	if _, err := NewHello("", 1); err == nil {
		t.Error("an empty node id is taken")
	}
}

// Something else may have refused in the node's place, for a while. The process that lives on must get a session again.
func TestWrongVerdictEndsWhenTheProcessAnswersAgain(t *testing.T) {
	n := newFake(t, "a")
	w := watch(t, n.peer("a"))
	w.until(t, "a", Alive)
	rpc, gossip := n.rpc.Addr().String(), n.gossip.Addr().String()
	n.die()
	w.told(t, "a")
	w.until(t, "a", Dead)
	n.rpc, n.gossip = listen(t, rpc), listen(t, gossip)
	n.work.Go(func() { n.serve(n.rpc) })
	w.until(t, "a", Alive)
	if w.Dead("a", 1) || !w.Dead("a", 0) {
		t.Errorf("the process that answers is said to be dead: %t, the one before: %t", w.Dead("a", 1), w.Dead("a", 0))
	}
	n.die()
	w.told(t, "a")
}
