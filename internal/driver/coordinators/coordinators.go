// Package coordinators owns the driver's duty over the office of coordinator: every application that is not over has
// one, held by an executor with an open session. It promises that offices are spread over executors and stay where they
// are as long as the session lasts; it must not know what coordinators do.
package coordinators

import (
	"context"
	"log/slog"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// Duty is the duty.
type Duty struct {
	conns driver.Connections
	log   *slog.Logger
}

var _ driver.Duty = (*Duty)(nil)

// New makes the duty.
func New(c driver.Connections, log *slog.Logger) *Duty {
	return &Duty{conns: c, log: log.With("duty", "coordinators")}
}

// Name names the duty.
func (d *Duty) Name() string { return "coordinators" }

// Run does the duty until ctx ends.
func (d *Duty) Run(ctx context.Context, l driver.Ledger) error {
	proposals := driver.NewProposals[id.App](d.log)
	return driver.Turns(ctx, l, d.conns, func(ctx context.Context, v fsm.View) (time.Duration, error) {
		return proposals.Make(ctx, l, d.assign(v, time.Now().UnixMilli()))
	})
}

// assign gives the office of every application that has no coordinator to the connected executor with the fewest.
func (d *Duty) assign(v fsm.View, nowMS int64) map[id.App]fsm.Command {
	offices := make(map[id.Session]int)
	var vacant []*fsm.App
	for a := range v.Apps() {
		if a.State == fsm.Stopped {
			continue
		}
		if _, open := v.Session(a.Coordinator); a.Coordinator != 0 && open {
			offices[a.Coordinator]++
		} else {
			vacant = append(vacant, a)
		}
	}
	commands := make(map[id.App]fsm.Command)
	for _, a := range vacant {
		s, ok := d.leastLoaded(v, a, offices)
		if !ok {
			continue
		}
		offices[s]++
		commands[a.ID] = &fsm.CoordinatorAssigned{App: a.ID, Session: s, Prev: a.Office, NowMS: nowMS}
	}
	return commands
}

// leastLoaded finds the connected executor with the fewest offices that can work for the application; the oldest
// session of several.
func (d *Duty) leastLoaded(v fsm.View, a *fsm.App, offices map[id.Session]int) (id.Session, bool) {
	can := driver.Able(v, a)
	var best *tracker.Session
	for s := range v.Sessions() {
		if _, connected := d.conns.Of(s.ID); !connected || !can(s) {
			continue
		}
		if best == nil || offices[s.ID] < offices[best.ID] {
			best = s
		}
	}
	if best == nil {
		return 0, false
	}
	if best.Build != a.Build {
		d.log.Warn("application goes on in another binary than it was submitted with: no node runs that one any more",
			"app", a.Name, "node", best.Name, "build", best.Build, "submitted_with", a.Build)
	}
	return best.ID, true
}
