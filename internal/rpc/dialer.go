package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftstream/raftstream/executor/job"
)

const (
	// welcomeTime bounds one attempt to open a control stream: the driver commits a session in it.
	welcomeTime = 3 * time.Second
	// attemptsMax bounds the nodes that one Dial asks.
	attemptsMax = 16
	// headStart is how long the node asked last may take before the next one is asked beside it: one that is cut off or
	// stopped takes until its limits, and a session needs no more than a commit.
	headStart = 200 * time.Millisecond
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

// Dial asks the node that led last, then this node, then the drivers, following what they know of the leader: the next
// one as soon as the one before has answered or its head start is over. The first link wins. It does not retry: the
// error is a *job.NotLeaderError when nodes answered and none leads.
func (d *Dialer) Dial(ctx context.Context, h job.Hello) (job.Link, error) {
	r := &race{dialer: d, hello: h, queue: d.candidates(), asked: map[string]bool{}, answers: make(chan answer, attemptsMax)}
	ctx, cancel := context.WithCancel(ctx)
	l, err := r.run(ctx)
	cancel()
	r.runners.Wait() // they see that ctx is over
	close(r.answers)
	for late := range r.answers {
		if late.link != nil {
			_ = late.link.Close() // nobody uses it: another one was first
		}
	}
	return l, err
}

// candidates are the nodes to ask, the likeliest first.
func (d *Dialer) candidates() []string {
	var queue []string
	if last := d.last.Load(); last != nil {
		queue = append(queue, *last)
	}
	if d.cfg.Local != nil {
		queue = append(queue, d.cfg.Self)
	}
	return append(queue, d.cfg.Drivers()...)
}

// forget drops addr as the node that welcomed last.
func (d *Dialer) forget(addr string) {
	if last := d.last.Load(); last != nil && *last == addr {
		d.last.CompareAndSwap(last, nil)
	}
}

// race is one Dial. One goroutine uses it, but for answers.
type race struct {
	dialer   *Dialer
	hello    job.Hello
	queue    []string
	asked    map[string]bool
	running  int
	runners  sync.WaitGroup
	answers  chan answer // holds one of each runner
	answered bool        // somebody said that another one leads
	failures []error
}

// answer is how one node answered.
type answer struct {
	addr string
	link job.Link
	err  error
}

func (r *race) run(ctx context.Context) (job.Link, error) {
	start := time.NewTimer(0)
	defer start.Stop()
	for {
		select {
		case <-start.C:
			if r.next(ctx) {
				start.Reset(headStart)
			} else if r.running == 0 {
				return nil, r.failed(nil)
			}
		case a := <-r.answers:
			r.running--
			if a.err == nil {
				r.dialer.last.Store(&a.addr)
				return a.link, nil
			}
			r.note(a)
			start.Reset(0)
		case <-ctx.Done():
			return nil, r.failed(ctx.Err())
		}
	}
}

// next asks the next node; false where there is none left.
func (r *race) next(ctx context.Context) bool {
	for len(r.queue) > 0 && len(r.asked) < attemptsMax {
		addr := r.queue[0]
		r.queue = r.queue[1:]
		if addr == "" || r.asked[addr] {
			continue
		}
		r.asked[addr] = true
		r.running++
		r.runners.Go(func() {
			l, err := r.dialer.open(ctx, addr, r.hello)
			r.answers <- answer{addr, l, err}
		})
		return true
	}
	return false
}

// note takes an answer that is no link.
func (r *race) note(a answer) {
	r.dialer.forget(a.addr)
	if redirect := (*job.NotLeaderError)(nil); errors.As(a.err, &redirect) {
		r.answered = true
		r.queue = append([]string{redirect.Leader}, r.queue...)
		return
	}
	r.failures = append(r.failures, fmt.Errorf("%s: %w", a.addr, a.err))
}

func (r *race) failed(ended error) error {
	if ended != nil {
		r.failures = append(r.failures, ended)
	}
	if r.answered {
		r.failures = append(r.failures, job.ErrNotLeader)
	}
	return &noLeaderError{asked: len(r.asked), causes: r.failures}
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
