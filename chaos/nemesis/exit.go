package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

// exitTime is how long a process may take to come to the point at which it is to end; after as long again of all nodes
// waiting for it, the event is not injected.
const exitTime = 5 * time.Second

// Armed is what exits at failpoints need of the nodes.
type Armed interface {
	Processes
	Names() []string
	Up(name string) bool
}

// ExitInjector gives the injector of exits at failpoints. The plan of a node's failpoints is the file that plans names: the
// node must have been started so that it reads it.
func ExitInjector(nodes Armed, plans func(node string) string) chaos.Injector {
	one := make(chan struct{}, 1) // two that are armed at a time would take each other's exits for their own
	return inject(func(ctx context.Context, e schedule.Event, targets []string) (chaos.Fault, error) {
		select {
		case one <- struct{}{}:
			defer func() { <-one }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if e.Point == "" {
			return nil, errors.New("no failpoint is named")
		}
		x := &exit{nodes: nodes, plans: plans, plan: fmt.Sprintf("%s=exit@%d\n", e.Point, max(e.Hit, 1))}
		return x.inject(ctx, targets)
	})
}

// exit is one event under way.
type exit struct {
	nodes Armed
	plans func(node string) string
	plan  string
	armed []string
	gone  []string // that ended at the point
}

// inject arms the targets, and all other nodes where the targets do not come to the point: which node does some work is the
// cluster's choice. It returns when some process has ended there.
func (x *exit) inject(ctx context.Context, targets []string) (chaos.Fault, error) {
	others := slices.DeleteFunc(slices.Clone(x.nodes.Names()), func(n string) bool { return slices.Contains(targets, n) || !x.nodes.Up(n) })
	for _, some := range [][]string{targets, others} {
		if err := x.arm(some); err != nil {
			return nil, errors.Join(err, x.disarm())
		}
		if x.wait(ctx); len(x.gone) > 0 {
			break
		}
	}
	if err := x.disarm(); err != nil {
		return nil, errors.Join(err, startAll(x.nodes, x.gone))
	}
	if len(x.gone) == 0 {
		return nil, fmt.Errorf("no node came to it within %v: %s", 2*exitTime, x.plan[:len(x.plan)-1])
	}
	return x, nil
}

func (x *exit) arm(nodes []string) error {
	for _, n := range nodes {
		if !x.nodes.Up(n) { // it may have ended at another point before
			continue
		}
		if err := replace(x.plans(n), x.plan); err != nil {
			return fmt.Errorf("arm a failpoint of %s: %w", n, err)
		}
		x.armed = append(x.armed, n)
	}
	return nil
}

func (x *exit) disarm() error {
	var errs []error
	for _, n := range x.armed {
		errs = append(errs, replace(x.plans(n), ""))
	}
	return errors.Join(errs...)
}

// wait waits until an armed process has ended at the point, or the time for it is over.
func (x *exit) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, exitTime)
	defer cancel()
	for {
		for _, n := range x.armed {
			if x.nodes.Status(n) == chaos.ExitFailpoint {
				x.gone = append(x.gone, n)
			}
		}
		if len(x.gone) > 0 || wait(ctx, 2*time.Millisecond) != nil {
			return
		}
	}
}

// Hit gives the nodes that ended.
func (x *exit) Hit() []string { return x.gone }

// Heal starts them again, those too that ended before all were disarmed.
func (x *exit) Heal(context.Context) (chaos.Proof, error) {
	gone := x.gone
	for _, n := range x.armed {
		if !slices.Contains(gone, n) && x.nodes.Status(n) == chaos.ExitFailpoint {
			gone = append(gone, n)
		}
	}
	return chaos.Proof{Bites: int64(len(gone)), What: "processes that ended at a failpoint"}, startAll(x.nodes, gone)
}

// replace gives a file a new content at once.
func replace(path, text string) error {
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}
