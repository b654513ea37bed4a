package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

// Times of questions.
const (
	askTime  = 1500 * time.Millisecond // of one question to one node: it may be paused or cut off
	askEvery = 50 * time.Millisecond
)

// Roles, as schedules name them.
const (
	leader      = "leader"
	coordinator = "coordinator"
	receiver    = "receiver"
)

// Holders gives the nodes that have a role now: leader, coordinator or receiver. Nodes are asked for what they know
// themselves, all at the same time, because the leader may be the one that does not answer.
func (c *Cluster) Holders(ctx context.Context, role string) ([]string, error) {
	switch role {
	case leader:
		name, _, err := c.Leader(ctx)
		if err != nil {
			return nil, err
		}
		return []string{name}, nil
	case coordinator:
		return c.newest(ctx, func(ctx context.Context, at *client.Client) (uint64, []string, error) {
			r, err := at.ListApps(ctx, &raftstreamv1.ListAppsRequest{Stale: true})
			var names []string
			for _, a := range r.GetApps() {
				if a.GetState() == raftstreamv1.AppState_APP_STATE_RUNNING {
					names = append(names, a.GetCoordinator())
				}
			}
			return r.GetRaftIndex(), names, err
		})
	case receiver:
		return c.newest(ctx, func(ctx context.Context, at *client.Client) (uint64, []string, error) {
			r, err := at.ListReceivers(ctx, &raftstreamv1.ListReceiversRequest{Stale: true})
			var names []string
			for _, x := range r.GetReceivers() {
				if x.GetState() == raftstreamv1.ReceiverState_RECEIVER_STATE_ACTIVE && x.GetKind() == raftstreamv1.ReceiverKind_RECEIVER_KIND_RECEIVER {
					names = append(names, x.GetNode())
				}
			}
			return r.GetRaftIndex(), names, err
		})
	}
	return nil, fmt.Errorf("role is %q, expected %s, %s or %s", role, leader, coordinator, receiver)
}

// Leader gives the node that leads in the highest term that any node knows of, and that term.
func (c *Cluster) Leader(ctx context.Context) (name string, term uint64, err error) {
	found, err := c.newest(ctx, func(ctx context.Context, at *client.Client) (uint64, []string, error) {
		r, err := at.ListMembers(ctx, &raftstreamv1.ListMembersRequest{Stale: true})
		if err == nil && r.GetLeader() == "" {
			err = errors.New("it knows no leader")
		}
		return r.GetTerm(), []string{r.GetLeader(), fmt.Sprint(r.GetTerm())}, err
	})
	if err != nil {
		return "", 0, fmt.Errorf("leader: %w", err)
	}
	for _, f := range found {
		if slices.Contains(c.Names(), f) {
			name = f
		} else if _, err := fmt.Sscan(f, &term); err != nil {
			return "", 0, fmt.Errorf("leader: %q is no node's name", f)
		}
	}
	return name, term, nil
}

// Transfer hands leadership to another driver that is up, and returns when it leads.
func (c *Cluster) Transfer(ctx context.Context) error {
	r, err := c.ask.ListMembers(ctx, &raftstreamv1.ListMembersRequest{})
	if err != nil {
		return err
	}
	for _, m := range r.GetMembers() {
		if m.GetRaft() == raftstreamv1.RaftRole_RAFT_ROLE_FOLLOWER && c.Up(m.GetName()) {
			_, err := c.ask.TransferLeadership(ctx, &raftstreamv1.TransferLeadershipRequest{Id: m.GetId()})
			return err
		}
	}
	return errors.New("no follower is up that could lead")
}

