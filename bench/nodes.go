package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/client"
)

// node is one process of the node's binary on loopback.
type node struct {
	name              string
	dir, log          string
	rpc, gossip, http int
	proc              *chaos.Process
}

func (n *node) addr() string { return fmt.Sprintf("127.0.0.1:%d", n.rpc) }

// nodes are a cluster of real processes.
type nodes struct {
	binary string
	flags  []string
	all    []*node
	client *client.Client
}

// startNodes starts count nodes below dir and gives a client of theirs; nobody need lead yet.
func startNodes(binary, dir string, count int, flags ...string) (*nodes, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	ports, err := chaos.FreePorts(3 * count)
	if err != nil {
		return nil, err
	}
	c := &nodes{binary: binary, flags: flags}
	var addrs []string
	for i := range count {
		name := fmt.Sprintf("n%d", i+1)
		n := &node{
			name: name, dir: filepath.Join(dir, name), log: filepath.Join(dir, name+".log"),
			rpc: ports[3*i], gossip: ports[3*i+1], http: ports[3*i+2],
		}
		c.all = append(c.all, n)
		addrs = append(addrs, n.addr())
	}
	for _, n := range c.all {
		if err := c.start(n); err != nil {
			return nil, errors.Join(err, c.stop())
		}
	}
	if c.client, err = client.Dial(addrs); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *nodes) start(n *node) (err error) {
	args := []string{
		"start", "--data", n.dir, "--name", n.name, "--bind", "127.0.0.1",
		"--rpc-port", fmt.Sprint(n.rpc), "--gossip-port", fmt.Sprint(n.gossip), "--http-port", fmt.Sprint(n.http),
		"--bootstrap-expect", fmt.Sprint(len(c.all)),
	}
	for _, o := range c.all {
		if o != n {
			args = append(args, "--join", fmt.Sprintf("127.0.0.1:%d", o.gossip))
		}
	}
	n.proc, err = chaos.StartProcess(c.binary, n.log, nil, append(args, c.flags...)...)
	return err
}

// stop ends every process.
func (c *nodes) stop() error {
	var err error
	if c.client != nil {
		err = c.client.Close()
	}
	for _, n := range c.all {
		if n.proc != nil {
			n.proc.Stop(5 * time.Second)
		}
	}
	return err
}

// named gives a node by its name, nil for none.
func (c *nodes) named(name string) *node {
	for _, n := range c.all {
		if n.name == name {
			return n
		}
	}
	return nil
}

// leader waits until the nodes agree on a leader.
func (c *nodes) leader(ctx context.Context) (n *node, term uint64, err error) {
	err = poll(ctx, "a leader", func() (bool, error) {
		m, err := c.client.ListMembers(ctx, &raftstreamv1.ListMembersRequest{})
		if err != nil {
			return false, err
		}
		n, term = c.named(m.GetLeader()), m.GetTerm()
		return n != nil, nil
	})
	return n, term, err
}

// ready waits until every node says itself that it can do its work, and the leader sees it follow: then a fault meets a
// cluster at rest. What gossip says of a node that was killed a moment ago is old.
func (c *nodes) ready(ctx context.Context) error {
	return poll(ctx, "every node", func() (bool, error) {
		for _, n := range c.all {
			if err := n.ready(ctx); err != nil {
				return false, err
			}
		}
		m, err := c.client.ListMembers(ctx, &raftstreamv1.ListMembersRequest{})
		if err != nil {
			return false, err
		}
		in := 0
		for _, x := range m.GetMembers() {
			alive := x.GetStatus() == raftstreamv1.MemberStatus_MEMBER_STATUS_ALIVE
			if alive && x.GetRaft() != raftstreamv1.RaftRole_RAFT_ROLE_NONE {
				in++
			}
		}
		return in == len(c.all), nil
	})
}

// ready asks a node whether it can do its work: a driver knows who leads, an executor works under a session.
func (n *node) ready(ctx context.Context) error {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/ready", n.http), nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(ask)
	if err != nil {
		return err
	}
	if err := r.Body.Close(); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("node %s: %s", n.name, r.Status)
	}
	return nil
}

// submit submits a word count over an ingest stream.
func (c *nodes) submit(ctx context.Context, name string, batch time.Duration, params map[string]string) error {
	_, err := c.client.Submit(ctx, &raftstreamv1.SubmitRequest{
		RequestId: "bench-" + name, Program: "wordcount", Name: name, BatchMs: batch.Milliseconds(), Params: params,
	})
	return err
}

// completed lists an application's completed batches that are kept, oldest first.
func (c *nodes) completed(ctx context.Context, name string, last int32) ([]*raftstreamv1.Batch, error) {
	r, err := c.client.ListBatches(ctx, &raftstreamv1.ListBatchesRequest{Name: name, Last: last})
	if err != nil {
		return nil, err
	}
	var done []*raftstreamv1.Batch
	for _, b := range r.GetBatches() {
		if b.GetState() == raftstreamv1.BatchState_BATCH_STATE_COMPLETED {
			done = append(done, b)
		}
	}
	return done, nil
}

// poll asks until the answer is yes. An error of one question is the answer no; that of ctx ends it.
func poll(ctx context.Context, what string, ask func() (bool, error)) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := ask()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last answer: %v)", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}
