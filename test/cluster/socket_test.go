package cluster

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// lineServer sends lines to whoever connects, each line once, at a steady pace.
type lineServer struct {
	listener net.Listener
	sent     chan error // how it ended
}

func serveLines(t *testing.T, lines []string, over time.Duration) *lineServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &lineServer{listener: l, sent: make(chan error, 1)}
	t.Cleanup(func() { l.Close() })
	go func() { s.sent <- s.serve(lines, over) }()
	return s
}

// serve sends everything to the first connection and keeps it open. A second connection is an error: what the first one
// had been sent could be lost.
func (s *lineServer) serve(lines []string, over time.Duration) error {
	conn, err := s.listener.Accept()
	if err != nil {
		return err
	}
	again := make(chan struct{})
	go func() {
		if second, err := s.listener.Accept(); err == nil {
			second.Close()
			close(again)
		}
	}()
	w := bufio.NewWriter(conn)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for sent := 0; sent < len(lines); <-tick.C {
		due := min(len(lines), int(float64(len(lines))*float64(time.Since(start))/float64(over))+1)
		for ; sent < due; sent++ {
			if _, err := fmt.Fprintln(w, lines[sent]); err != nil {
				return fmt.Errorf("line %d: %w", sent, err)
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		select {
		case <-again:
			return fmt.Errorf("after %d lines another connection came", sent)
		default:
		}
	}
	return nil // the connection stays open until the process of the test ends
}

// A socket cannot send again: what its executor holds is lost with it. The death of a leader elsewhere costs nothing.
func TestSocketLosesNothingWhenTheLeaderIsKilledElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes for a minute; left out by -short")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 33))
	lines := text(t, lineCount)
	c := newCluster(t, 3)
	s := serveLines(t, lines, 25*time.Second)
	prefix := c.submitCount("wc", "200ms", "source=socket:"+s.listener.Addr().String())
	await(t, 30*time.Second, "some received records", func() bool { return c.app("wc").Received > 1000 })
	kills := 0
	for range 8 {
		pause(t, time.Duration(500+random.IntN(1500))*time.Millisecond)
		leader := c.waitLeader(30 * time.Second)
		if leader == c.holder("receiver", "wc") {
			c.must("members", "transfer") // to a node that does not run the receiver, sooner or later
			continue
		}
		if err := leader.proc.Kill(); err != nil {
			t.Fatal(err)
		}
		kills++
		c.waitLeaderOtherThan(leader, 30*time.Second)
		c.start(leader)
	}
	if kills == 0 {
		t.Fatal("the leader always ran the receiver: no leader was killed")
	}
	select {
	case err := <-s.sent:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(120 * time.Second):
		t.Fatal("the lines were not sent within two minutes")
	}
	await(t, 60*time.Second, "every line to be received", func() bool { return c.app("wc").Received >= int64(len(lines)) })
	t.Logf("%d leaders killed", kills)
	c.finish("wc", prefix, lines)
}
