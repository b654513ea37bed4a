package cluster

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// memoryMax is what a small node may take while strangers do their worst, in bytes.
const memoryMax = 512 << 20

// peak is the most memory that the node's process had so far, in bytes.
func (n *node) peak(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.proc.Pid()))
	if err != nil {
		t.Skipf("the peak of the memory is read from Linux: %v", err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no peak of memory in the status of the process")
	return 0
}

// flood opens connections to addr, says something on each and holds them. It gives how many of them are open.
func flood(t *testing.T, addr string, count int, say string) (open int) {
	t.Helper()
	for range count {
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			continue // refused, or the queue of the kernel is full
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := io.WriteString(c, say); err == nil {
			open++
		}
	}
	return open
}

// Ten thousand connections that say nothing, or half of something, to each port: the node lives within its memory, says
// what it refuses, and whoever has something to say is heard.
func TestANodeLivesThroughIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand connections; left out by -short")
	}
	t.Parallel()
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, tt := range []struct {
		name, say, refusal string
		port               func(*node) int
		count              int
	}{
		{"silent", "", "did not say what it is for", func(n *node) int { return n.rpc }, 10_000},
		{"of gRPC", preface, "too many connections", func(n *node) int { return n.rpc }, 4000},
		{"of Raft", "\xa7\x01\x00", "too many connections", func(n *node) int { return n.rpc }, 1000},
		{"of the election watch", "\xa8\x01\x00", "", func(n *node) int { return n.rpc }, 2000},
		{"of HTTP", "GET /ready HTTP/1.1\r\nX-Slow: ", "http port: connection refused", func(n *node) int { return n.http }, 2000},
		{"of gossip", "\x08", "", func(n *node) int { return n.gossip }, 2000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t, 1)
			c.startWordCount("wc")
			n := c.nodes[0]
			lines := text(t, 1000)
			open := flood(t, fmt.Sprintf("127.0.0.1:%d", tt.port(n)), tt.count, tt.say)
			f := c.feed("wc", "p", lines, time.Second)
			f.wait(t, 60*time.Second)
			if a := c.stopped("wc"); a.Processed != int64(len(lines)) {
				t.Errorf("%d lines processed, expected %d", a.Processed, len(lines))
			}
			if tt.refusal != "" && !c.logHas(n, tt.refusal) {
				t.Errorf("the log does not say %q", tt.refusal)
			}
			peak := n.peak(t)
			t.Logf("%d of %d connections were taken; the node's memory was %d MiB at most", open, tt.count, peak>>20)
			if peak > memoryMax {
				t.Errorf("the node took %d MiB, expected at most %d", peak>>20, memoryMax>>20)
			}
		})
	}
}

// A source whose line never ends is told so, and the node keeps what it has read of it within bounds.
func TestALineThatDoesNotEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("gigabytes; left out by -short")
	}
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var sent int64
	var mu sync.Mutex
	var serving sync.WaitGroup
	serving.Go(func() {
		junk := []byte(strings.Repeat("x", 1<<20))
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			for { // as much as the other side takes, up to ten gigabytes on a connection
				n, err := conn.Write(junk)
				mu.Lock()
				sent += int64(n)
				over := sent > 10<<30
				mu.Unlock()
				if err != nil || over {
					break
				}
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	c := newCluster(t, 1)
	c.must("submit", "wordcount", "--name", "sock", "--batch", "200ms", "--param", "source=socket:"+l.Addr().String(), "--param", "out="+filepath.Join(c.dir, "sock"))
	c.startWordCount("wc")
	n := c.nodes[0]
	await(t, 60*time.Second, "the error of the receiver to name the line", func() bool {
		return strings.Contains(c.must("receivers", "sock"), "longer than") || c.logHas(n, "a line is longer than")
	})
	lines := text(t, 1000)
	c.feed("wc", "p", lines, time.Second).wait(t, 60*time.Second)
	if a := c.stopped("wc"); a.Processed != int64(len(lines)) {
		t.Errorf("%d lines processed beside it, expected %d", a.Processed, len(lines))
	}
	if peak := n.peak(t); peak > memoryMax {
		t.Errorf("the node took %d MiB, expected at most %d", peak>>20, memoryMax>>20)
	}
}
