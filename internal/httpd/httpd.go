// Package httpd owns the HTTP port of a node: for now health alone, for load balancers and supervisors. It promises that
// a slow or silent client holds a connection for seconds at most; it must not know what makes a node ready.
package httpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Health tells how the node is.
type Health interface {
	// Ready is nil when the node can do its work (it knows a leader), else why it cannot.
	Ready(ctx context.Context) error
}

// maxConns bounds the connections that are open: further ones are closed at once.
const maxConns = 256

// Server serves HTTP until it is closed.
type Server struct {
	http *http.Server
	addr net.Addr
	log  *slog.Logger
	done chan error

	mu   sync.Mutex
	open map[net.Conn]bool
	said time.Time // when it was last told that there are too many
}

// Listen serves on addr (host:port). The error names the address when the port is in use.
func Listen(addr string, h Health, log *slog.Logger) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("http port: %w", err)
	}
	s := &Server{
		log: log, open: map[net.Conn]bool{},
		http: &http.Server{
			Handler:           handler(h),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      10 * time.Second,
			IdleTimeout:       30 * time.Second,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
		addr: l.Addr(),
		done: make(chan error, 1),
	}
	s.http.ConnState = s.count
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

// count keeps the number of open connections within bounds, and says so once a second at most.
func (s *Server) count(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case state == http.StateClosed || state == http.StateHijacked:
		delete(s.open, c)
	case state == http.StateNew && len(s.open) < maxConns:
		s.open[c] = true
	case state == http.StateNew:
		_ = c.Close() // its end is told as that of any other
		if now := time.Now(); now.Sub(s.said) >= time.Second {
			s.said = now
			s.log.Warn("http port: connection refused", "remote", c.RemoteAddr(), "open", len(s.open), "limit", maxConns)
		}
	}
}

// Addr is the address that is served.
func (s *Server) Addr() net.Addr { return s.addr }

// Close ends the server: requests under way have until ctx ends.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if serve := <-s.done; !errors.Is(serve, http.ErrServerClosed) {
		err = errors.Join(err, serve)
	}
	return err
}

// handler answers /health (the process lives) and /ready (it can do its work).
func handler(h Health) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := h.Ready(r.Context()); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text) // a client that has gone needs no answer
}
