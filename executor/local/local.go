// Package local carries messages among executors of one process: job.Executors without a network. It is engine
// internals, without compatibility promise; streamtest and tests use it. It promises that nothing mutable is shared
// between caller and callee, as if every message had crossed a wire, and that a removed executor fails its callers the
// way a dead process does. It must not know what executors do with the messages.
package local

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// Network connects executors by address. The zero value is not usable; call NewNetwork.
type Network struct {
	mu    sync.Mutex
	nodes map[string]*node
	calls sync.WaitGroup // that servers still work on
}

type node struct {
	server job.Server
	gone   context.Context
	leave  context.CancelCauseFunc
}

var _ job.Executors = (*Network)(nil)

// NewNetwork makes a network without executors.
func NewNetwork() *Network { return &Network{nodes: map[string]*node{}} }

// Add makes a server reachable under addr, in place of the one that was there.
func (n *Network) Add(addr string, s job.Server) {
	n.Remove(addr)
	gone, leave := context.WithCancelCause(context.Background())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[addr] = &node{server: s, gone: gone, leave: leave}
}

// Remove makes addr unreachable: calls in flight end with job.ErrPeerDead at once, whatever the server does.
func (n *Network) Remove(addr string) {
	n.mu.Lock()
	old := n.nodes[addr]
	delete(n.nodes, addr)
	n.mu.Unlock()
	if old != nil {
		old.leave(fmt.Errorf("executor %s: %w", addr, job.ErrPeerDead))
	}
}

// Close removes every executor and waits until their servers have ended what they were asked.
func (n *Network) Close() {
	n.mu.Lock()
	addrs := slices.Collect(maps.Keys(n.nodes))
	n.mu.Unlock()
	for _, addr := range addrs {
		n.Remove(addr)
	}
	n.calls.Wait()
}

// call runs f against the server at the peer's address and waits for its end, the caller's or the server's removal.
// A call that is given up goes on in the server until it sees its context end, as it would across a wire.
func call[R any](ctx context.Context, n *Network, to job.Peer, f func(context.Context, job.Server) (R, error)) (R, error) {
	var none R
	n.mu.Lock()
	at := n.nodes[to.Addr]
	n.mu.Unlock()
	if at == nil {
		return none, fmt.Errorf("executor %s (%s): %w", to.Name, to.Addr, job.ErrPeerDead)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(at.gone, func() { cancel(context.Cause(at.gone)) })
	defer stop()
	type answer struct {
		result R
		err    error
	}
	done := make(chan answer, 1)
	n.calls.Go(func() {
		r, err := f(ctx, at.server)
		done <- answer{r, err}
	})
	select {
	case a := <-done:
		if at.gone.Err() != nil { // a dead process has no voice
			return none, context.Cause(at.gone)
		}
		return a.result, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// Launch implements job.Executors.
func (n *Network) Launch(ctx context.Context, to job.Peer, l *job.Launch) (*job.LaunchResult, error) {
	msg := cloneLaunch(l)
	r, err := call(ctx, n, to, func(ctx context.Context, s job.Server) (*job.LaunchResult, error) { return s.Launch(ctx, msg) })
	if err != nil {
		return nil, cloneError(err)
	}
	return cloneResult(r), nil
}

// Fetch implements job.Executors. Buckets are copied before each sees them.
func (n *Network) Fetch(ctx context.Context, to job.Peer, f *job.Fetch, each func(mapPart int, bucket []byte) error) error {
	msg := *f
	msg.MapParts = append([]int(nil), f.MapParts...)
	type frame struct {
		part   int
		bucket []byte
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames := make(chan frame)
	ended := make(chan error, 1)
	go func() {
		_, err := call(ctx, n, to, func(ctx context.Context, s job.Server) (struct{}, error) {
			return struct{}{}, s.Fetch(ctx, &msg, func(part int, bucket []byte) error {
				select {
				case frames <- frame{part, append([]byte(nil), bucket...)}:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			})
		})
		ended <- err
	}()
	for {
		select {
		case f := <-frames:
			if err := each(f.part, f.bucket); err != nil {
				cancel()
				<-ended
				return err
			}
		case err := <-ended:
			return cloneError(err)
		}
	}
}

// Put implements job.Executors.
func (n *Network) Put(ctx context.Context, to job.Peer, b job.BlockData) error {
	b.Data = append([]byte(nil), b.Data...)
	_, err := call(ctx, n, to, func(ctx context.Context, s job.Server) (struct{}, error) { return struct{}{}, s.Put(ctx, b) })
	return err
}

// States implements job.Executors.
func (n *Network) States(ctx context.Context, to job.Peer, app id.App) ([]job.Held, error) {
	return call(ctx, n, to, func(ctx context.Context, s job.Server) ([]job.Held, error) { return s.States(ctx, app) })
}

// Get implements job.Executors.
func (n *Network) Get(ctx context.Context, to job.Peer, b id.Block) (job.BlockData, error) {
	d, err := call(ctx, n, to, func(ctx context.Context, s job.Server) (job.BlockData, error) { return s.Get(ctx, b) })
	d.Data = append([]byte(nil), d.Data...)
	return d, err
}
