package raftnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// tcpStream is a stream over loopback.
type tcpStream struct{ net.Listener }

func (tcpStream) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", addr, timeout)
}

func listen(t testing.TB) Stream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return tcpStream{l}
}

// alone runs a cluster of one node on real files.
func alone(t testing.TB, dir string) (*Node, uint64) {
	t.Helper()
	s := listen(t)
	n, err := Open(Config{
		Dir: dir, ID: "node-one", Name: "n1", Addr: s.Addr().String(), Expect: 1, Stream: s,
		HeartbeatTimeout: 50 * time.Millisecond, ElectionTimeout: 50 * time.Millisecond, LeaseTimeout: 50 * time.Millisecond,
		Fatal: func(err error) { t.Error("fatal:", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	var term uint64
	for l := range n.Leadership() {
		if l.Leader {
			term = l.Term
			break
		}
	}
	if err := n.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := n.Propose(ctx, term, &fsm.Epoch{Term: term, Leader: "node-one", Name: "n1", Addr: s.Addr().String()})
	if err != nil || r.Outcome != fsm.Done {
		t.Fatal(r, err)
	}
	return n, term
}

func TestANodeOnRealFilesKeepsItsStateAndRefusesDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	n, term := alone(t, dir)
	for i := range 50 {
		if r, err := n.Propose(t.Context(), term, session(i)); err != nil || r.Outcome != fsm.Done {
			t.Fatal(r, err)
		}
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n, _ = alone(t, dir)
	if got := len(sessions(n)); got != 50 {
		t.Errorf("%d sessions after the restart, expected 50", got)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "raft.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte("s49"), []byte("s48")) // wherever it is: pages that are free hold copies
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := listen(t)
	defer s.Close()
	_, err = Open(Config{
		Dir: dir, ID: "node-one", Addr: s.Addr().String(), Stream: s,
		Fatal: func(err error) { t.Error("fatal:", err) },
	})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v, expected damage in %s", err, path)
	}
}

func sessions(n *Node) (names []string) {
	for s := range n.View().Sessions() {
		names = append(names, s.Name)
	}
	return names
}

func TestAVoteIsAskedForAgainOverAStaleConnection(t *testing.T) {
	// A pooled connection to a peer that restarted since must not cost a vote: requests are repeated.
	calls := 0
	err := again(func() error {
		if calls++; calls < 3 {
			return fmt.Errorf("read: %w", net.ErrClosed)
		}
		return nil
	})
	if !errors.Is(err, net.ErrClosed) || calls != 1 {
		t.Errorf("an error that is not a stale connection was tried %d times, ended with %v", calls, err)
	}
	synctest.Test(t, func(t *testing.T) { // a busy machine uses up no time in which requests are repeated
		calls, s := 0, listen(t)
		defer s.Close()
		err := again(func() error {
			if calls++; calls == 3 {
				return nil
			}
			return staleRead(t, s)
		})
		if err != nil || calls != 3 {
			t.Errorf("tried %d times, ended with %v", calls, err)
		}
	})
}

// staleRead reads from a connection that its peer has closed.
func staleRead(t *testing.T, s Stream) error {
	t.Helper()
	c, err := s.Dial(s.Addr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Read(make([]byte, 1))
	return fmt.Errorf("vote: %w", err)
}

// BenchmarkGroupCommit is commands per second of one node on real files, with many callers.
func BenchmarkGroupCommit(b *testing.B) {
	for _, callers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			n, term := alone(b, b.TempDir())
			defer func() {
				if err := n.Close(); err != nil {
					b.Error(err)
				}
			}()
			r, err := n.Propose(b.Context(), term, session(0))
			if err != nil {
				b.Fatal(err)
			}
			held := &fsm.InventoryReported{Session: id.Session(r.Index), First: true, Last: true}
			before := n.Stats()
			work := make(chan struct{}, callers)
			b.ResetTimer()
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for range work {
						if _, err := n.Propose(b.Context(), term, held); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			all.Wait()
			b.StopTimer()
			after := n.Stats()
			b.ReportMetric(float64(after.Commands-before.Commands)/float64(after.Entries-before.Entries), "commands/entry")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}
