package driver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/failpoint"
	"github.com/raftstream/raftstream/internal/id"
)

// errDeposed ends what ran in a leadership that is over: outcomes are unknown.
var errDeposed = errors.New("leadership is over")

// Pauses between attempts to open a leadership that raft says is still ours.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// observePause bounds how often Config.Observe is called: not sooner than this after the call before.
const observePause = time.Millisecond

// Config is what a Driver is made of.
type Config struct {
	Raft   Raft
	Hub    *Hub
	Duties []Duty // started in this order, ended in the reverse
	Node   string // raft id of this node
	Name   string
	Addr   string // rpc address
	// Observe is told every view that this node comes to, leading or not, but for those that follow faster than
	// it can be called. May be nil.
	Observe func(fsm.View)
	Logger  *slog.Logger
}

// Driver runs the leaderships of one node, one after the other.
type Driver struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex
	current *tenure // nil: not leading
}

// New makes a driver. Run starts it.
func New(cfg Config) *Driver {
	return &Driver{cfg: cfg, log: cfg.Logger.With("part", "driver")}
}

// Leading gives the leadership that is established on this node.
func (d *Driver) Leading() (id.Epoch, bool) {
	if t := d.tenure(); t != nil {
		return t.epoch, true
	}
	return 0, false
}

// Propose proposes under the current leadership. Without one it is id.ErrNotLeader; an error other than that and
// id.ErrOverloaded means that the outcome is unknown.
func (d *Driver) Propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	t := d.tenure()
	if t == nil {
		return fsm.Result{}, id.ErrNotLeader
	}
	ctx, leave, err := t.enter(ctx)
	if err != nil {
		return fsm.Result{}, err
	}
	defer leave()
	return t.Propose(ctx, c)
}

// Run leads whenever raft says so, until ctx ends. When it returns, nothing that it started is left.
func (d *Driver) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var observer sync.WaitGroup
	defer observer.Wait()
	defer cancel()
	if d.cfg.Observe != nil {
		observer.Go(func() { d.observe(ctx) })
	}
	var now id.Leadership
	for {
		if now.Leader {
			now = d.lead(ctx, now)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		var open bool
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now, open = <-d.cfg.Raft.Leadership():
		}
		if !open { // raft is closed: this node does not lead any more
			<-ctx.Done()
			return ctx.Err()
		}
	}
}

// lead holds one leadership until raft says something else or ctx ends, and gives what raft said. What fails is
// opened again: raft may still want this node to lead.
func (d *Driver) lead(ctx context.Context, now id.Leadership) id.Leadership {
	pause := firstPause
	for {
		began := time.Now()
		next, changed := d.hold(ctx, now)
		if changed {
			return next
		}
		if time.Since(began) > lastPause {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return id.Leadership{}
		case next := <-d.cfg.Raft.Leadership():
			if next != now {
				return next
			}
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// hold runs one tenure; changed says that raft ended it with a new word, or that ctx ended.
func (d *Driver) hold(ctx context.Context, now id.Leadership) (next id.Leadership, changed bool) {
	inner, cancel := context.WithCancelCause(ctx)
	done := make(chan error, 1)
	go func() { done <- d.reign(inner, now.Term) }()
	defer cancel(nil)
	for {
		select {
		case err := <-done:
			if ctx.Err() != nil {
				return id.Leadership{}, true
			}
			d.log.Warn("leadership ended here", "term", now.Term, "error", err)
			return id.Leadership{}, false
		case next = <-d.cfg.Raft.Leadership():
			if next == now {
				continue
			}
			cancel(errDeposed)
			<-done
			d.log.Info("leadership lost", "term", now.Term)
			return next, true
		}
	}
}

// reign opens a leadership, runs the duties and revokes it: what was opened is closed in reverse, wherever it came to.
func (d *Driver) reign(ctx context.Context, term uint64) error {
	t, err := d.open(ctx, term)
	if err != nil {
		return fmt.Errorf("open leadership of term %d: %w", term, err)
	}
	defer t.end()
	d.set(t)
	defer d.set(nil)
	d.cfg.Hub.open(t)
	defer d.cfg.Hub.close(t)
	d.log.Info("leading", "term", term, "epoch", t.epoch, "opened_ms", time.Since(t.began).Milliseconds())
	return d.serve(ctx, t)
}

// open passes the barrier and opens the term in the ledger. From the Epoch entry on, no older leadership has effect.
func (d *Driver) open(ctx context.Context, term uint64) (*tenure, error) {
	r := d.cfg.Raft
	if !r.IsLeader(term) {
		return nil, id.ErrNotLeader
	}
	t := newTenure(r, term)
	if err := r.Barrier(ctx); err != nil {
		return nil, fmt.Errorf("barrier: %w", err)
	}
	opened, err := t.Propose(ctx, &fsm.Epoch{
		Term: term, Leader: d.cfg.Node, Name: d.cfg.Name, Addr: d.cfg.Addr, NowMS: time.Now().UnixMilli(),
	})
	if err != nil {
		return nil, err
	}
	if opened.Outcome != fsm.Done {
		return nil, fmt.Errorf("epoch refused: %s", opened.Reason)
	}
	t.epoch = id.Epoch(opened.Index)
	failpoint.Hit(failpoint.LedgerOpened)
	if t.View().Cluster() == "" {
		named, err := t.Propose(ctx, &fsm.ClusterNamed{Cluster: newCluster()})
		if err != nil {
			return nil, err
		}
		if named.Outcome != fsm.Done {
			return nil, fmt.Errorf("cluster id refused: %s", named.Reason)
		}
	}
	return t, nil
}

// serve runs the duties until ctx ends or one of them does, then ends them in reverse order and waits for each.
func (d *Driver) serve(ctx context.Context, t *tenure) error {
	type running struct {
		cancel context.CancelFunc
		done   chan struct{}
	}
	failed := make(chan error, len(d.cfg.Duties))
	var started []running
	for _, duty := range d.cfg.Duties {
		inner, cancel := context.WithCancel(ctx)
		r := running{cancel: cancel, done: make(chan struct{})}
		started = append(started, r)
		go func() {
			defer close(r.done)
			err := duty.Run(inner, t)
			failed <- fmt.Errorf("duty %s: %w", duty.Name(), orElse(err, errDutyEnded))
		}()
	}
	var err error
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-failed:
	}
	for _, r := range slices.Backward(started) {
		r.cancel()
		<-r.done
	}
	return err
}

// errDutyEnded says that a duty returned although its leadership went on: a bug of the duty.
var errDutyEnded = errors.New("returned while the leadership lasts")

func orElse(err, otherwise error) error {
	if err == nil {
		return otherwise
	}
	return err
}

func (d *Driver) set(t *tenure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current = t
}

func (d *Driver) tenure() *tenure {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current
}

// observe hands every view to Config.Observe, coalesced.
func (d *Driver) observe(ctx context.Context) {
	for {
		began := time.Now()
		v := d.cfg.Raft.View()
		d.cfg.Observe(v)
		if !wait(ctx, Idle, signals{d.cfg.Raft.Changed(v.Index())}) || !rest(ctx, began, observePause) {
			return
		}
	}
}

func newCluster() string {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand stops the process where it cannot read
	return hex.EncodeToString(b[:])
}
