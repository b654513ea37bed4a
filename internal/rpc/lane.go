package rpc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// lane is a listener that is given its connections, of which so many may be open.
type lane struct {
	addr  net.Addr
	conns chan net.Conn
	open  chan struct{} // a place for each that is open
	done  chan struct{}
	once  sync.Once
}

func newLane(addr net.Addr, limit int) *lane {
	return &lane{addr: addr, conns: make(chan net.Conn), open: make(chan struct{}, limit), done: make(chan struct{})}
}

var (
	errNotAccepted = errors.New("nobody accepted the connection in time")
	errTooMany     = errors.New("too many connections")
	errSilent      = fmt.Errorf("it did not say what it is for, and %d others wait to do so", pendingMax)
)

// counted is a connection that has a place until it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close closes the connection and gives its place back.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

// hand gives c to whoever accepts, within the time of a handshake.
func (l *lane) hand(c net.Conn, stop <-chan struct{}) (err error) {
	select {
	case l.open <- struct{}{}:
	default:
		return fmt.Errorf("%w: %d are open, which is the limit", errTooMany, cap(l.open))
	}
	leave := sync.OnceFunc(func() { <-l.open })
	defer func() {
		if err != nil {
			leave()
		}
	}()
	t := time.NewTimer(handshakeTime)
	defer t.Stop()
	select {
	case l.conns <- &counted{c, leave}:
		return nil
	case <-l.done:
		return net.ErrClosed
	case <-stop:
		return net.ErrClosed
	case <-t.C:
		return errNotAccepted
	}
}

// Accept waits for the next connection.
func (l *lane) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; it may be called again.
func (l *lane) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is the address that the connections come in by.
func (l *lane) Addr() net.Addr { return l.addr }

// refusals tells of refused connections, a few a second at most: whoever floods the port must not flood the log.
type refusals struct {
	mu     sync.Mutex
	second time.Time // that is being counted, from its start
	told   int       // of them in this second
	untold int       // since the last that was told
}

// refusalsTold is how many are told of in a second.
const refusalsTold = 5

func (r *refusals) tell(log *slog.Logger, remote net.Addr, err error) {
	untold, ok := r.next(time.Now())
	if ok {
		log.Warn("rpc port: connection refused", "remote", remote, "error", err, "before it, untold", untold)
	}
}

func (r *refusals) next(now time.Time) (untold int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.second) >= time.Second {
		r.second, r.told = now, 0
	}
	if r.told == refusalsTold {
		r.untold++
		return 0, false
	}
	untold = r.untold
	r.told, r.untold = r.told+1, 0
	return untold, true
}
