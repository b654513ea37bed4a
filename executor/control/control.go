// Package control owns the executor's end of the control stream. It is engine internals, without compatibility
// promise. It promises that some driver is looked for until one answers, that requests are repeated in order of their
// lane to whoever leads until they are answered, that a new session begins only when the work of the old one has
// stopped (rule 3), and that no order of an older leadership is passed on (rule 1). It must not know what requests and
// orders mean.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// minDial and maxDial bound the wait between two dials. The next leader is there some 10 ms after a leader's death.
	minDial = 10 * time.Millisecond
	maxDial = time.Second
	// minDelay and maxDelay bound the wait between a request and its repetition after Later.
	minDelay = 50 * time.Millisecond
	maxDelay = time.Second
	// dialTimeout bounds one dial: finding the leader and opening a session there.
	dialTimeout = 5 * time.Second
	// steady is how long a link must have lived to count as one that stood. After it the waits start from minDial again,
	// after a shorter one from twice what they started from before: a driver that drops every link is not dialled in a loop.
	steady = time.Second
	// maxBlocks bounds the blocks of one BlocksReport.
	maxBlocks = 256
	// maxInventory bounds the blocks of one part of an inventory.
	maxInventory = 4096
)

var (
	// ErrSessionOver says that the session under which a request was made is over: the request is not repeated.
	ErrSessionOver = errors.New("the executor's session is over")
	// ErrClosed says that the executor is shutting down.
	ErrClosed = errors.New("the executor is shutting down")
	// ErrCluster says that the leading driver belongs to another cluster (rule 2). It ends Run.
	ErrCluster = errors.New("leading driver of another cluster")
)

// Handler is what the control stream works for. One goroutine calls it at a time.
type Handler interface {
	// Session says that s is the session from now on. It returns when the work of the old one has stopped; nothing is
	// sent or received before. An error ends the link, and the same session is presented again.
	Session(ctx context.Context, s id.Session) error
	// Inventory lists the blocks held. It is asked once per session, after Session.
	Inventory() []id.Block
	// Delete drops blocks that nothing will need.
	Delete(blocks []id.Block) error
	// Order takes an order or notice. It must not block for long: the stream waits for it.
	Order(m job.ToExecutor)
}

// Config is what a Control needs.
type Config struct {
	Dialer  job.Dialer
	Hello   job.Hello                  // who this is; Session and Cluster are filled in
	Cluster func() string              // cluster id of the store, "" for none yet; nil where there is no store
	Stamp   func(cluster string) error // stamps the cluster id into the store; nil where there is none
	Handler Handler
	Logger  *slog.Logger
}

// Control keeps one link to the leading driver. Its methods may be called concurrently.
type Control struct {
	cfg    Config
	log    *slog.Logger
	queues [job.Lanes]*queue

	mu      sync.Mutex
	session id.Session
	epoch   id.Epoch // highest seen
	linked  bool

	refused   string // why a driver refused the last dial that was refused; only Run's goroutine touches it
	inventory bool   // the session's inventory is still due; only Run's goroutine and the control lane's touch it
}

// New makes a control without link.
func New(c Config) *Control {
	ctl := &Control{cfg: c, log: c.Logger}
	for i := range ctl.queues {
		ctl.queues[i] = newQueue()
	}
	return ctl
}

// Status is where the control stream stands.
type Status struct {
	Session id.Session // 0 before the first
	Epoch   id.Epoch   // highest seen
	Linked  bool       // a driver is connected
	Queued  [job.Lanes]int
}

// Status gives the present state.
func (c *Control) Status() Status {
	c.mu.Lock()
	st := Status{Session: c.session, Epoch: c.epoch, Linked: c.linked}
	c.mu.Unlock()
	for i, q := range c.queues {
		st.Queued[i] = q.len()
	}
	return st
}

// Session gives the present session, 0 before the first.
func (c *Control) Session() id.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Request sends r in the control lane and repeats it, in order, until a driver answers Done or Refused. The error is
// ErrSessionOver, ErrClosed or the cause of ctx's end; then the outcome is unknown.
func (c *Control) Request(ctx context.Context, r job.ToDriver) (job.Reply, error) {
	a, err := c.queues[job.ControlLane].ask(ctx, &entry{request: r})
	if err != nil {
		return job.Reply{}, fmt.Errorf("request %T: %w", r, err)
	}
	return a.reply, nil
}

// Report sends the report of a block in the block lane, together with others that wait, and repeats it, in order,
// until a driver answers; the answer may be Later. Errors are as of Request.
func (c *Control) Report(ctx context.Context, b job.BlockReport) (job.BlockReply, error) {
	a, err := c.queues[job.BlockLane].ask(ctx, &entry{block: &b})
	if err != nil {
		return job.BlockReply{}, fmt.Errorf("report block %v: %w", b.ID, err)
	}
	return a.block, nil
}

