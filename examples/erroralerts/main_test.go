package main

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

// service takes alerts and refuses every third request after it has taken the alert: its answer is lost.
type service struct {
	t      *testing.T
	mu     sync.Mutex
	calls  int
	alerts map[string]string
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	if had, ok := s.alerts[key]; ok && had != string(b) {
		s.t.Errorf("the key %s stands for %q and for %q", key, had, b)
	}
	s.alerts[key] = string(b)
	if s.calls++; s.calls%3 == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func TestEveryErrorIsToldOnceThoughAnswersAreLost(t *testing.T) {
	s := &service{t: t, alerts: map[string]string{}}
	server := httptest.NewServer(s)
	defer server.Close()
	input := [][]string{{"ERROR a", "fine", "ERROR b"}, {}, {"ERROR a"}}
	streamtest.Run(t, input, func(lines *dstream.DStream[string]) *dstream.DStream[string] {
		errors := failures(lines)
		dstream.ForeachPartition(errors, send(server.Client(), server.URL))
		return errors
	}, streamtest.RestartAfter(1))
	got := slices.Sorted(maps.Values(s.alerts))
	if want := []string{"ERROR a", "ERROR a", "ERROR b"}; !slices.Equal(got, want) {
		t.Errorf("the service knows %q, expected %q", got, want)
	}
	server.Client().CloseIdleConnections()
}
