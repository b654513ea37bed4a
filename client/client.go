package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
)

const (
	attemptMin  = 1500 * time.Millisecond // of the first attempt of a call at one node: a stopped process answers nothing
	attemptTime = 6 * time.Second         // of a later one; doubled up to here, because a node may just be slow
	connectTime = time.Second             // to connect to one node
	waitMin     = 50 * time.Millisecond   // between rounds through all nodes, doubled
	waitMax     = time.Second             // up to here
	hopsMax     = 4                       // redirections in a row that are followed without waiting
	nodesMax    = 64                      // addresses that are remembered
	learnEvery  = 10 * time.Second        // how often members are learnt from a node that answers
	messageMax  = 16 << 20
	pingAfter   = 10 * time.Second
	pingTime    = 3 * time.Second
)

// Option changes how a client connects.
type Option func(*Client)

// WithTLS makes the client speak TLS; the nodes want a certificate of their authority.
func WithTLS(cfg *tls.Config) Option {
	return func(c *Client) { c.creds = credentials.NewTLS(cfg) }
}

// WithDialer makes connections by dial instead of TCP.
func WithDialer(dial func(ctx context.Context, addr string) (net.Conn, error)) Option {
	return func(c *Client) { c.dial = dial }
}

// Client calls a cluster. Its methods may be called concurrently.
type Client struct {
	creds credentials.TransportCredentials
	dial  func(ctx context.Context, addr string) (net.Conn, error)
	life  context.Context
	end   context.CancelFunc
	work  sync.WaitGroup // learning, and ingesters

	mu       sync.Mutex
	conns    map[string]*grpc.ClientConn // nil after Close
	nodes    []string                    // seeds first, then members learnt
	seeds    int
	leader   string // that answered last, "" for none
	learnt   time.Time
	learning bool
}

// Dial makes a client of the cluster that the nodes at addrs belong to; any one of them will do. Nothing is connected
// before the first call.
func Dial(addrs []string, options ...Option) (*Client, error) {
	if len(addrs) == 0 {
		return nil, errors.New("no addresses given, expected host:port of at least one node")
	}
	if len(addrs) > nodesMax {
		return nil, fmt.Errorf("%d addresses given, expected at most %d", len(addrs), nodesMax)
	}
	for _, a := range addrs {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, fmt.Errorf("address %q, expected host:port: %w", a, err)
		}
	}
	c := &Client{
		creds: insecure.NewCredentials(),
		dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{Timeout: connectTime}).DialContext(ctx, "tcp", addr)
		},
		conns: map[string]*grpc.ClientConn{},
		nodes: slices.Clone(addrs),
		seeds: len(addrs),
	}
	for _, o := range options {
		o(c)
	}
	c.life, c.end = context.WithCancel(context.Background())
	return c, nil
}

// Close ends all calls and ingesters and waits for them. What an ingester has not acknowledged may be lost.
func (c *Client) Close() error {
	c.end()
	c.mu.Lock()
	conns := c.conns
	c.conns = nil
	c.mu.Unlock()
	var errs []error
	for _, conn := range conns {
		errs = append(errs, conn.Close())
	}
	c.work.Wait()
	return errors.Join(errs...)
}

func (c *Client) conn(addr string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		return nil, ErrClosed
	}
	if conn := c.conns[addr]; conn != nil {
		return conn, nil
	}
	c.drop()
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(c.creds),
		grpc.WithContextDialer(c.dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: connectTime,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTime}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageMax), grpc.MaxCallSendMsgSize(messageMax)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	c.conns[addr] = conn
	return conn, nil
}

// drop closes connections to nodes that are no candidates any more, if there are too many. The caller holds mu.
func (c *Client) drop() {
	if len(c.conns) < 2*nodesMax {
		return
	}
	for addr, conn := range c.conns {
		if !slices.Contains(c.nodes, addr) {
			delete(c.conns, addr)
			_ = conn.Close() // calls on it are repeated elsewhere
		}
	}
}

// discard drops a connection that cannot be made, so that the next call dials anew: when to come again is decided by
// the tour, not by gRPC's back-off. No call runs on it.
func (c *Client) discard(addr string, conn *grpc.ClientConn) {
	if conn.GetState() != connectivity.TransientFailure {
		return
	}
	c.mu.Lock()
	if c.conns[addr] == conn {
		delete(c.conns, addr)
	}
	c.mu.Unlock()
	_ = conn.Close() // again, if another call came first
}

// answered remembers that the node at addr leads, and learns from it who else is there.
func (c *Client) answered(addr string) {
	c.mu.Lock()
	c.leader = addr
	c.mu.Unlock()
	c.learnFrom(addr)
}

// learnFrom asks the node at addr who else is there, if that was not asked lately.
func (c *Client) learnFrom(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil || c.learning || time.Since(c.learnt) < learnEvery {
		return
	}
	c.learning = true
	c.work.Go(func() { c.learn(addr) })
}

