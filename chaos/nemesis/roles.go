package nemesis

import (
	"context"
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/chaos/schedule"
)

// Roles that events name instead of nodes. A role in the singular means one node that has it.
const (
	Leader      = "leader"
	Follower    = "follower"
	Followers   = "followers"
	Coordinator = "coordinator"
	Receiver    = "receiver"
	Any         = "any"
	All         = "all"
)

// Client is where clients are: the other end of a link, never a target.
const Client = "client"

// resolve gives the nodes that the event hits now. Nodes that were tried already come last.
func (n *Nemesis) resolve(ctx context.Context, e schedule.Event, tried map[string]bool) ([]string, error) {
	if Damages(e.Kind) {
		if err := n.o.Nodes.Safe(ctx); err != nil {
			return nil, fmt.Errorf("no node may lose its data now: %w", err)
		}
	}
	var found []string
	for _, t := range e.Targets {
		candidates, all, err := n.candidates(ctx, t)
		if err != nil {
			return found, err
		}
		free := slices.DeleteFunc(slices.Clone(candidates), func(c string) bool { return slices.Contains(found, c) || !n.free(e, c) })
		if len(free) == 0 || all && len(free) < len(candidates) {
			return found, fmt.Errorf("target %s: of %v only %v can be hit", t, candidates, free)
		}
		if !all {
			free = []string{pick(free, e.ID, tried)}
		}
		found = append(found, free...)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("event %d names no target", e.ID)
	}
	return found, nil
}

// peers gives the other ends of the event's links by name. A target is no peer of its own: where no other peer is left,
// all other nodes are.
func (n *Nemesis) peers(ctx context.Context, e schedule.Event, targets []string) ([]string, error) {
	var found []string
	for _, p := range e.Peers {
		nodes := []string{p}
		if p != Client {
			var err error
			if nodes, _, err = n.candidates(ctx, p); err != nil {
				return nil, err
			}
		}
		found = append(found, nodes...)
	}
	slices.Sort(found)
	return slices.DeleteFunc(slices.Compact(found), func(p string) bool { return slices.Contains(targets, p) }), nil
}

// candidates gives the nodes that a target may mean; all: it means every one of them.
func (n *Nemesis) candidates(ctx context.Context, target string) (nodes []string, all bool, err error) {
	names := n.o.Nodes.Names()
	switch target {
	case All:
		return names, true, nil
	case Any:
		return names, false, nil
	case Follower, Followers:
		leading, err := n.o.Nodes.Holders(ctx, Leader)
		if err != nil {
			return nil, false, err
		}
		return slices.DeleteFunc(slices.Clone(names), func(c string) bool { return slices.Contains(leading, c) }), target == Followers, nil
	case Leader, Coordinator, Receiver:
		nodes, err := n.o.Nodes.Holders(ctx, target)
		if err == nil && len(nodes) == 0 {
			err = fmt.Errorf("no node is %s now", target)
		}
		return nodes, false, err
	}
	if !slices.Contains(names, target) {
		return nil, false, fmt.Errorf("target %q, expected a role or one of %v", target, names)
	}
	return []string{target}, true, nil
}

// pick chooses by the event's number, so that a schedule that is run again chooses the same among the same.
func pick(free []string, number int, tried map[string]bool) string {
	fresh := slices.DeleteFunc(slices.Clone(free), func(c string) bool { return tried[c] })
	if len(fresh) > 0 {
		free = fresh
	}
	return free[max(number, 0)%len(free)]
}
