package httpd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

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