func (c *Client) learn(addr string) {
	ctx, cancel := context.WithTimeout(c.life, connectTime)
	defer cancel()
	var found []string
	if conn, err := c.conn(addr); err == nil {
		r, err := raftstreamv1.NewClusterClient(conn).ListMembers(ctx, &raftstreamv1.ListMembersRequest{Stale: true})
		if err == nil { // else the next answer is a better time to learn
			for _, m := range r.GetMembers() {
				if m.GetRpcAddr() != "" && m.GetStatus() == raftstreamv1.MemberStatus_MEMBER_STATUS_ALIVE {
					found = append(found, m.GetRpcAddr())
				}
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.learning, c.learnt = false, time.Now()
	if len(found) == 0 {
		return
	}
	nodes := slices.Clone(c.nodes[:c.seeds])
	for _, a := range found {
		if !slices.Contains(nodes, a) && len(nodes) < nodesMax {
			nodes = append(nodes, a)
		}
	}
	c.nodes = nodes
}

// failed forgets the node at addr as the leader.
func (c *Client) failed(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader == addr {
		c.leader = ""
	}
}

// asked lists the nodes that the client was made for.
func (c *Client) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes[:c.seeds])
}

// round lists the nodes in the order in which to ask them: who answered last, then all from a random one on.
func (c *Client) round() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := mrand.IntN(len(c.nodes))
	order := slices.Concat(c.nodes[first:], c.nodes[:first])
	if c.leader != "" {
		order = slices.DeleteFunc(order, func(a string) bool { return a == c.leader })
		order = append([]string{c.leader}, order...)
	}
	return order
}

// tour is the way of one call through the nodes.
type tour struct {
	client *Client
	round  func() []string
	given  bool // the nodes that the client was made for are asked, of which any may answer: it need not lead
	queue  []string
	hops   int // redirections since the last wait
	waited time.Duration
	last   error
}

// next gives the node to ask now; it waits between rounds. The error is an ErrUnreachable.
func (t *tour) next(ctx context.Context) (string, error) {
	if len(t.queue) == 0 {
		if t.last != nil {
			if err := t.pause(ctx, 0); err != nil {
				return "", err
			}
		}
		t.queue = t.round()
	}
	if ctx.Err() != nil {
		return "", t.unreachable(ctx)
	}
	addr := t.queue[0]
	t.queue = t.queue[1:]
	return addr, nil
}

// begin starts anew after an answer: the nodes are asked from the first one, without a wait.
func (t *tour) begin() {
	t.queue, t.last, t.hops, t.waited = nil, nil, 0, 0
}

// answered notes the node that answered.
func (t *tour) answered(addr string) {
	if t.given {
		t.client.learnFrom(addr)
	} else {
		t.client.answered(addr)
	}
}

// follow notes how an attempt at addr failed, and waits if the node says so. Its error is the call's.
func (t *tour) follow(ctx context.Context, addr string, v verdict) error {
	if v.final != nil {
		return v.final
	}
	if t.last == nil || ctx.Err() == nil { // an attempt that was cut short tells less than the one before it
		t.last = v.reason
	}
	if v.here == nil {
		t.client.failed(addr)
	}
	if ctx.Err() != nil {
		return t.unreachable(ctx)
	}
	if v.addr != "" && v.addr != addr && t.hops < hopsMax {
		t.hops++
		t.queue = append([]string{v.addr}, t.queue...)
		return nil
	}
	if v.wait > 0 {
		t.queue = append([]string{addr}, t.queue...) // it was the right one
		return t.pause(ctx, v.wait)
	}
	return nil
}

// pause waits at least least, longer from time to time, with jitter.
func (t *tour) pause(ctx context.Context, least time.Duration) error {
	t.hops = 0
	t.waited = min(max(2*t.waited, waitMin), waitMax)
	wait := max(least, t.waited/2+mrand.N(t.waited/2+1))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return t.unreachable(ctx)
	case <-t.client.life.Done():
		return ErrClosed
	}
}

func (t *tour) unreachable(ctx context.Context) error {
	if t.client.life.Err() != nil {
		return ErrClosed
	}
	if t.given {
		return unreachable(ctx, "no answer from", t.client.asked(), t.last)
	}
	t.client.mu.Lock()
	nodes := slices.Clone(t.client.nodes)
	t.client.mu.Unlock()
	return unreachable(ctx, "no leader reached at", nodes, t.last)
}

// call makes one call at whoever leads, again and again until it is answered, refused, or ctx ends.
func call[R any](ctx context.Context, c *Client, f func(context.Context, *grpc.ClientConn) (R, error)) (R, error) {
	return callAt(ctx, &tour{client: c, round: c.round}, f)
}

func callAt[R any](ctx context.Context, t *tour, f func(context.Context, *grpc.ClientConn) (R, error)) (R, error) {
	var none R
	patience := attemptMin
	for {
		addr, err := t.next(ctx)
		if err != nil {
			return none, err
		}
		conn, err := t.client.conn(addr)
		if err != nil {
			return none, err
		}
		attempt, cancel := context.WithTimeout(ctx, patience)
		r, err := f(attempt, conn)
		if attempt.Err() != nil {
			patience = min(2*patience, attemptTime)
		}
		cancel()
		if err == nil {
			t.answered(addr)
			return r, nil
		}
		t.client.discard(addr, conn)
		if err := t.follow(ctx, addr, judge(err)); err != nil {
			return none, err
		}
	}
}

func randomID() string { return rand.Text() }
