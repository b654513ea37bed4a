package gossip

import (
	"context"
	"log/slog"
	"slices"
	"strings"
)

// ordinary begin memberlist's warnings and errors that belong to nodes that start, leave, restart or are away; they are
// written at info.
var ordinary = []string{
	"memberlist: Refuting a ",
	"memberlist: Failed to send ",
	"memberlist: Failed fallback TCP ping",
	"memberlist: Push/Pull with ",
	"memberlist: Failed to push local state",
	"memberlist: Failed to read remote state",
	"memberlist: failed to receive",
	"memberlist: Got ping for unexpected node",
	`memberlist: discarding stream with unacceptable label ""`, // closed before anything was said
}

// dead begins what memberlist says, at info, of a node that did not leave and is taken for dead now: here a warning.
const dead = "memberlist: Marking "

// overTCP and overTCPEnd are around the id of a member that answered a probe over TCP only. memberlist warns of a
// network that lets no UDP through; but on a busy machine an answer is late now and then, and a node that leaves has
// closed its own UDP socket first.
const (
	overTCP    = "memberlist: Was able to connect to "
	overTCPEnd = " over TCP but UDP probes failed"
)

// unusual reports whether it says something of the network that a member answered over TCP only.
func (g *Gossip) unusual(member string) bool { return !g.closed.Load() && g.members.unheard(member) }

// level is the level at which one of memberlist's lines is written, which it calls by name.
func (w logWriter) level(name, text string) slog.Level {
	begins := func(p string) bool { return strings.HasPrefix(text, p) }
	switch {
	case begins(dead):
		return slog.LevelWarn
	case name == "DEBUG":
		return slog.LevelDebug
	case slices.ContainsFunc(ordinary, begins):
		return slog.LevelInfo
	case begins(overTCP):
		member, _, _ := strings.Cut(strings.TrimPrefix(text, overTCP), overTCPEnd)
		if !w.unusual(member) {
			return slog.LevelInfo
		}
		return slog.LevelWarn
	case name == "WARN":
		return slog.LevelWarn
	case name == "ERR", name == "ERROR":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// logWriter turns memberlist's lines into records; their level is in brackets at the beginning.
type logWriter struct {
	log     *slog.Logger
	unusual func(member string) bool // that it answered over TCP only
}

func (w logWriter) Write(line []byte) (int, error) {
	text, level := strings.TrimSpace(string(line)), slog.LevelInfo
	if name, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "] "); ok && text[0] == '[' {
		text, level = rest, w.level(name, rest)
	}
	w.log.Log(context.Background(), level, text)
	return len(line), nil
}
