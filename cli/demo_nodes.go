package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// demoNode is one node of the demo: a process of this binary on loopback.
type demoNode struct {
	name              string
	dir, log          string
	rpc, gossip, http int
	cmd               *exec.Cmd
	exited            chan struct{} // closed when the process has ended
	err               error         // of its end, valid after exited
}

func (n *demoNode) addr() string { return fmt.Sprintf("127.0.0.1:%d", n.rpc) }

// running reports whether the process is there.
func (n *demoNode) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// demoNodes are the nodes of the demo's cluster.
type demoNodes struct {
	binary string
	nodes  []*demoNode
}

// newDemoNodes prepares count nodes below dir on ports that are free now.
func newDemoNodes(dir string, count int) (*demoNodes, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary: %w", err)
	}
	ports, err := freePorts(3 * count)
	if err != nil {
		return nil, err
	}
	d := &demoNodes{binary: binary}
	for i := range count {
		name := fmt.Sprintf("n%d", i+1)
		d.nodes = append(d.nodes, &demoNode{
			name: name, dir: filepath.Join(dir, name), log: filepath.Join(dir, name+".log"),
			rpc: ports[3*i], gossip: ports[3*i+1], http: ports[3*i+2],
		})
	}
	return d, nil
}

// freePorts finds ports that are free on loopback, for TCP and UDP. Another process may take one before it is used; the
// node that wanted it then says so.
func freePorts(count int) ([]int, error) {
	var ports []int
	for len(ports) < count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // held until all are found, so that they differ
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // taken for UDP: try the next
		}
		defer u.Close()
		ports = append(ports, port)
	}
	return ports, nil
}

// start starts the process of a node. Its output goes to its log.
func (d *demoNodes) start(n *demoNode) error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", n.name, err)
	}
	defer log.Close() // the process has its own copy
	args := []string{
		"start", "--data", n.dir, "--name", n.name, "--bind", "127.0.0.1",
		"--rpc-port", fmt.Sprint(n.rpc), "--gossip-port", fmt.Sprint(n.gossip), "--http-port", fmt.Sprint(n.http),
		"--bootstrap-expect", fmt.Sprint(len(d.nodes)),
	}
	for _, o := range d.nodes {
		if o != n {
			args = append(args, "--join", fmt.Sprintf("127.0.0.1:%d", o.gossip))
		}
	}
	cmd := exec.Command(d.binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = withoutOwnEnv(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt typed at the demo is the demo's to handle
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	exited := make(chan struct{})
	n.cmd, n.exited, n.err = cmd, exited, nil
	go func() {
		n.err = cmd.Wait()
		close(exited)
	}()
	return nil
}

// withoutOwnEnv leaves out variables that would configure the nodes.
func withoutOwnEnv(environ []string) []string {
	var out []string
	for _, v := range environ {
		if !strings.HasPrefix(v, "RAFTSTREAM_") {
			out = append(out, v)
		}
	}
	return out
}

// kill ends a node as a crash would and returns when its process is gone.
func (n *demoNode) kill() error {
	if err := n.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", n.name, err)
	}
	<-n.exited
	return nil
}

// failedBut tells which node has ended although nobody asked it to, with the end of its log. The one that is away on
// purpose, nil for none, is not looked at.
func (d *demoNodes) failedBut(away *demoNode) error {
	for _, n := range d.nodes {
		if n != away && n.cmd != nil && !n.running() {
			return fmt.Errorf("node %s ended: %w; its log %s ends with:\n%s", n.name, n.ended(), n.log, tail(n.log))
		}
	}
	return nil
}

func (n *demoNode) ended() error {
	if n.err == nil {
		return errors.New("exit status 0")
	}
	return n.err
}

// tail gives the last lines of a file.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// leaveGrace is how long a node has to leave in order.
const leaveGrace = 8 * time.Second

// stopAll lets every node leave in order and ends those that do not.
func (d *demoNodes) stopAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveGrace)
	defer cancel()
	for _, n := range d.nodes {
		if n.running() {
			_ = n.cmd.Process.Signal(syscall.SIGTERM) // if it has ended meanwhile, all is well
		}
	}
	for _, n := range d.nodes {
		if !n.running() {
			continue
		}
		select {
		case <-n.exited:
		case <-ctx.Done():
			_ = n.kill()
		}
	}
}