// newest asks every node that is up, and gives the answer with the highest version, each name once.
func (c *Cluster) newest(ctx context.Context, ask func(context.Context, *client.Client) (uint64, []string, error)) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var mu sync.Mutex
	var best []string
	var newest uint64
	errs := []error{errors.New("no node is up")}
	var all sync.WaitGroup
	for _, n := range c.nodes {
		if !c.Up(n.name) {
			continue
		}
		all.Go(func() {
			version, names, err := ask(ctx, c.each[n.name])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", n.name, err))
			} else if best == nil || version > newest {
				newest, best = version, append([]string{}, names...)
			}
		})
	}
	all.Wait()
	if best == nil {
		return nil, errors.Join(errs...)
	}
	slices.Sort(best)
	return slices.DeleteFunc(slices.Compact(best), func(s string) bool { return s == "" }), nil
}

// Ready says why not every node can do its work: it is up, says itself that it is ready, and is a member of the quorum
// if it votes.
func (c *Cluster) Ready(ctx context.Context) error {
	for _, n := range c.nodes {
		if !c.Up(n.name) {
			return fmt.Errorf("%s is not up", n.name)
		}
		if err := c.ready(ctx, n); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*askTime)
	defer cancel()
	r, err := c.ask.ListMembers(ctx, &raftstreamv1.ListMembersRequest{})
	if err != nil {
		return err
	}
	in := 0
	for _, m := range r.GetMembers() {
		if m.GetStatus() == raftstreamv1.MemberStatus_MEMBER_STATUS_ALIVE && m.GetRaft() != raftstreamv1.RaftRole_RAFT_ROLE_NONE {
			in++
		}
	}
	if votes := min(len(c.nodes), maxVoters); in != votes {
		return fmt.Errorf("%d members vote, expected %d", in, votes)
	}
	return nil
}

func (c *Cluster) ready(ctx context.Context, n *node) error {
	url := "http://" + net.JoinHostPort(n.host, fmt.Sprint(n.http)) + "/ready"
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r, err := c.http.Do(ask)
	if err != nil {
		return err
	}
	if err := r.Body.Close(); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", n.name, r.Status)
	}
	return nil
}

// unstopped are the applications that have work to do, or may have.
func (c *Cluster) unstopped(ctx context.Context) ([]*raftstreamv1.App, error) {
	reply, err := c.ask.ListApps(ctx, &raftstreamv1.ListAppsRequest{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(reply.GetApps(), func(a *raftstreamv1.App) bool {
		return a.GetState() == raftstreamv1.AppState_APP_STATE_STOPPED
	}), nil
}

// Safe says why no node may lose its disk now: some block has too few copies, or some node is not there.
func (c *Cluster) Safe(ctx context.Context) error {
	if err := c.Ready(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*askTime)
	defer cancel()
	apps, err := c.unstopped(ctx)
	if err != nil {
		return err
	}
	for _, a := range apps {
		r, err := c.ask.GetApp(ctx, &raftstreamv1.GetAppRequest{Id: a.GetId()})
		if err != nil {
			return err
		}
		if n := r.GetApp().GetUnderReplicated(); n > 0 {
			return fmt.Errorf("application %s has %d blocks or pieces with too few copies", a.GetName(), n)
		}
	}
	return nil
}

// An application that keeps up may have two batches pending, the one that runs and the next, or those of so much time.
const (
	pendingMost = 2
	pendingMS   = 2000
)

// Converged says why the cluster is not yet as if nothing had happened: some data has too few copies, or some application has
// not caught up. Those named in but may be behind.
func (c *Cluster) Converged(ctx context.Context, but ...string) error {
	if err := c.Safe(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*askTime)
	defer cancel()
	apps, err := c.unstopped(ctx)
	if err != nil {
		return err
	}
	for _, a := range apps {
		most := max(pendingMost, pendingMS/max(a.GetBatchMs(), 1))
		if !slices.Contains(but, a.GetName()) && a.GetPendingBatches() > most {
			return fmt.Errorf("application %s has %d batches pending", a.GetName(), a.GetPendingBatches())
		}
	}
	return nil
}

// Await waits until ask gives no error; what it gave last, while there was time, says why it did not end.
func Await(ctx context.Context, what string, ask func(context.Context) error) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("still not %s: %w", what, last)
		case <-tick.C:
		}
	}
}
