package link_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/link"
	"github.com/raftstream/raftstream/chaos/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var available = sync.OnceValue(link.Available)

// open makes a network that ends with the test.
func open(t testing.TB, nodes int) *link.Network {
	t.Helper()
	if err := available(); err != nil {
		t.Skipf("LEFT OUT: %v", err)
	}
	n, err := link.Open(link.Config{Seed: 1, Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// group joins the goroutines of a test.
func group(t testing.TB) *sync.WaitGroup {
	var g sync.WaitGroup
	t.Cleanup(g.Wait)
	return &g
}

// listen opens a TCP port of a node and gives each connection to serve.
func listen(t testing.TB, n *link.Network, node string, port int, serve func(net.Conn)) string {
	t.Helper()
	addr := fmt.Sprintf("%s:%d", n.Addr(node), port)
	var l net.Listener
	if err := n.Start(node, func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	g := group(t)
	g.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() { l.Close() })
	return addr
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// dial connects from a node.
func dial(n *link.Network, node, addr string, wait time.Duration) (net.Conn, error) {
	var c net.Conn
	err := n.Start(node, func() (err error) {
		c, err = net.DialTimeout("tcp", addr, wait)
		return err
	})
	return c, err
}

// said sends text over a connection of an echo and returns what comes back.
func said(c net.Conn, text string, wait time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("echo of %q is %q", text, got)
	}
	return nil
}

// connected dials, and speaks once.
func connected(t testing.TB, n *link.Network, node, addr, first string) net.Conn {
	t.Helper()
	c, err := dial(n, node, addr, 5*time.Second)
	if err != nil {
		t.Fatalf("dial %s from %s: %v", addr, node, err)
	}
	t.Cleanup(func() { c.Close() })
	if err := said(c, first, 5*time.Second); err != nil {
		t.Fatalf("echo of %s to %s: %v", addr, node, err)
	}
	return c
}

// datagrams opens a UDP socket of a node.
func datagrams(t testing.TB, n *link.Network, node string, port int) *net.UDPConn {
	t.Helper()
	var c net.PacketConn
	if err := n.Start(node, func() (err error) {
		c, err = net.ListenPacket("udp", fmt.Sprintf("%s:%d", n.Addr(node), port))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// received reads datagrams until none comes for the wait.
func received(t testing.TB, c net.PacketConn, wait time.Duration) []string {
	t.Helper()
	return receivedUpTo(t, c, -1, wait)
}

// receivedUpTo reads as many datagrams, or until none comes for the wait.
func receivedUpTo(t testing.TB, c net.PacketConn, count int, wait time.Duration) []string {
	t.Helper()
	var all []string
	buf := make([]byte, 2048)
	for len(all) != count {
		if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		n, _, err := c.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(buf[:n]))
	}
	return all
}

// sendMany sends numbered datagrams.
func sendMany(t testing.TB, from net.PacketConn, to net.PacketConn, count int) {
	t.Helper()
	for i := range count {
		if _, err := from.WriteTo(fmt.Appendf(nil, "%d", i), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
}

func inject(t testing.TB, n *link.Network, e schedule.Event, targets ...string) *link.Fault {
	t.Helper()
	f, err := n.Inject(t.Context(), e, targets)
	if err != nil {
		t.Fatal(err)
	}
	return f.(*link.Fault)
}

// heal ends a fault and demands that it took effect.
func heal(t testing.TB, f chaos.Fault) chaos.Proof {
	t.Helper()
	proof, err := f.Heal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if proof.Bites == 0 {
		t.Errorf("no %s, expected some", proof.What)
	}
	return proof
}

func TestEveryNodeReachesEveryOther(t *testing.T) {
	n := open(t, 5)
	stations := append(n.Nodes(), link.Client)
	addrs := map[string]string{}
	for _, s := range stations {
		addrs[s] = listen(t, n, s, 7077, echo)
	}
	for _, from := range stations {
		for _, to := range stations {
			connected(t, n, from, addrs[to], from+" to "+to)
		}
	}
	c, err := n.Dial(t.Context(), addrs["n3"])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if host, _, _ := net.SplitHostPort(c.LocalAddr().String()); host != n.Addr(link.Client) {
		t.Errorf("Dial came from %s, expected %s", host, n.Addr(link.Client))
	}
	if err := said(c, "hello", 5*time.Second); err != nil {
		t.Error(err)
	}
}

func TestALoopbackAddressIsTheNodesOwn(t *testing.T) {
	n := open(t, 2)
	var l net.Listener
	if err := n.Start("n1", func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:7077")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err := dial(n, "n1", "127.0.0.1:7077", 5*time.Second); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if c, err := dial(n, "n2", "127.0.0.1:7077", 5*time.Second); err == nil {
		c.Close()
		t.Error("n2 reached n1's loopback")
	}
}

func TestProcessesLiveInTheirNodesNamespace(t *testing.T) {
	n := open(t, 2)
	namespaces := map[string]bool{}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range append(n.Nodes(), link.Client) {
		log := filepath.Join(t.TempDir(), "log")
		var p *chaos.Process
		if err := n.Start(node, func() (err error) {
			p, err = chaos.StartProcess("/bin/sh", log, nil, "-c", "readlink /proc/self/ns/net; cat /proc/net/dev")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		<-p.Exited()
		out, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		ns, rest, _ := strings.Cut(string(out), "\n")
		if !strings.HasPrefix(ns, "net:[") || ns == own || namespaces[ns] || !strings.Contains(rest, "eth0:") {
			t.Errorf("a process of %s is in %s with interfaces %s\nexpected a namespace other than %s and those of others", node, ns, rest, own)
		}
		namespaces[ns] = true
	}
	if after, err := os.Readlink("/proc/self/ns/net"); err != nil || after != own {
		t.Errorf("this process is in %s, expected %s; error %v", after, own, err)
	}
}

func TestNothingIsLeftOfANetwork(t *testing.T) {
	open(t, 1) // skips without root
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	interfaces := func() string {
		all, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(all)
	}
	host := interfaces()
	use := func(t *testing.T) {
		n, err := link.Open(link.Config{Nodes: 5})
		if err != nil {
			t.Fatal(err)
		}
		if got := interfaces(); got != host {
			t.Errorf("interfaces of the host are %s, expected %s", got, host)
		}
		if err := n.Start("n1", func() error { return exec.Command("/bin/true").Run() }); err != nil {
			t.Error(err)
		}
		inject(t, n, schedule.Event{Kind: schedule.Delay, DelayMS: 60_000}, "n1")
		out := datagrams(t, n, "n1", 9000)
		sendMany(t, out, datagrams(t, n, "n2", 9000), 10)
		if err := errors.Join(n.Close(), n.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Run("once", use)
	files, threads := count("/proc/self/fd"), count("/proc/self/task")
	for range 10 {
		t.Run("again", use)
	}
	if got := count("/proc/self/fd"); got > files {
		t.Errorf("%d files are open after 10 networks, %d before", got, files)
	}
	if got := count("/proc/self/task"); got > threads+6 {
		t.Errorf("%d threads after 10 networks, %d before", got, threads)
	}
	if got := interfaces(); got != host {
		t.Errorf("interfaces of the host are %s, expected %s", got, host)
	}
}

func TestStartSaysWhatWentWrong(t *testing.T) {
	n := open(t, 1)
	failure := errors.New("no such luck")
	if err := n.Start("n1", func() error { return failure }); !errors.Is(err, failure) {
		t.Errorf("error %v, expected %v", err, failure)
	}
	if err := n.Start("n2", func() error { return nil }); err == nil {
		t.Error("a node that is not there started something")
	}
	if _, err := n.Dial(t.Context(), "n1:7077"); err == nil {
		t.Error("a name was dialed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Dial(ctx, n.Addr("n1")+":7077"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, expected %v", err, context.Canceled)
	}
}

func TestANetworkHasOneTo99Nodes(t *testing.T) {
	for _, nodes := range []int{-1, 0, 100} {
		if n, err := link.Open(link.Config{Nodes: nodes}); err == nil {
			n.Close()
			t.Errorf("a network of %d nodes was opened", nodes)
		}
	}
}

// numbers gives what sendMany sends.
func numbers(count int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := range count {
			if !yield(fmt.Sprint(i)) {
				return
			}
		}
	}
}
