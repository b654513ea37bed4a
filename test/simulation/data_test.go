package simulation_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/bucket"
	"github.com/raftstream/raftstream/internal/id"
)

// peers is how the executor of a process reaches others: through local.Network, over the lines of the data plane.
type peers struct{ p *process }

var errSomebodyElse = errors.New("another store answers there")

// call takes the way there and back around f, which reaches the other process.
func (d peers) call(ctx context.Context, to job.Peer, f func(ctx context.Context) error) error {
	p := d.p
	if !p.alive() {
		return errDead
	}
	name := nameOf(to.Addr)
	if name == p.node.name {
		return f(ctx)
	}
	up, down := p.sim.net.line(dataPlane, p.node.name, name), p.sim.net.line(dataPlane, name, p.node.name)
	cut, err := up.pass(ctx)
	if err != nil {
		return err
	}
	q := p.sim.running(name)
	switch {
	case !p.alive():
		return errDead
	case q == nil:
		return fmt.Errorf("executor %s: %w", name, job.ErrPeerDead)
	case q.node.store() != to.Store:
		return fmt.Errorf("executor %s: %w", name, errSomebodyElse)
	}
	failed := f(ctx)
	lost, err := down.pass(ctx)
	switch {
	case !p.alive():
		return errDead
	case cut, lost:
		return errBroken
	case err != nil:
		return err
	}
	return failed
}

// Launch implements job.Executors.
func (d peers) Launch(ctx context.Context, to job.Peer, l *job.Launch) (r *job.LaunchResult, err error) {
	d.p.sim.seenLaunch(l)
	err = d.call(ctx, to, func(ctx context.Context) (err error) { r, err = d.p.sim.local.Launch(ctx, to, l); return err })
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Fetch implements job.Executors.
func (d peers) Fetch(ctx context.Context, to job.Peer, f *job.Fetch, each func(int, []byte) error) error {
	return d.call(ctx, to, func(ctx context.Context) error { return d.p.sim.local.Fetch(ctx, to, f, each) })
}

// Put implements job.Executors.
func (d peers) Put(ctx context.Context, to job.Peer, b job.BlockData) error {
	return d.call(ctx, to, func(ctx context.Context) error { return d.p.sim.local.Put(ctx, to, b) })
}

// Get implements job.Executors.
func (d peers) Get(ctx context.Context, to job.Peer, b id.Block) (data job.BlockData, err error) {
	err = d.call(ctx, to, func(ctx context.Context) (err error) { data, err = d.p.sim.local.Get(ctx, to, b); return err })
	if err != nil {
		return job.BlockData{}, err
	}
	return data, nil
}

// States implements job.Executors.
func (d peers) States(ctx context.Context, to job.Peer, app id.App) (held []job.Held, err error) {
	err = d.call(ctx, to, func(ctx context.Context) (err error) { held, err = d.p.sim.local.States(ctx, to, app); return err })
	if err != nil {
		return nil, err
	}
	return held, nil
}

// shared is how a process reaches the bucket while it lives.
type shared struct {
	*bucket.Bucket
	p *process
}

// Put implements pieces.Bucket.
func (b *shared) Put(ctx context.Context, key string, data []byte) error {
	if !b.p.alive() {
		return errDead
	}
	if err := b.Bucket.Put(ctx, key, data); err != nil {
		return err
	}
	if !b.p.alive() {
		return errDead
	}
	return nil
}

// Delete implements pieces.Bucket.
func (b *shared) Delete(ctx context.Context, key string) error {
	if !b.p.alive() {
		return errDead
	}
	return b.Bucket.Delete(ctx, key)
}
