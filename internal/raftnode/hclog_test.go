package raftnode

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// What raft says while nodes come, go and catch up alarms nobody; what is wrong does.
func TestWhatIsOrdinaryIsNoAlarm(t *testing.T) {
	for _, tt := range []struct {
		message string
		err     error
		level   string
	}{
		{"failed to contact", nil, "INFO"},
		{"failed to get log", raft.ErrLogNotFound, "INFO"},
		{"failed to get log", errors.New("input/output error"), "ERROR"},
		{"failed to commit logs", raft.ErrLogNotFound, "ERROR"},
	} {
		var out bytes.Buffer
		newLogger(slog.New(slog.NewTextHandler(&out, nil))).Error(tt.message, "index", 7, "error", tt.err)
		if said := out.String(); !strings.Contains(said, "level="+tt.level) || !strings.Contains(said, "raft: "+tt.message) {
			t.Errorf("%s with %v: %q, expected level %s", tt.message, tt.err, said, tt.level)
		}
	}
}
