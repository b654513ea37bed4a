package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// port opens a port on loopback and serves gRPC and an echo as Raft on it.
func port(t *testing.T, sec Security) *Port {
	t.Helper()
	p, err := Listen(PortConfig{Bind: "127.0.0.1:0", Security: sec})
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(ServerConfig{Security: sec, Ready: func() bool { return true }})
	served := make(chan error, 1)
	go func() { served <- s.Serve(p.GRPC()) }()
	var echoes sync.WaitGroup
	echoes.Go(func() { echo(p.Raft(), "raft") })
	echoes.Go(func() { echo(p.Watch(), "watch") })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.Stop(ctx)
		if err := p.Close(); err != nil {
			t.Errorf("close port: %v", err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		echoes.Wait()
	})
	return p
}

// echo says its name on every connection, and then whatever it is told.
func echo(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := io.WriteString(c, name); err == nil {
				_, _ = io.Copy(c, c) // ends when the test hangs up
			}
		}()
	}
}

func securities(t *testing.T) map[string]Security {
	return map[string]Security{"plain": {}, "TLS": newAuthority(t).node(t)}
}

func healthy(t *testing.T, addr string, sec Security) error {
	t.Helper()
	cc, err := connect(addr, sec, dialTCP)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	if err == nil && r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("health is %v", r.GetStatus())
	}
	return err
}

// ping makes sure that the other end of a connection is the echo of that name.
func ping(c net.Conn, name string) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	b := make([]byte, len(name))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != name {
		return fmt.Errorf("%q answered, expected %s: %w", b, name, err)
	}
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	b = make([]byte, 4)
	_, err := io.ReadFull(c, b)
	return err
}

