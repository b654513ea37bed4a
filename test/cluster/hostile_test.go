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
	"sync/atomic"
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
		{"of gossip", "\x08", "it is the oldest of", func(n *node) int { return n.gossip }, 2000},
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

// holdLong opens calls on a connection to the rpc port, each with nearly all of a message of 64 MiB, until the port breaks
// it off. It says the protocol by hand, as no client of gRPC sends less than it has announced.
func holdLong(addr string, calls int) (sent int64, err error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
	frame := func(kind, flags byte, call int, payload []byte) {
		if err == nil {
			n := len(payload)
			head := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, 0, 0, byte(call >> 8), byte(call)}
			_, err = c.Write(append(head, payload...))
			sent += int64(n)
		}
	}
	_, err = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	frame(4, 0, 0, nil) // settings
	const path = "/raftstream.cluster.v1.Cluster/Launch"
	headers := "\x83\x86\x01\x01n\x04" + string(rune(len(path))) + path + "\x0f\x10\x10application/grpc\x00\x02te\x08trailers"
	for i := range calls {
		frame(1, 4, 2*i+1, []byte(headers))
		frame(0, 0, 2*i+1, []byte{0, 4, 0, 0, 0}) // 64 MiB will follow, says the prefix: the call asks for them
	}
	junk := make([]byte, 16<<10)
	for range 60 << 20 / len(junk) {
		for i := range calls {
			frame(0, 0, 2*i+1, junk)
		}
	}
	if err == nil { // all of it was taken: hold it
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	return sent, err
}

// A few connections with many calls, each of which holds most of the longest message: the node lives within its memory,
// says whom it breaks off, and whoever sends what he announced is heard.
func TestANodeLivesThroughMessagesThatDoNotEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("gigabytes; left out by -short")
	}
	t.Parallel()
	c := newCluster(t, 1)
	c.startWordCount("wc")
	n := c.nodes[0]
	stop := make(chan struct{})
	var sent atomic.Int64
	var hostile sync.WaitGroup
	for range 3 {
		hostile.Go(func() {
			for {
				k, _ := holdLong(fmt.Sprintf("127.0.0.1:%d", n.rpc), 16) // how it is broken off does not matter
				sent.Add(k)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	lines := text(t, 1000)
	c.feed("wc", "p", lines, time.Second).wait(t, 60*time.Second)
	close(stop)
	hostile.Wait()
	if a := c.stopped("wc"); a.Processed != int64(len(lines)) {
		t.Errorf("%d lines processed, expected %d", a.Processed, len(lines))
	}
	if !c.logHas(n, "broken off: its calls held") {
		t.Error("the log does not say whom the node broke off")
	}
	peak := n.peak(t)
	t.Logf("%d MiB were sent; the node's memory was %d MiB at most", sent.Load()>>20, peak>>20)
	if peak > memoryMax {
		t.Errorf("the node took %d MiB, expected at most %d", peak>>20, memoryMax>>20)
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
