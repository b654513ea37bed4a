package raftnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// hcLogger lets raft write to our logger.
type hcLogger struct {
	log     *slog.Logger
	name    string
	implied []any
}

func newLogger(l *slog.Logger) hclog.Logger { return &hcLogger{log: l, name: "raft"} }

func slogLevel(l hclog.Level) slog.Level {
	switch {
	case l <= hclog.Trace:
		return slog.LevelDebug - 4
	case l == hclog.Debug:
		return slog.LevelDebug
	case l == hclog.Info:
		return slog.LevelInfo
	case l == hclog.Warn:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// ordinary are messages that raft warns of, or calls errors, whenever a node starts, leaves, restarts or is away: the
// others see it as peers that do not answer, and catch up. That is what raft is for, so they are written at info. What
// an operator must act on is said by the losing of the quorum, by gossip's dead nodes, and by /ready.
var ordinary = map[string]bool{
	"heartbeat timeout reached, starting election":                                                                   true,
	"Election timeout reached, restarting election":                                                                  true,
	"no known peers, aborting election":                                                                              true,
	"not part of stable configuration, aborting election":                                                            true,
	"heartbeat timeout reached, not part of a stable configuration or a non-voter, not triggering a leader election": true,
	"new leader elected, stepping down":                                                                              true,
	"failed to contact":                                                                                              true,
	"failed to get previous log":                                                                                     true,
	"previous log term mis-match":                                                                                    true,
	"clearing log suffix":                                                                                            true,
	"appendEntries rejected, sending older logs":                                                                     true,
	"rejecting vote request since we have a leader":                                                                  true,
	"rejecting vote request since our last term is greater":                                                          true,
	"rejecting vote request since our last index is greater":                                                         true,
	"rejecting pre-vote request since we have a leader":                                                              true,
	"rejecting pre-vote request since our last term is greater":                                                      true,
	"rejecting pre-vote request since our last index is greater":                                                     true,
	"rejecting vote request since node is not in configuration":                                                      true,
	"rejecting pre-vote request since node is not in configuration":                                                  true,
	"duplicate requestVote from":                                                                                     true,
	"failed to heartbeat to":                                                                                         true,
	"failed to appendEntries to":                                                                                     true,
	"failed to make requestVote RPC":                                                                                 true,
	"failed to send snapshot to":                                                                                     true,
	"failed to install snapshot":                                                                                     true,
	"failed to decode incoming command":                                                                              true, // the connection broke
	"failed to flush response":                                                                                       true,
	"peer has newer term, stopping replication":                                                                      true,
}

// removed reports whether raft misses an entry that a snapshot holds: who needs it is sent the snapshot. Where raft itself
// needs it, it fails loudly all the same.
func removed(message string, args []any) bool {
	return message == "failed to get log" && slices.ContainsFunc(args, func(arg any) bool {
		err, ok := arg.(error)
		return ok && errors.Is(err, raft.ErrLogNotFound)
	})
}

// Log writes a message; raft's arguments are keys and values as slog's are.
func (l *hcLogger) Log(level hclog.Level, message string, args ...any) {
	to := slogLevel(level)
	if to > slog.LevelInfo && (ordinary[message] || removed(message, args)) {
		to = slog.LevelInfo
	}
	if !l.log.Enabled(context.Background(), to) {
		return
	}
	plain := make([]any, len(args))
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = formatted(f)
		}
		plain[i] = a
	}
	l.log.Log(context.Background(), to, l.name+": "+message, plain...)
}

// Trace is below slog's Debug.
func (l *hcLogger) Trace(message string, args ...any) { l.Log(hclog.Trace, message, args...) }

// Debug logs at slog's Debug.
func (l *hcLogger) Debug(message string, args ...any) { l.Log(hclog.Debug, message, args...) }

// Info logs at slog's Info.
func (l *hcLogger) Info(message string, args ...any) { l.Log(hclog.Info, message, args...) }

// Warn logs at slog's Warn.
func (l *hcLogger) Warn(message string, args ...any) { l.Log(hclog.Warn, message, args...) }

// Error logs at slog's Error.
func (l *hcLogger) Error(message string, args ...any) { l.Log(hclog.Error, message, args...) }

func (l *hcLogger) enabled(level hclog.Level) bool {
	return l.log.Enabled(context.Background(), slogLevel(level))
}

// IsTrace reports whether the level is written; so do the next four.
func (l *hcLogger) IsTrace() bool { return l.enabled(hclog.Trace) }

// IsDebug reports whether the level is written.
func (l *hcLogger) IsDebug() bool { return l.enabled(hclog.Debug) }

// IsInfo reports whether the level is written.
func (l *hcLogger) IsInfo() bool { return l.enabled(hclog.Info) }

// IsWarn reports whether the level is written.
func (l *hcLogger) IsWarn() bool { return l.enabled(hclog.Warn) }

// IsError reports whether the level is written.
func (l *hcLogger) IsError() bool { return l.enabled(hclog.Error) }

// ImpliedArgs gives what With added.
func (l *hcLogger) ImpliedArgs() []any { return l.implied }

// With adds keys and values to every message.
func (l *hcLogger) With(args ...any) hclog.Logger {
	return &hcLogger{log: l.log.With(args...), name: l.name, implied: slices.Concat(l.implied, args)}
}

// Name gives the name before every message.
func (l *hcLogger) Name() string { return l.name }

// Named adds to the name.
func (l *hcLogger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

// ResetNamed sets the name.
func (l *hcLogger) ResetNamed(name string) hclog.Logger {
	return &hcLogger{log: l.log, name: name, implied: l.implied}
}

// SetLevel does nothing: the handler decides.
func (l *hcLogger) SetLevel(hclog.Level) {}

// GetLevel says that the handler decides.
func (l *hcLogger) GetLevel() hclog.Level { return hclog.NoLevel }

// StandardLogger writes through this logger, at Info.
func (l *hcLogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

// StandardWriter writes through this logger, at Info.
func (l *hcLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return slog.NewLogLogger(l.log.Handler(), slog.LevelInfo).Writer()
}

func formatted(f hclog.Format) string {
	format, ok := f[0].(string)
	if !ok {
		return fmt.Sprint(f...)
	}
	return fmt.Sprintf(format, f[1:]...)
}
