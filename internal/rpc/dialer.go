package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/raftstream/raftstream/executor/job"
)

const (
	// welcomeTime bounds one attempt to open a control stream: the driver commits a session in it.
	welcomeTime = 3 * time.Second
	// attemptsMax bounds the nodes that one Dial asks.
	attemptsMax = 16
)

// DialerConfig says where leading drivers are looked for.
type DialerConfig struct {
	// Self is this node's own rpc address, Local its own driver, which is asked without leaving the process; nil
	// on a node without the driver role.
	Self  string
	Local job.Dialer
	// Drivers lists the rpc addresses of drivers, the likely leader first. It is called at every Dial.
	Drivers  func() []string
	Security Security
}

// Dialer finds the leading driver. It is a job.Dialer; its methods may be called concurrently.
type Dialer struct {
	cfg  DialerConfig
	dial dialFunc
	last atomic.Pointer[string] // that welcomed last and has not failed since
}

// NewDialer makes a dialer.
func NewDialer(cfg DialerConfig) *Dialer { return &Dialer{cfg: cfg, dial: dialTCP} }

// Dial asks the node that led last, then this node, then the drivers, following what they know of the leader. It does
// not retry: the error is a *job.NotLeaderError when nodes answered and none leads.
func (d *Dialer) Dial(ctx context.Context, h job.Hello) (job.Link, error) {
	var queue []string
	if last := d.last.Load(); last != nil {
		queue = append(queue, *last)
	}
	if d.cfg.Local != nil {
		queue = append(queue, d.cfg.Self)
	}
	queue = append(queue, d.cfg.Drivers()...)
	asked := map[string]bool{}
	var failures []error
	answered := false
	for len(queue) > 0 && len(asked) < attemptsMax && ctx.Err() == nil {
		addr := queue[0]
		queue = queue[1:]
		if addr == "" || asked[addr] {
			continue
		}
		asked[addr] = true
		l, err := d.open(ctx, addr, h)
		if err == nil {
			d.last.Store(&addr)
			return l, nil
		}
		if last := d.last.Load(); last != nil && *last == addr {
			d.last.CompareAndSwap(last, nil)
		}
		if redirect := (*job.NotLeaderError)(nil); errors.As(err, &redirect) {
			answered = true
			queue = append([]string{redirect.Leader}, queue...)
			continue
		}
		failures = append(failures, fmt.Errorf("%s: %w", addr, err))
	}
	if err := ctx.Err(); err != nil {
		failures = append(failures, err)
	}
	if answered {
		failures = append(failures, job.ErrNotLeader)
	}
	return nil, &noLeaderError{asked: len(asked), causes: failures}
}

func (d *Dialer) open(ctx context.Context, addr string, h job.Hello) (job.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, welcomeTime)
	defer cancel()
	if d.cfg.Local != nil && addr == d.cfg.Self {
		return d.cfg.Local.Dial(ctx, h)
	}
	conn, err := connect(addr, d.cfg.Security, d.dial)
	if err != nil {
		return nil, err
	}
	if err := awaitReady(ctx, conn); err != nil {
		_ = conn.Close() // nothing was said on it
		return nil, err
	}
	l, err := openLink(ctx, conn, h)
	if err != nil {
		_ = conn.Close() // the error says why already
		return nil, err
	}
	return l, nil
}

// noLeaderError says that no leading driver was found.
type noLeaderError struct {
	asked  int
	causes []error
}

// Error lists what the nodes that were asked answered.
func (e *noLeaderError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no leading driver among %d nodes asked", e.asked)
	for _, c := range e.causes {
		fmt.Fprintf(&b, "; %v", c)
	}
	return b.String()
}

// Unwrap gives the causes.
func (e *noLeaderError) Unwrap() []error { return e.causes }
