package suite

import (
	"time"

	"github.com/raftstream/raftstream/chaos/nemesis"
	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// faultNote is the value of the nemesis' events in a history.
type faultNote struct {
	ID      int             `json:"id"`
	Targets []string        `json:"targets,omitempty"`
	Event   *schedule.Event `json:"plan,omitempty"`
	Bites   int64           `json:"bites,omitempty"`
	What    string          `json:"what,omitempty"`
}

// journal writes the steps of the nemesis to the history. A fault is invoked when its injection begins, and ends as ok when
// it is healed, as fail when it never was in effect, as info when something of it may be left. In between, events of
// their own tell when it took effect and when its healing began.
func journal(log *history.Log, say func(string, ...any)) func(nemesis.Step) {
	began := time.Now()
	return func(s nemesis.Step) {
		e := history.Event{Process: history.Nemesis, F: string(s.Event.Kind)}
		if len(s.Targets) == 1 {
			e.Node = s.Targets[0]
		}
		note := faultNote{ID: s.Event.ID, Targets: s.Targets}
		switch s.Phase {
		case nemesis.Begin:
			e.Type, note.Event = history.Invoke, &s.Event
		case nemesis.Took, nemesis.Heal:
			e.Type, e.F = history.Info, e.F+"-"+string(s.Phase)
		case nemesis.Missed:
			e.Type = history.Fail
		case nemesis.Healed:
			e.Type, note.Bites, note.What = history.OK, s.Proof.Bites, s.Proof.What
		case nemesis.Broken:
			e.Type, note.Bites, note.What = history.Info, s.Proof.Bites, s.Proof.What
		}
		if s.Err != nil {
			e.Error = s.Err.Error()
		}
		log.Append(e, note)
		text := ""
		if e.Error != "" {
			text = ": " + e.Error
		}
		say("%7.3fs  %-12s %-6s %v%s", time.Since(began).Seconds(), s.Event.Kind, s.Phase, s.Targets, text)
	}
}
