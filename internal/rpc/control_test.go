package rpc

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// fakeHub is a driver: it leads or not, and answers what the test says.
type fakeHub struct {
	mu      sync.Mutex
	refuse  error // not nil: Dial fails with it
	welcome job.Welcome
	answer  func(ctx context.Context, lane job.Lane, r job.ToDriver) (job.Reply, error)
	links   chan *fakeLink
}

func newHub(epoch id.Epoch) *fakeHub {
	return &fakeHub{welcome: job.Welcome{Session: 7, Epoch: epoch, Cluster: "c"}, links: make(chan *fakeLink, 16)}
}

func (h *fakeHub) lead(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse = err
}

func (h *fakeHub) Dial(_ context.Context, hello job.Hello) (job.Link, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil {
		return nil, h.refuse
	}
	l := &fakeLink{hub: h, hello: hello, orders: make(chan job.ToExecutor), cause: make(chan error, 1), done: make(chan struct{})}
	h.links <- l
	return l, nil
}

type fakeLink struct {
	hub    *fakeHub
	hello  job.Hello
	orders chan job.ToExecutor
	cause  chan error
	done   chan struct{}
	once   sync.Once
}

var errHubClosed = errors.New("hub closed the link")

func (l *fakeLink) Welcome() job.Welcome { return l.hub.welcome }

func (l *fakeLink) Request(ctx context.Context, lane job.Lane, r job.ToDriver) (job.Reply, error) {
	return l.hub.answer(ctx, lane, r)
}

func (l *fakeLink) Recv() (job.ToExecutor, error) {
	select {
	case o := <-l.orders:
		return o, nil
	case <-l.done:
		return nil, errHubClosed
	}
}

func (l *fakeLink) Close() error { return l.CloseCause(nil) }

func (l *fakeLink) CloseCause(cause error) error {
	l.once.Do(func() { l.cause <- cause; close(l.done) })
	return nil
}

// driver serves a hub on loopback.
func driver(t *testing.T, hub job.Dialer) string {
	t.Helper()
	return node(t, ServerConfig{Drivers: hub})
}

// node serves cfg on loopback until the test ends.
func node(t *testing.T, cfg ServerConfig) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, NewServer(cfg), l)
	return l.Addr().String()
}

