package socket_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inlet hands on what is stored, call by call.
type inlet struct {
	stored chan []string
	err    error
}

func newInlet() *inlet { return &inlet{stored: make(chan []string, 1024)} }

func (in *inlet) Store(ctx context.Context, records ...string) error {
	if in.err != nil {
		return in.err
	}
	select {
	case in.stored <- slices.Clone(records):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (in *inlet) StoreAt(context.Context, connector.Range, ...string) (connector.Receipt, error) {
	return nil, errors.New("a socket has no positions")
}
func (in *inlet) Position(string) uint64        { return 0 }
func (in *inlet) Pushes() <-chan connector.Push { return nil }

// server accepts connections on a loopback port.
type server struct{ l net.Listener }

func listen(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // closed by some tests
	return &server{l}
}

func (s *server) addr() string { return s.l.Addr().String() }

func (s *server) accept(t *testing.T) net.Conn {
	t.Helper()
	c, err := s.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // closed by some tests
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// run starts a receiver; its end comes on the channel.
func run(ctx context.Context, t *testing.T, addr string, in *inlet) <-chan error {
	t.Helper()
	r, err := socket.NewReceiver(addr)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, in) }()
	return ended
}

// lines waits for so many lines.
func (in *inlet) lines(n int) (all []string, calls int) {
	for len(all) < n {
		all = append(all, <-in.stored...)
		calls++
	}
	return all, calls
}

func TestLinesAreStoredAsTheyComeAndTheEndIsAnError(t *testing.T) {
	s, in := listen(t), newInlet()
	ended := run(t.Context(), t, s.addr(), in)
	c := s.accept(t)
	send(t, c, "one\r\n\ntw")
	if got, _ := in.lines(2); !slices.Equal(got, []string{"one", ""}) {
		t.Errorf("stored %q", got)
	}
	send(t, c, "o\nthe end")
	if got, _ := in.lines(1); !slices.Equal(got, []string{"two"}) {
		t.Errorf("stored %q, and waited for no more", got)
	}
	_ = c.Close()
	if got, _ := in.lines(1); !slices.Equal(got, []string{"the end"}) {
		t.Errorf("stored %q", got)
	}
	if err := <-ended; !errors.Is(err, socket.ErrEnded) || !strings.Contains(err.Error(), s.addr()) {
		t.Errorf("ended with %v, want that there is no more data, and where", err)
	}
}

func TestManyLinesAreStoredTogether(t *testing.T) {
	s, in := listen(t), newInlet()
	ended := run(t.Context(), t, s.addr(), in)
	c := s.accept(t)
	const n = 50_000
	go func() {
		_, _ = c.Write([]byte(strings.Repeat("a line of some words\n", n))) // what is missing is seen below
		_ = c.Close()
	}()
	got, calls := in.lines(n)
	if len(got) != n || calls > n/10 {
		t.Errorf("%d lines in %d calls", len(got), calls)
	}
	<-ended
}

func TestLongLineIsTakenAndATooLongOneEndsTheConnection(t *testing.T) {
	s, in := listen(t), newInlet()
	ended := run(t.Context(), t, s.addr(), in)
	c := s.accept(t)
	long := strings.Repeat("x", socket.MaxLine-1)
	go func() { _, _ = c.Write([]byte(long + "\n" + long + "xx\nnever\n")) }() // it fails when the receiver has ended
	if got, _ := in.lines(1); got[0] != long {
		t.Errorf("a line of %d bytes, want %d", len(got[0]), len(long))
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "longer than 1048576 bytes") {
		t.Errorf("ended with %v", err)
	}
	if len(in.stored) > 0 {
		t.Errorf("stored %q after the line", <-in.stored)
	}
}

func TestReceiverEndsWithItsContextWhereverItWaits(t *testing.T) {
	s := listen(t)
	for _, where := range []string{"before it connects", "while it reads", "while it stores"} {
		t.Run(where, func(t *testing.T) {
			in := newInlet()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if where == "before it connects" {
				cancel()
			}
			if where == "while it stores" {
				in.stored = make(chan []string) // nobody takes what is stored
			}
			ended := run(ctx, t, s.addr(), in)
			if where != "before it connects" {
				send(t, s.accept(t), "line\n")
			}
			if where == "while it reads" {
				<-in.stored
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("ended with %v, want nil", err)
			}
		})
	}
}

func TestRefusedConnectionIsNamed(t *testing.T) {
	s := listen(t)
	_ = s.l.Close()
	if err := <-run(t.Context(), t, s.addr(), newInlet()); err == nil || !strings.Contains(err.Error(), "connect to "+s.addr()) {
		t.Errorf("ended with %v", err)
	}
}

func TestFailedStoreEndsTheReceiver(t *testing.T) {
	s, in := listen(t), newInlet()
	in.err = errors.New("the instance is over")
	ended := run(t.Context(), t, s.addr(), in)
	send(t, s.accept(t), "line\n")
	if err := <-ended; !errors.Is(err, in.err) {
		t.Errorf("ended with %v", err)
	}
}

func TestWrongAddressesAreNamed(t *testing.T) {
	for _, addr := range []string{"", "host", "host:", ":1", "host:0", "host:65536", "host:http", "a:b:c"} {
		if _, err := socket.NewReceiver(addr); err == nil || !strings.Contains(err.Error(), "HOST:PORT") {
			t.Errorf("%q: %v", addr, err)
		}
	}
}
