package electionwatch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/raftstream/raftstream/internal/id"
)

// Dial opens a connection to an address.
type Dial func(ctx context.Context, addr string) (net.Conn, error)

const (
	// hurry is how long a node whose connection has ended is dialled again without pause: a process that dies closes
	// its sockets one after the other, and accepts and resets meanwhile.
	hurry = 100 * time.Millisecond
	// hurryPause and hurryDial are the pause between two dials and the limit of one while there is hurry.
	hurryPause = time.Millisecond
	hurryDial  = 50 * time.Millisecond
	// steady is how long a connection must have lived for that: one that ends at once is not asked for in a loop.
	steady = 20 * time.Millisecond
	// minPause and maxPause bound the pause between two dials afterwards; dialTime is the limit of one.
	minPause = 20 * time.Millisecond
	maxPause = 250 * time.Millisecond
	dialTime = time.Second
	// slowPause bounds it where somebody accepts who does not say the hello expected: it costs him work and a line in
	// his log each time.
	slowPause = 5 * time.Second
)

// errStranger says that another node answers at a node's address.
var errStranger = errors.New("another node answers")

// met is a process that was connected, and whose fate is open since.
type met struct {
	hello Hello
	at    Peer      // where it was connected
	lost  time.Time // its connection ended
}

// follow watches one peer until ctx ends.
func (w *Watch) follow(ctx context.Context, p *peer) {
	var last *met // nil: nobody was connected yet, or that process is known to be over
	pace, said := pace{}, ""
	for ctx.Err() == nil {
		at := w.addresses(p)
		c, h, err := w.call(ctx, at, pace.limit())
		switch {
		case err == nil:
			w.connected(ctx, p, last, h)
			began := time.Now()
			w.wait(ctx, c)
			last = &met{h, at, time.Now()}
			w.log.Debug("election watch: connection ended", "peer", p.node)
			w.know(p, Unknown, 0)
			if last.lost.Sub(began) >= steady {
				pace.hurry()
				continue
			}
		case last != nil && last.at == at && errors.Is(err, syscall.ECONNREFUSED) && w.refuses(ctx, at.Gossip):
			w.know(p, Dead, last.hello.Generation+1)
			w.tell(ctx, p, Dead, last.lost)
			last = nil
		case err.Error() != said:
			said = err.Error()
			w.log.Debug("election watch: no answer", "peer", p.node, "error", err)
		}
		if err != nil && !pace.hurried() {
			w.lookedInVain(p)
		}
		pace.pause(ctx, p.wake, err == nil || errors.Is(err, syscall.ECONNREFUSED))
	}
}

// connected takes note of who answered, and of what that says about the process that was connected last.
func (w *Watch) connected(ctx context.Context, p *peer, last *met, h Hello) {
	if w.Dead(id.Store(p.node), h.Generation) {
		w.log.Warn("election watch: a process that was taken for dead answers: something refuses connections in its place; "+
			"where that goes on, the watch must be off", "peer", p.node)
	}
	if last == nil || last.hello.Nonce == h.Nonce {
		w.know(p, Alive, h.Generation)
		return
	}
	w.know(p, Restarted, h.Generation)
	w.tell(ctx, p, Restarted, last.lost)
}

func (w *Watch) tell(ctx context.Context, p *peer, v Verdict, lost time.Time) {
	w.log.Info("election watch: the process of a node is over", "peer", p.node, "verdict", v.String())
	if w.cfg.Died != nil {
		w.cfg.Died(ctx, p.node, lost)
	}
}

// call dials a peer and reads its hello, within limit.
func (w *Watch) call(ctx context.Context, at Peer, limit time.Duration) (net.Conn, Hello, error) {
	end := time.Now().Add(limit)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	c, err := w.cfg.Dial(ctx, at.Addr)
	if err != nil {
		return nil, Hello{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	h, err := readHello(c, end)
	stop()
	if err == nil && h.Node != at.Node {
		err = fmt.Errorf("%w at %s: %s", errStranger, at.Addr, h.Node)
	}
	if err != nil {
		_ = c.Close() // why it is of no use says more
		return nil, Hello{}, err
	}
	return c, h, nil
}

// wait returns when the connection or ctx has ended.
func (w *Watch) wait(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	if ctx.Err() != nil {
		return
	}
	_, _ = c.Read(make([]byte, 1)) // nothing is said after the hello: whatever comes is its end
}

// refuses reports whether a TCP dial is refused.
func (w *Watch) refuses(ctx context.Context, addr string) bool {
	if addr == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, hurryDial)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = c.Close() // somebody listens: that is all that was asked
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// pace is how fast a peer is dialled: without pause right after its connection ended, then ever more slowly.
type pace struct {
	until time.Time // hurry ends
	next  time.Duration
}

func (p *pace) hurry() { p.until, p.next = time.Now().Add(hurry), 0 }

func (p *pace) hurried() bool { return time.Now().Before(p.until) }

func (p *pace) limit() time.Duration {
	if p.hurried() {
		return hurryDial
	}
	return dialTime
}

// pause waits before the next dial, which costs little if nobody listened; it is cut short when the peer's addresses change.
func (p *pace) pause(ctx context.Context, wake <-chan struct{}, cheap bool) {
	d, most := hurryPause, slowPause
	if cheap {
		most = maxPause
	}
	if !p.hurried() {
		p.next = min(max(2*p.next, minPause), most)
		d = p.next
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-t.C:
	}
}
