package httpd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type health struct{ reason atomic.Pointer[string] }

func (h *health) Ready(context.Context) error {
	if r := h.reason.Load(); r != nil {
		return errors.New(*r)
	}
	return nil
}

func TestReadySaysWhyTheNodeCannotWork(t *testing.T) {
	var h health
	s, err := Listen("127.0.0.1:0", &h, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		t.Helper()
		r, err := client.Get("http://" + s.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	reason := "no leader"
	for _, tt := range []struct {
		path, want string
		reason     *string
		status     int
	}{
		{"/health", "ok", &reason, 200},
		{"/ready", "no leader", &reason, 503},
		{"/ready", "ready", nil, 200},
		{"/nothing", "not found", nil, 404},
	} {
		h.reason.Store(tt.reason)
		if status, body := get(tt.path); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %q, expected %d %q", tt.path, status, body, tt.status, tt.want)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPortInUseIsNamed(t *testing.T) {
	first, err := Listen("127.0.0.1:0", &health{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close(t.Context())
	_, err = Listen(first.Addr().String(), &health{}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), first.Addr().String()) {
		t.Errorf("second listener: %v, expected an error that names %s", err, first.Addr())
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	var h health
	s, err := Listen("127.0.0.1:0", &h, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	closed := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	var held []net.Conn
	for range maxConns {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	if closed(held[maxConns-1]) {
		t.Error("a connection within the limit was closed")
	}
	more, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	_ = more.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := more.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection number %d is open, expected its end", maxConns+1)
	}
	for _, c := range held { // the end of the server would wait for their requests
		_ = c.Close()
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func FuzzRequest(f *testing.F) {
	var h health
	serve := handler(&h)
	f.Add("GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
	f.Add("POST /health?x=%00 HTTP/1.0\r\nContent-Length: 9\r\n\r\nbody")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		serve.ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 || w.Body.Len() > 4<<10 {
			t.Errorf("%q is answered with status %d and %d bytes", text, w.Code, w.Body.Len())
		}
	})
}
