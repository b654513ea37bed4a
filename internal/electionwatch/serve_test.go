package electionwatch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// serve serves a hello on loopback; end ends it and gives what Serve returned.
func serve(t *testing.T, node string) (addr string, h Hello, end func() error) {
	t.Helper()
	h, err := NewHello(node, 7)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, h) }()
	return l.Addr().String(), h, func() error {
		cancel()
		return <-done
	}
}

func TestEveryConnectionIsGreetedAndHeld(t *testing.T) {
	addr, h, end := serve(t, "a")
	var conns []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := readHello(c, time.Now().Add(patience))
		if err != nil || got != h {
			t.Fatalf("hello is %+v, %v, expected %+v", got, err, h)
		}
		conns = append(conns, c)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	for _, c := range conns {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection ended with %v after Serve had", err)
		}
	}
}

func TestWhoTalksIsHungUpOn(t *testing.T) {
	addr, _, end := serve(t, "a")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := readHello(c, time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection ended with %v", err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestTwoStartsHaveTwoNonces(t *testing.T) {
	a, err := NewHello("a", 1)
	b, err2 := NewHello("a", 1)
	if err != nil || err2 != nil || a.Nonce == b.Nonce {
		t.Errorf("nonces %x and %x, errors %v and %v", a.Nonce, b.Nonce, err, err2)
	}
}

func TestUnreadableHelloIsAnError(t *testing.T) {
	h, err := NewHello(strings.Repeat("n", 255), 1<<63)
	if err != nil {
		t.Fatal(err)
	}
	whole := h.encode()
	read := func(b []byte) (Hello, error) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		go func() {
			_, _ = io.Copy(far, bytes.NewReader(b))
			if len(b) < len(whole) { // else the connection stays
				_ = far.Close()
			}
		}()
		return readHello(near, time.Now().Add(patience))
	}
	if got, err := read(whole); err != nil || got != h {
		t.Fatalf("got %+v, %v", got, err)
	}
	for cut := range whole {
		if got, err := read(whole[:cut]); err == nil {
			t.Fatalf("%d of %d bytes are taken for %+v", cut, len(whole), got)
		}
	}
	if _, err := read(append([]byte{9}, whole[1:]...)); !errors.Is(err, errHello) {
		t.Errorf("another version ends with %v", err)
	}
}
