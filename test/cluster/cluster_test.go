package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/chaos"
)

var (
	seedFlag = flag.Uint64("seed", 0, "seed of the schedules of faults; 0 takes one from the clock")
	keepFlag = flag.String("keep", "", "directory below which the files of clusters stay whose test failed; without it they go")
)

func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -seed %d)", s, s)
	return s
}

var binary string // the node's binary, built once

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "raftstream-cluster-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "raftstream")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/raftstream/raftstream/cmd/node")...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the node:", err)
		return 1
	}
	if err := limitParallel(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// limitParallel lets two clusters run at a time where nothing else is asked for: most of their time is waiting.
func limitParallel() (err error) {
	const name = "test.parallel"
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == name })
	if !asked {
		err = flag.Set(name, "2")
	}
	return err
}

// node is one node of a cluster: its place stays the same over restarts.
type node struct {
	name              string
	dir               string
	rpc, gossip, http int
	roles             string   // as of the flag; empty for both
	joins             bool     // a cluster that is there already
	flags             []string // more flags of start, after all others
	binary            string   // that it runs, the common one where empty
	proc              *chaos.Process
	starts            int
}

// votes reports whether the node is a driver, which has a copy of the ledger.
func (n *node) votes() bool { return n.roles != "executor" }

func (n *node) addr() string { return fmt.Sprintf("127.0.0.1:%d", n.rpc) }

// cluster is some nodes on loopback that find each other.
type cluster struct {
	t      *testing.T
	dir    string
	nodes  []*node
	expect int
}

// newCluster starts size nodes, changed as told, and waits for a leader.
func newCluster(t *testing.T, size int, change ...func(*node)) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: directory(t)}
	t.Cleanup(c.close)
	ports := freePorts(t, 3*size)
	for i := range size {
		c.nodes = append(c.nodes, &node{
			name: fmt.Sprintf("n%d", i+1), dir: filepath.Join(c.dir, fmt.Sprintf("n%d", i+1)),
			rpc: ports[3*i], gossip: ports[3*i+1], http: ports[3*i+2],
		})
	}
	for _, n := range c.nodes {
		for _, f := range change {
			f(n)
		}
		if n.votes() {
			c.expect++
		}
	}
	for _, n := range c.nodes {
		c.start(n)
	}
	c.waitLeader(30 * time.Second)
	return c
}

