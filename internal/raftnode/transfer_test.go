package raftnode

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pausedStream is the port of a process that can be paused: it still accepts, and nothing is read any more.
type pausedStream struct {
	Stream
	mu   sync.Mutex
	goOn chan struct{} // nil: it is not paused
}

func (s *pausedStream) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.goOn = make(chan struct{})
}

func (s *pausedStream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.goOn)
	s.goOn = nil
}

func (s *pausedStream) wait(closed <-chan struct{}) {
	s.mu.Lock()
	goOn := s.goOn
	s.mu.Unlock()
	if goOn != nil {
		select {
		case <-goOn:
		case <-closed:
		}
	}
}

func (s *pausedStream) Accept() (net.Conn, error) {
	c, err := s.Stream.Accept()
	return s.own(c), err
}

func (s *pausedStream) Dial(to string, timeout time.Duration) (net.Conn, error) {
	c, err := s.Stream.Dial(to, timeout)
	return s.own(c), err
}

func (s *pausedStream) own(c net.Conn) net.Conn {
	if c == nil {
		return nil
	}
	return &pausedConn{Conn: c, stream: s, closed: make(chan struct{})}
}

type pausedConn struct {
	net.Conn
	stream *pausedStream
	once   sync.Once
	closed chan struct{}
}

func (c *pausedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.stream.wait(c.closed) // what the kernel has read for it already
	return n, err
}

func (c *pausedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// pausedFollower makes three nodes lead by one, and pauses another one, the first in the configuration that may be.
func pausedFollower(t *testing.T, c *cluster) (leader *member, term uint64, paused string, wake func()) {
	t.Helper()
	ports := map[string]*pausedStream{}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.start(name, NewMemoryDisk(), func(cfg *Config) {
			ports[name] = &pausedStream{Stream: cfg.Stream}
			cfg.Stream = ports[name]
		})
	}
	leader, term = c.lead()
	servers := leader.Configuration()
	first := slices.IndexFunc(servers, func(s Server) bool { return s.ID != leader.config.ID })
	paused = servers[first].ID
	until(t, "everybody has everything", func() bool {
		return !slices.ContainsFunc(servers, func(s Server) bool { return c.nodes[s.ID].View().Index() != leader.View().Index() })
	})
	synctest.Wait()
	ports[paused].pause()
	return leader, term, paused, ports[paused].wake
}

// A process that is paused cannot take the lead. Whoever tries to hand over to it must not stand still for as long.
func TestTransferToAPausedDriverStopsTheLedgerForAnElectionTimeoutAtMost(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		leader, term, paused, wake := pausedFollower(t, c)
		defer wake()
		began := time.Now()
		if err := leader.TransferTo(t.Context(), paused); err == nil {
			t.Error("a paused process took the lead")
		}
		for n := 0; ; n++ {
			_, err := leader.Propose(t.Context(), term, session(n))
			if err == nil {
				break
			}
			if !errors.Is(err, ErrNotLeader) || time.Since(began) > time.Minute {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if took, most := time.Since(began), 2*leader.config.ElectionTimeout; took > most {
			t.Errorf("nothing could be proposed for %v, at most %v is allowed", took, most)
		}
	})
}

// Whoever repeats the command must not stop the ledger again and again.
func TestTransferToADriverThatIsSilentForLongIsNotTried(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		leader, term, paused, wake := pausedFollower(t, c)
		time.Sleep(recent)
		if err := leader.TransferTo(t.Context(), paused); !errors.Is(err, ErrSilent) {
			t.Errorf("%v, expected %v", err, ErrSilent)
		}
		c.must(leader, term, session(1))
		wake()
		until(t, "it answers again", func() bool { return leader.TransferTo(t.Context(), paused) == nil })
		if now, _ := c.leader(leader.config.ID); now.config.ID != paused {
			t.Errorf("%s leads, expected %s", now.config.ID, paused)
		}
	})
}

func TestTransferToNobodyInParticularChoosesADriverThatAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		leader, _, paused, wake := pausedFollower(t, c)
		defer wake()
		time.Sleep(recent)
		if err := leader.Transfer(t.Context()); err != nil {
			t.Fatal(err)
		}
		now, _ := c.leader(leader.config.ID)
		if now.config.ID == paused {
			t.Error("the paused one leads")
		}
	})
}

// Rule 9: clocks must know which entries they were not told of in time.
func TestEntriesThatWereCommittedWhileADriverWasPausedAreMissed(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		leader, term, paused, wake := pausedFollower(t, c)
		follower := c.nodes[paused]
		if m := follower.Missed(); m > leader.View().Index() {
			t.Fatalf("missed up to %d, before anything was", m)
		}
		time.Sleep(2 * recent)
		c.must(leader, term, session(1))
		missed := leader.View().Index()
		time.Sleep(recent)
		wake()
		until(t, "it has what it missed", func() bool { return follower.View().Index() >= missed })
		if m := follower.Missed(); m < missed {
			t.Errorf("missed up to %d, expected %d at least", m, missed)
		}
		time.Sleep(2 * recent)
		last := c.must(leader, term, session(2))
		until(t, "it has what came after", func() bool { return follower.View().Index() >= last.Index })
		if m := follower.Missed(); m >= last.Index {
			t.Errorf("missed up to %d, expected less than %d, of which it was told at once", m, last.Index)
		}
	})
}
