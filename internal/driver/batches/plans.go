package batches

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/driver"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// planWait is how long the allocation of a batch waits for the plans of its direct streams, or a batch interval if
	// that is longer.
	planWait = time.Second
	// planRounds bounds how often a batch is planned: again after the ledger refused its plans, because positions moved.
	planRounds = 3
)

// plans gets from coordinators what due batches read of direct streams (rule 12): what belongs to a batch is in the
// command that allocates it. A batch that nobody plans in time is allocated without, visibly. One goroutine uses it.
type plans struct {
	conns   driver.Connections
	epoch   id.Epoch
	refused func(id.App) bool // the allocation that was proposed last was
	limits  *driver.Limits
	log     *slog.Logger
	sent    *driver.Sent[id.App, planning]
	apps    map[id.App]*planned
}

// planning is what an order to plan said.
type planning struct {
	time   id.Time
	office id.Office
	index  uint64 // positions read at an older one are stale
}

// planned is where the planning of an application's next batch stands.
type planned struct {
	time  id.Time             // of the batch
	since time.Time           // when it was found due
	tried *job.SourcesPlanned // proposed last
	round int                 // how often plans of the batch were refused
	index uint64              // when they were refused last
	told  string              // why direct streams were left out of the batch before, "" when they were not
	tells id.Time             // the first batch that they were left out of for this reason
}

func newPlans(c driver.Connections, epoch id.Epoch, refused func(id.App) bool, limits *driver.Limits, log *slog.Logger) *plans {
	return &plans{
		conns: c, epoch: epoch, refused: refused, limits: limits, log: log,
		sent: driver.NewSent[id.App, planning](),
		apps: make(map[id.App]*planned),
	}
}

// fill puts plans into the allocations of applications with direct streams. Those that have to wait for theirs are taken
// out, and it is to be called again after the time at most.
func (p *plans) fill(v fsm.View, commands map[id.App]fsm.Command) (again time.Duration) {
	again = driver.Idle
	for n, c := range commands {
		allocated, ok := c.(*fsm.BlocksAllocated)
		if !ok {
			continue
		}
		a, ok := v.App(n)
		if !ok || a.Draining { // what is planned after a stop would never end
			continue
		}
		streams := directOf(a)
		if len(streams) == 0 {
			continue
		}
		if left := p.plan(v, a, streams, allocated); left > 0 {
			delete(commands, n)
			again = min(again, left)
		}
	}
	if len(p.apps) > 0 {
		live := func(n id.App) bool {
			a, ok := v.App(n)
			return ok && a.Live()
		}
		p.sent.Keep(p.conns.All(), live)
		maps.DeleteFunc(p.apps, func(n id.App, _ *planned) bool { return !live(n) })
	}
	return again
}

// plan completes an allocation; left is how long it may have to wait still, 0 when it is complete.
func (p *plans) plan(v fsm.View, a *fsm.App, streams []id.Stream, c *fsm.BlocksAllocated) (left time.Duration) {
	s := p.apps[a.ID]
	if s == nil {
		s = &planned{}
		p.apps[a.ID] = s
	}
	if s.time != c.From {
		s.time, s.since, s.tried, s.round, s.index = c.From, time.Now(), nil, 0, 0
	}
	got, ok := p.conns.Planned(a.ID)
	if ok && got == s.tried && p.refused(a.ID) { // not if the ledger was overloaded: then it has not looked at it
		s.tried, s.index = nil, v.Index()
		s.round++
	}
	if s.round == planRounds {
		p.leaveOut(a, s, c, "the ledger refuses what was planned")
		return 0
	}
	want := planning{time: c.From, office: a.Office, index: max(a.Planned, s.index)}
	if ok && want == (planning{got.Time, got.Office, got.Planned}) {
		s.tried = got
		answers := judge(v, a, got.Plans)
		c.Direct = take(v, a, streams, answers)
		p.leaveOut(a, s, c, missing(streams, answers))
		return 0
	}
	left = max(planWait, time.Duration(a.BatchMS)*time.Millisecond) - time.Since(s.since)
	conn, connected := p.conns.Of(a.Coordinator)
	switch {
	case left > 0 && connected:
		if !p.sent.Send(conn, a.ID, want, func() job.ToExecutor {
			return &job.PlanSources{
				Epoch: p.epoch, Office: a.Office, App: driver.AppOf(a), Time: c.From, Planned: want.index,
				Limits: p.limits.PerBatch(a, streams),
			}
		}) {
			left = min(left, driver.Soon)
		}
		return left
	case left > 0: // nobody would run the batch either
		return left
	case connected:
		p.leaveOut(a, s, c, "the coordinator did not plan them in time")
	default:
		p.leaveOut(a, s, c, "no coordinator is there to plan them")
	}
	return 0
}

// leaveOut notes why direct streams have nothing in a batch, "" where they have. What is new is said in the command, so
// that people see it, and logged.
func (p *plans) leaveOut(a *fsm.App, s *planned, c *fsm.BlocksAllocated, reason string) {
	log := p.log.With("app", a.Name, "batch", c.From.Time())
	switch {
	case reason == s.told && c.From != s.tells:
		return
	case reason == "":
		log.Info("direct streams are planned again")
	case reason != s.told:
		log.Warn("batch has nothing new of direct streams", "reason", reason)
	}
	s.told, s.tells = reason, c.From
	c.Unplanned = reason
}

// directOf lists the direct streams of an application.
func directOf(a *fsm.App) (streams []id.Stream) {
	for _, in := range a.Inputs {
		if !in.Receiver {
			streams = append(streams, in.Stream)
		}
	}
	return streams
}

// judge puts an error in the place of plans that the ledger would refuse: an allocation is taken as a whole, and the other
// streams must not suffer. A plan that does not start at the positions is left to the ledger: it is to be made again.
func judge(v fsm.View, a *fsm.App, plans []job.StreamPlan) []job.StreamPlan {
	judged := slices.Clone(plans)
	for i, p := range judged {
		err := v.PlanErr(a.ID, p.Stream, p.Plan)
		if _, moved := errors.AsType[*connector.PositionError](err); p.Error == "" && err != nil && !moved {
			judged[i] = job.StreamPlan{Stream: p.Stream, Error: err.Error()}
		}
	}
	return judged
}

// take gives the plans that read something, forget something or warn of something else than before: others need no
// place in the ledger.
func take(v fsm.View, a *fsm.App, streams []id.Stream, plans []job.StreamPlan) (taken []fsm.StreamPlan) {
	for _, p := range plans {
		says := len(p.Plan.Parts)+len(p.Plan.Forget) > 0 || p.Plan.Warning != v.SourceWarning(a.ID, p.Stream)
		if p.Error == "" && says && slices.Contains(streams, p.Stream) {
			taken = append(taken, fsm.StreamPlan{Stream: p.Stream, Plan: p.Plan})
		}
	}
	return taken
}

// missing says of which streams there is no plan and why, "" when there is one of each.
func missing(streams []id.Stream, plans []job.StreamPlan) string {
	var reasons []string
	for _, s := range streams {
		i := slices.IndexFunc(plans, func(p job.StreamPlan) bool { return p.Stream == s })
		switch {
		case i < 0:
			reasons = append(reasons, fmt.Sprintf("stream %d: not planned", s))
		case plans[i].Error != "":
			reasons = append(reasons, fmt.Sprintf("stream %d: %s", s, plans[i].Error))
		}
	}
	return strings.Join(reasons, "; ")
}