func serve(t *testing.T, s *Server, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.Stop(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func dialer(addrs ...string) *Dialer {
	return NewDialer(DialerConfig{Drivers: func() []string { return addrs }})
}

func open(t *testing.T, d *Dialer, h job.Hello) job.Link {
	t.Helper()
	l, err := d.Dial(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// deadAddr is an address whose port refuses.
func deadAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestControlStreamCarriesALink(t *testing.T) {
	hub := newHub(3)
	want := filled[job.Reply](t)
	hub.answer = func(_ context.Context, lane job.Lane, r job.ToDriver) (job.Reply, error) {
		if b, ok := r.(*job.BatchReport); !ok || b.Tries != 4 || lane != job.ControlLane {
			t.Errorf("request in lane %d is %+v", lane, r)
		}
		return want, nil
	}
	hello := filled[job.Hello](t)
	hello.Cluster = "c"
	l := open(t, dialer(driver(t, hub)), hello)
	if l.Welcome() != hub.welcome {
		t.Errorf("welcome is %+v", l.Welcome())
	}
	far := <-hub.links
	if far.hello != hello {
		t.Errorf("hello arrived as %+v", far.hello)
	}
	for range 3 {
		got, err := l.Request(t.Context(), job.ControlLane, &job.BatchReport{Tries: 4})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	order := filled[job.Batch](t)
	far.orders <- &order
	got, err := l.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&order, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestLanesDoNotWaitForEachOther(t *testing.T) {
	hub := newHub(1)
	release := make(chan struct{})
	hub.answer = func(ctx context.Context, lane job.Lane, _ job.ToDriver) (job.Reply, error) {
		if lane == job.BlockLane {
			<-release
		}
		return job.Reply{Outcome: job.Done, Index: uint64(lane)}, nil
	}
	l := open(t, dialer(driver(t, hub)), job.Hello{})
	blocks := make(chan error, 1)
	go func() {
		_, err := l.Request(t.Context(), job.BlockLane, &job.BlocksReport{})
		blocks <- err
	}()
	for range 10 {
		if _, err := l.Request(t.Context(), job.ControlLane, &job.ReceiverStarted{}); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := <-blocks; err != nil {
		t.Error(err)
	}
}

func TestDialFollowsTheLeader(t *testing.T) {
	a, b, c := newHub(1), newHub(1), newHub(1)
	addrA, addrB, addrC := driver(t, a), driver(t, b), driver(t, c)
	a.lead(&job.NotLeaderError{Leader: addrC})
	b.lead(&job.NotLeaderError{Leader: addrA}) // does not know better
	d := dialer(deadAddr(t), addrB, addrA)
	open(t, d, job.Hello{Name: "first"})
	if l := <-c.links; l.hello.Name != "first" {
		t.Errorf("hello of %q", l.hello.Name)
	}
	// The leader changes: what was learnt is forgotten.
	c.lead(&job.NotLeaderError{})
	a.lead(nil)
	open(t, d, job.Hello{Name: "second"})
	if l := <-a.links; l.hello.Name != "second" {
		t.Errorf("hello of %q", l.hello.Name)
	}
}

// silentAddr is an address where connections are made and nothing is ever answered, as at a stopped process.
func silentAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestDialDoesNotWaitForSilentNodes(t *testing.T) {
	hub := newHub(1)
	d := dialer(silentAddr(t), silentAddr(t), driver(t, hub))
	start := time.Now()
	open(t, d, job.Hello{Name: "me"})
	if took := time.Since(start); took > 2*headStart+connectTime/2 {
		t.Errorf("took %v, expected about two head starts", took)
	}
	if l := <-hub.links; l.hello.Name != "me" {
		t.Errorf("hello of %q", l.hello.Name)
	}
	start = time.Now()
	open(t, d, job.Hello{}) // who welcomed last is asked first
	if took := time.Since(start); took > headStart {
		t.Errorf("the second time took %v", took)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := dialer(silentAddr(t)).Dial(ctx, job.Hello{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, expected the end of the context", err)
	}
	if took := time.Since(start); took > connectTime/2 {
		t.Errorf("took %v, though the context ended", took)
	}
}

func TestDialWithoutLeaderSaysSo(t *testing.T) {
	a, b := newHub(1), newHub(1)
	addrA, addrB := driver(t, a), driver(t, b)
	a.lead(&job.NotLeaderError{Leader: addrB})
	b.lead(&job.NotLeaderError{Leader: addrA}) // each believes that the other leads
	_, err := dialer(addrA, addrB).Dial(t.Context(), job.Hello{})
	if !errors.Is(err, job.ErrNotLeader) {
		t.Errorf("%v, expected ErrNotLeader", err)
	}
	_, err = dialer(deadAddr(t)).Dial(t.Context(), job.Hello{})
	if err == nil || errors.Is(err, job.ErrNotLeader) {
		t.Errorf("%v, expected the reason of a node that cannot be reached", err)
	}
	_, err = dialer(node(t, ServerConfig{})).Dial(t.Context(), job.Hello{}) // no driver role
	if !errors.Is(err, job.ErrNotLeader) {
		t.Errorf("%v, expected ErrNotLeader", err)
	}
}

func TestOwnDriverIsAskedInProcess(t *testing.T) {
	hub := newHub(1)
	d := NewDialer(DialerConfig{Self: "here", Local: hub, Drivers: func() []string { return nil }})
	if _, ok := open(t, d, job.Hello{}).(*fakeLink); !ok {
		t.Error("the link left the process")
	}
}

func TestDriverOfAnotherClusterIsRefused(t *testing.T) { // rule 2
	_, err := dialer(driver(t, newHub(1))).Dial(t.Context(), job.Hello{Cluster: "other"})
	if !errors.Is(err, ErrOtherCluster) {
		t.Errorf("%v, expected ErrOtherCluster", err)
	}
}

func TestLinkEndsWithTheDriversLeadership(t *testing.T) {
	hub := newHub(1)
	hub.answer = func(context.Context, job.Lane, job.ToDriver) (job.Reply, error) {
		return job.Reply{}, &job.NotLeaderError{Leader: "next"}
	}
	l := open(t, dialer(driver(t, hub)), job.Hello{})
	_, err := l.Request(t.Context(), job.ControlLane, &job.Inventory{})
	var redirect *job.NotLeaderError
	if !errors.As(err, &redirect) || redirect.Leader != "next" {
		t.Errorf("request: %v, expected a leader hint", err)
	}
	if _, err := l.Recv(); err == nil {
		t.Error("orders go on")
	}
	m := open(t, dialer(driver(t, hub)), job.Hello{})
	<-hub.links
	_ = (<-hub.links).Close()
	if _, err := m.Recv(); err == nil {
		t.Error("orders go on after the driver closed the link")
	}
}

func TestServerStopEndsStreams(t *testing.T) {
	hub := newHub(1)
	s := NewServer(ServerConfig{Drivers: hub})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	link := open(t, dialer(l.Addr().String()), job.Hello{})
	s.Stop(t.Context())
	if _, err := link.Recv(); err == nil {
		t.Error("orders go on")
	}
	if cause := <-(<-hub.links).cause; errors.Is(cause, job.ErrPeerDead) || cause == nil {
		t.Errorf("the driver was told %v, expected that the server stops", cause)
	}
}

// Rule 3: a reset stream whose peer's port refuses a dial is a death at once.
func TestResetStreamWithRefusedDialIsADeath(t *testing.T) {
	hub := newHub(1)
	addr := driver(t, hub)
	for name, dead := range map[string]bool{"alive": false, "dead": true} {
		t.Run(name, func(t *testing.T) {
			own := deadAddr(t)
			if !dead {
				own = node(t, ServerConfig{})
			}
			var conn net.Conn
			d := dialer(addr)
			d.dial = func(ctx context.Context, a string) (net.Conn, error) {
				c, err := dialTCP(ctx, a)
				conn = c
				return c, err
			}
			l := open(t, d, job.Hello{Addr: own})
			far := <-hub.links
			if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(); err != nil { // a reset, as of a process that is killed
				t.Fatal(err)
			}
			if cause := <-far.cause; errors.Is(cause, job.ErrPeerDead) != dead {
				t.Errorf("the driver was told %v", cause)
			}
			if _, err := l.Recv(); err == nil {
				t.Error("orders go on")
			}
		})
	}
}

func TestOrdersThatNobodyTakesEndTheLink(t *testing.T) { // rule 9: bounded
	hub := newHub(1)
	l := open(t, dialer(driver(t, hub)), job.Hello{})
	far := <-hub.links
	for sent := 0; ; sent++ {
		if sent > 100*ordersMax {
			t.Fatal("orders are taken without bound")
		}
		select {
		case far.orders <- &job.Progress{}:
			continue
		case <-far.done:
		}
		break
	}
	for {
		if _, err := l.Recv(); err != nil {
			if !errors.Is(err, errOrders) {
				t.Error(err)
			}
			return
		}
	}
}