func TestRaftTheWatchAndGRPCShareThePort(t *testing.T) {
	for name, sec := range securities(t) {
		t.Run(name, func(t *testing.T) {
			p := port(t, sec)
			c, err := p.Raft().Dial(p.Addr(), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := ping(c, "raft"); err != nil {
				t.Errorf("raft: %v", err)
			}
			w, err := p.Watch().Dial(t.Context(), p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if err := ping(w, "watch"); err != nil {
				t.Errorf("watch: %v", err)
			}
			if err := healthy(t, p.Addr(), sec); err != nil {
				t.Errorf("grpc: %v", err)
			}
		})
	}
}

func TestPortWithTLSRefusesOthers(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	p := port(t, ours.node(t))
	for name, sec := range map[string]Security{"plain": {}, "another authority": theirs.node(t)} {
		if err := healthy(t, p.Addr(), sec); err == nil {
			t.Errorf("gRPC with %s was let in", name)
		}
		stranger := &Port{security: sec}
		s := &RaftStream{&rawStream{newLane(address(""), 1), stranger, "raft", raftMagic, protoRaft}}
		c, err := s.Dial(p.Addr(), 5*time.Second)
		if err != nil {
			continue
		}
		if err := ping(c, "raft"); err == nil {
			t.Errorf("raft with %s was let in", name)
		}
		c.Close()
	}
	// A certificate of the right authority is needed by the server's side as well.
	q := port(t, theirs.node(t))
	if err := healthy(t, q.Addr(), ours.node(t)); err == nil {
		t.Error("a node of another authority was believed")
	}
	half := ours.node(t)
	half.Authority = nil
	if _, err := Listen(PortConfig{Bind: "127.0.0.1:0", Security: half}); err == nil {
		t.Error("a certificate without an authority was taken")
	}
}

func TestPortInUseIsNamed(t *testing.T) {
	p := port(t, Security{})
	_, err := Listen(PortConfig{Bind: p.Addr()})
	if !errors.Is(err, ErrPortInUse) {
		t.Errorf("second listener on %s: %v, expected ErrPortInUse", p.Addr(), err)
	}
}

func TestRaftOfAnotherClusterIsRefused(t *testing.T) { // rule 2
	p, q := port(t, Security{}), port(t, Security{})
	try := func() error {
		c, err := q.Raft().Dial(p.Addr(), 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		return ping(c, "raft")
	}
	if err := try(); err != nil {
		t.Errorf("neither belongs to a cluster: %v", err)
	}
	p.JoinCluster("one")
	if err := try(); err != nil {
		t.Errorf("the dialer belongs to none yet: %v", err)
	}
	q.JoinCluster("one")
	if err := try(); err != nil {
		t.Errorf("same cluster: %v", err)
	}
	q.JoinCluster("two")
	if err := try(); err == nil {
		t.Error("a node of another cluster was let in")
	}
	c, err := q.Watch().Dial(t.Context(), p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := ping(c, "watch"); err == nil {
		t.Error("a watch of another cluster was let in")
	}
}

// Who watches takes the refusal of a dial for evidence: it must be known as one, with TLS too.
func TestRefusedDialOfTheWatchIsKnownAsOne(t *testing.T) {
	for name, sec := range securities(t) {
		t.Run(name, func(t *testing.T) {
			p := port(t, sec)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			nobody := l.Addr().String()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Watch().Dial(t.Context(), nobody); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("error is %v, expected ECONNREFUSED", err)
			}
		})
	}
}

func TestStrangersAreHungUpOn(t *testing.T) {
	p := port(t, Security{})
	for name, say := range map[string]string{"TLS": "\x16\x03\x01", "other": "GET / HTTP/1.1\r\n\r\n", "raft's newer version": "\xa7\x02\x00"} {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(say)); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: read %d bytes, %v, expected the end", name, n, err)
		}
		c.Close()
	}
}

// Close must not wait for those who connected and said nothing.
func TestCloseInterruptsHandshakes(t *testing.T) {
	p, err := Listen(PortConfig{Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > handshakeTime/2 {
		t.Errorf("Close took %v", took)
	}
	if err := p.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := p.GRPC().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

func TestSilentConnectionsDoNotKeepOthersOut(t *testing.T) {
	p := port(t, Security{})
	for range 8 * pendingMax { // with the time of a handshake for each place they would take forty seconds
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	end := time.Now().Add(4 * handshakeTime)
	err := healthy(t, p.Addr(), Security{})
	for err != nil && time.Now().Before(end) { // one attempt to connect is short, and those before it take a moment
		err = healthy(t, p.Addr(), Security{})
	}
	if err != nil {
		t.Error(err)
	}
}

func TestOpenConnectionsAreBoundedAndSayWhy(t *testing.T) {
	for name, sec := range securities(t) {
		t.Run(name, func(t *testing.T) {
			p := port(t, sec)
			p.raft.open = make(chan struct{}, 2)
			dial := func() (net.Conn, error) {
				c, err := p.Raft().Dial(p.Addr(), 10*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				_, err = io.ReadFull(c, make([]byte, len("raft")))
				return c, err
			}
			var held []net.Conn
			for range 2 {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, c)
			}
			if c, err := dial(); err == nil {
				t.Error("a third connection was let in, expected two at most")
			} else {
				_ = c.Close()
			}
			_ = held[0].Close()
			for { // its place is free when the far end has noticed
				c, err := dial()
				_ = c.Close()
				if err == nil {
					break
				}
			}
			if err := healthy(t, p.Addr(), sec); err != nil {
				t.Errorf("another lane: %v", err)
			}
			_ = held[1].Close()
		})
	}
}

func TestAFloodOfRefusalsIsToldInAFewLines(t *testing.T) {
	var r refusals
	now := time.Unix(100, 0)
	lines, untold := 0, 0
	for i := range 10_000 {
		if n, ok := r.next(now.Add(time.Duration(i) * time.Millisecond)); ok {
			lines++
			untold += n
		}
	}
	if lines != 10*refusalsTold || lines+untold+r.untold != 10_000 {
		t.Errorf("%d lines tell of %d more, %d are untold; expected %d lines, and 10000 in all", lines, untold, r.untold, 10*refusalsTold)
	}
}