// Run dials and serves links until ctx ends, then fails what still waits with ErrClosed and returns nil. An error
// means that the store belongs to another cluster, or that stamping it failed.
func (c *Control) Run(ctx context.Context) error {
	defer func() {
		for _, q := range c.queues {
			q.shut(ErrClosed)
		}
	}()
	first := minDial // of the waits after a link
	for delay := first; ctx.Err() == nil; delay = min(delay*2, maxDial) {
		stood, err := c.once(ctx)
		if errors.Is(err, ErrCluster) {
			return err
		}
		switch {
		case stood >= steady:
			first = minDial
			delay = first
		case stood > 0:
			delay = first
			first = min(first*2, maxDial)
		}
		if ctx.Err() == nil {
			c.explain(err, delay)
		}
		if !sleep(ctx, jitter(delay)) {
			break
		}
	}
	return nil
}

// explain logs why there is no link. That nobody leads is ordinary; that a driver refuses this executor needs somebody
// to act, and is a warning once per reason.
func (c *Control) explain(err error, retry time.Duration) {
	c.log.Debug("control stream", "error", err, "retry_in", retry)
	if !errors.Is(err, job.ErrRefused) {
		return
	}
	if why := refusal(err).Error(); why != c.refused {
		c.refused = why
		c.log.Warn("the leading driver refuses this executor: another node with the same identity, or another cluster?",
			"store", string(c.cfg.Hello.Store), "error", why)
	}
}

// refusal gives the part of err that says why: what other nodes answered differs from dial to dial.
func refusal(err error) error {
	for {
		all, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // one level at a time
		if !ok {
			return err
		}
		at := slices.IndexFunc(all.Unwrap(), func(e error) bool { return errors.Is(e, job.ErrRefused) })
		if at < 0 || all.Unwrap()[at] == job.ErrRefused { //nolint:errorlint // the sentinel itself says nothing more
			return err
		}
		err = all.Unwrap()[at]
	}
}

// once dials and serves one link until it dies; it gives how long that stood, 0 for a link that was not welcomed.
func (c *Control) once(ctx context.Context) (stood time.Duration, err error) {
	link, err := c.dial(ctx)
	if err != nil {
		return 0, err // that of the dialer, which says whom it asked
	}
	if err := c.welcomed(ctx, link.Welcome()); err != nil {
		_ = link.Close() // it is given up: why it was says more than how it closed
		return 0, err
	}
	c.refused = ""
	c.log.Info("connected to the leading driver", "session", uint64(c.Session()), "epoch", uint64(link.Welcome().Epoch))
	began := time.Now()
	err = c.serve(ctx, link)
	if ctx.Err() == nil {
		c.log.Info("lost the leading driver; receivers and tasks go on", "error", err)
	}
	return max(time.Since(began), 1), err
}

func (c *Control) dial(ctx context.Context) (job.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	h := c.cfg.Hello
	h.Session = c.Session()
	if c.cfg.Cluster != nil {
		h.Cluster = c.cfg.Cluster()
	}
	return c.cfg.Dialer.Dial(ctx, h)
}

// welcomed takes over what the driver says about cluster, leadership and session.
func (c *Control) welcomed(ctx context.Context, w job.Welcome) error {
	if err := c.stamp(w.Cluster); err != nil {
		return err
	}
	c.mu.Lock()
	old, highest := c.session, c.epoch
	if w.Epoch >= highest {
		c.epoch = w.Epoch
	}
	c.mu.Unlock()
	if w.Epoch < highest {
		return fmt.Errorf("%w: welcome of epoch %d, the highest seen is %d", job.ErrFenced, w.Epoch, highest)
	}
	if w.Session == old {
		return nil
	}
	for _, q := range c.queues {
		q.shut(ErrSessionOver)
	}
	if err := c.cfg.Handler.Session(ctx, w.Session); err != nil {
		return fmt.Errorf("begin session %d: %w", w.Session, err)
	}
	c.mu.Lock()
	c.session = w.Session
	c.mu.Unlock()
	c.inventory = true
	for _, q := range c.queues {
		q.open()
	}
	return nil
}

func (c *Control) stamp(cluster string) error {
	if cluster == "" || c.cfg.Cluster == nil {
		return nil
	}
	own := c.cfg.Cluster()
	if own != "" && own != cluster {
		return fmt.Errorf("%w: it leads %s, this store belongs to %s", ErrCluster, cluster, own)
	}
	if own == "" && c.cfg.Stamp != nil {
		if err := c.cfg.Stamp(cluster); err != nil {
			return fmt.Errorf("%w: stamp the store: %w", ErrCluster, err)
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter gives half to the whole of d: executors that lost the same driver must not come back in step.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