// directory gives a new directory. It goes when the test ends, but that of a failed test stays where flag -keep says so.
func directory(t *testing.T) string {
	t.Helper()
	if *keepFlag == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(*keepFlag, t.Name()+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the files of the cluster stay in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// freePorts finds ports that are free on loopback now.
func freePorts(t *testing.T, count int) []int {
	t.Helper()
	ports, err := chaos.FreePorts(count)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

func (c *cluster) startArgs(n *node) []string {
	args := []string{
		"start", "--data", n.dir, "--name", n.name, "--bind", "127.0.0.1",
		"--rpc-port", fmt.Sprint(n.rpc), "--gossip-port", fmt.Sprint(n.gossip), "--http-port", fmt.Sprint(n.http),
	}
	if n.roles != "" {
		args = append(args, "--roles", n.roles)
	}
	if n.votes() && !n.joins {
		args = append(args, "--bootstrap-expect", fmt.Sprint(c.expect))
	}
	for _, o := range c.nodes {
		if o != n {
			args = append(args, "--join", fmt.Sprintf("127.0.0.1:%d", o.gossip))
		}
	}
	return append(args, n.flags...)
}

func (c *cluster) start(n *node) {
	c.t.Helper()
	n.starts++
	p, err := chaos.StartProcess(cmp.Or(n.binary, binary), filepath.Join(c.dir, n.name+".log"), nil, c.startArgs(n)...)
	if err != nil {
		c.t.Fatal(err)
	}
	n.proc = p
}

func (c *cluster) close() {
	for _, n := range c.nodes {
		if n.proc != nil {
			n.proc.Stop(5 * time.Second)
		}
		c.scan(n)
	}
	if c.t.Failed() {
		for _, n := range c.nodes {
			c.t.Logf("end of the log of %s:\n%s", n.name, tail(filepath.Join(c.dir, n.name+".log"), 60))
		}
	}
}

// scan fails the test for what must never stand in a node's log.
func (c *cluster) scan(n *node) {
	b, err := os.ReadFile(filepath.Join(c.dir, n.name+".log"))
	if err != nil {
		c.t.Error(err)
		return
	}
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if bytes.Contains(b, []byte(bad)) {
			c.t.Errorf("the log of %s holds %q", n.name, bad)
		}
	}
}

func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (c *cluster) addrs() string {
	var a []string
	for _, n := range c.nodes {
		a = append(a, n.addr())
	}
	return strings.Join(a, ",")
}

// result is what a command of the command line gave.
type result struct {
	stdout, stderr string
	status         int
}

// command runs the command line against the cluster.
func (c *cluster) command(ctx context.Context, stdin []byte, args ...string) result {
	return command(ctx, stdin, append([]string{"--addr", c.addrs()}, args...)...)
}

func command(ctx context.Context, stdin []byte, args ...string) result {
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errs.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.status = exit.ExitCode()
	case err != nil:
		r.status, r.stderr = -1, err.Error()
	}
	return r
}

// must runs a command that has to succeed. Its limit is above every --timeout that is given to one.
func (c *cluster) must(args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	r := c.command(ctx, nil, args...)
	if r.status != 0 {
		c.t.Fatalf("raftstream %s: exit status %d\n%s", strings.Join(args, " "), r.status, r.stderr)
	}
	return r.stdout
}

// read runs a command with -o json and decodes what it prints; false where it fails.
func (c *cluster) read(into any, args ...string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r := c.command(ctx, nil, append([]string{"-o", "json", "--timeout", "5s"}, args...)...)
	return r.status == 0 && json.Unmarshal([]byte(r.stdout), into) == nil
}

type members struct {
	Term    uint64
	Leader  string
	Members []struct {
		Name, ID, Status, Raft string
		RPCAddr                string `json:"rpc_addr"`
	}
}

type app struct {
	Name        string
	App         string
	State       string
	BatchMS     int64 `json:"batch_ms"`
	Allocated   int64 `json:"last_allocated_ms"`
	Completed   int64 `json:"last_completed_ms"`
	Pending     int   `json:"pending_batches"`
	Received    int64 `json:"records_received"`
	Processed   int64 `json:"records_processed"`
	Checkpoint  int64 `json:"checkpoint_time_ms"`
	Coordinator string
	ID          uint64
	Error       string
}

// await polls a condition of the cluster until it holds.
func await(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("after %v still not: %s", limit, what)
		case <-tick.C:
		}
	}
}

// waitLeader waits for a leader that is alive and gives it.
func (c *cluster) waitLeader(limit time.Duration) *node {
	c.t.Helper()
	var found *node
	await(c.t, limit, "a leader", func() bool {
		found = c.leader()
		return found != nil
	})
	return found
}

// leader gives the node that leads by its own followers' word, nil for none.
func (c *cluster) leader() *node {
	var m members
	if !c.read(&m, "members") {
		return nil
	}
	for _, n := range c.nodes {
		if n.name == m.Leader {
			return n
		}
	}
	return nil
}

func (c *cluster) app(name string) app {
	c.t.Helper()
	var a app
	await(c.t, 60*time.Second, "an answer about application "+name, func() bool { return c.read(&a, "app", name) })
	return a
}

// ended reports whether the node's process is over.
func (n *node) ended() bool {
	select {
	case <-n.proc.Exited():
		return true
	default:
		return false
	}
}

// allReady reports whether every node says that it can do its work.
func (c *cluster) allReady() bool {
	for _, n := range c.nodes {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/ready", n.http))
		if err != nil {
			return false
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return false
		}
	}
	return true
}

// log is all that the node has logged, over all its starts.
func (c *cluster) log(n *node) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, n.name+".log"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// logHas reports whether the node's log holds a text.
func (c *cluster) logHas(n *node, text string) bool { return strings.Contains(c.log(n), text) }
