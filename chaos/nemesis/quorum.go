package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/schedule"
)

// rollTime bounds how long the cluster may take to be whole again after one of its nodes left in order.
const rollTime = 30 * time.Second

// Quorum is what faults of the quorum need of the cluster.
type Quorum interface {
	Processes
	// Transfer hands leadership to another node.
	Transfer(ctx context.Context) error
	// Leader gives the node that leads, and its term.
	Leader(ctx context.Context) (string, uint64, error)
	// Ready says why not every node can do its work.
	Ready(ctx context.Context) error
}

// QuorumInjectors gives the injectors of transfer and roll.
func QuorumInjectors(q Quorum) map[schedule.Kind]chaos.Injector {
	return map[schedule.Kind]chaos.Injector{
		schedule.Transfer: inject(func(ctx context.Context, _ schedule.Event, _ []string) (chaos.Fault, error) { return transfer(ctx, q) }),
		schedule.Roll:     inject(func(ctx context.Context, _ schedule.Event, t []string) (chaos.Fault, error) { return roll(ctx, q, t) }),
	}
}

// transfer is over when it is injected: there is nothing to heal.
func transfer(ctx context.Context, q Quorum) (chaos.Fault, error) {
	ctx, cancel := context.WithTimeout(ctx, rollTime)
	defer cancel()
	_, before, err := q.Leader(ctx)
	if err != nil {
		return nil, err
	}
	if err := q.Transfer(ctx); err != nil {
		return nil, err
	}
	proof := chaos.Proof{What: "leaderships handed over"}
	for proof.Bites == 0 && wait(ctx, retryEvery) == nil { // nodes hear of the new leader one after the other
		if _, after, err := q.Leader(ctx); err == nil && after > before {
			proof.Bites = 1
		}
	}
	return healing(func(context.Context) (chaos.Proof, error) { return proof, nil }), nil
}

// roll begins with the first node; the others follow when the fault is healed, each when the cluster is whole again.
func roll(ctx context.Context, q Quorum, targets []string) (chaos.Fault, error) {
	if err := q.Ready(ctx); err != nil {
		return nil, fmt.Errorf("the cluster is not whole: %w", err)
	}
	proof := chaos.Proof{What: "nodes that left in order and came again"}
	one := func(ctx context.Context, node string) error {
		if err := q.Terminate(node); err != nil {
			return err
		}
		p, err := leave(q, []string{node})(ctx)
		proof.Bites += p.Bites
		return err
	}
	if err := one(ctx, targets[0]); err != nil {
		return nil, err
	}
	return healing(func(ctx context.Context) (chaos.Proof, error) {
		for _, t := range targets[1:] {
			if err := errors.Join(whole(ctx, q), one(ctx, t)); err != nil {
				return proof, err
			}
		}
		return proof, nil
	}), nil
}

// whole waits until every node can do its work. Where other faults keep one away for longer, the next one leaves
// nevertheless: that is what an impatient operator does.
func whole(ctx context.Context, q Quorum) error {
	limited, cancel := context.WithTimeout(ctx, rollTime)
	defer cancel()
	for q.Ready(limited) != nil {
		if wait(limited, 100*time.Millisecond) != nil {
			break
		}
	}
	return ctx.Err()
}
