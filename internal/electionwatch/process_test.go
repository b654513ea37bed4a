package electionwatch

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// helperNode is the environment variable that makes this test binary a node's process instead.
const helperNode = "RAFTSTREAM_TEST_WATCHED_NODE"

// helper serves as a node until it is killed, and says on stdout where.
func helper(node string) {
	rpc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	gossip, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	h, err := NewHello(node, 1)
	if err != nil {
		panic(err)
	}
	fmt.Println(rpc.Addr(), gossip.Addr())
	panic(Serve(context.Background(), rpc, h))
}

// process starts a node as a process of its own.
func process(t *testing.T, node string) (*exec.Cmd, Peer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperNode+"="+node)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // if the test has not
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addrs := strings.Fields(line)
	return cmd, Peer{Node: node, Addr: addrs[0], Gossip: addrs[1]}
}

func signal(t *testing.T, cmd *exec.Cmd, s os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Rule 3: a stopped process is silent, not dead; killed, it is.
func TestStoppedProcessIsNotDeadUntilItIsKilled(t *testing.T) {
	stopped, at := process(t, "stopped")
	killed, other := process(t, "killed")
	w := watch(t, at, other)
	w.until(t, "stopped", Alive)
	w.until(t, "killed", Alive)
	signal(t, stopped, syscall.SIGSTOP)
	signal(t, killed, syscall.SIGKILL)
	w.told(t, "killed") // so there was time to be wrong about the other one
	w.silent(t)
	if !w.Alive("stopped") || w.Dead("stopped", 1) {
		t.Error("a process that was stopped is said to be dead")
	}
	signal(t, stopped, syscall.SIGKILL)
	w.told(t, "stopped")
	if !w.Dead("stopped", 1) {
		t.Error("the killed process is not said to be dead")
	}
}
