package task

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// maxEnded bounds the ended applications that are remembered. A launch of an older one is answered as of an unknown
// application: it finds neither blocks nor anyone who would take its result.
const maxEnded = 1024

// fences remember the highest authority seen per application and batch (rule 1), and which launches run under which.
// Who calls holds the runner's lock.
type fences struct {
	apps  map[id.App]*fence
	ended []id.App // oldest first
}

type fence struct {
	office    id.Office
	completed id.Time
	attempts  map[id.Time]id.Attempt // of batches that are not completed
	running   map[*running]struct{}
}

// running is a launch that is not finished.
type running struct {
	authority id.Authority
	time      id.Time
	cancel    context.CancelCauseFunc
}

func fenced(format string, args ...any) *job.TaskError {
	return &job.TaskError{Fault: job.FencedFault, Text: fmt.Sprintf(format, args...)}
}

// admit lets a launch in, or refuses it because something newer was seen. What a new authority supersedes is canceled.
func (f *fences) admit(l *job.Launch, cancel context.CancelCauseFunc) (*running, *job.TaskError) {
	a, err := f.check(l)
	if err != nil {
		return nil, err
	}
	a.office = l.Authority.Office
	if l.Kind != job.CheckpointTasks {
		a.attempts[l.Time] = l.Authority.Attempt
	}
	for r := range a.running {
		if r.authority.Office < l.Authority.Office || r.time == l.Time && r.authority.Attempt < l.Authority.Attempt {
			r.cancel(fenced("batch %d: attempt %d under office %d is superseded by attempt %d under office %d",
				r.time, r.authority.Attempt, r.authority.Office, l.Authority.Attempt, l.Authority.Office))
		}
	}
	r := &running{authority: l.Authority, time: l.Time, cancel: cancel}
	if l.Kind == job.CheckpointTasks {
		r.time = math.MaxInt64 // of no batch that is completed or superseded
	}
	a.running[r] = struct{}{}
	return r, nil
}

// check gives the application's fence, or why the launch is too old.
func (f *fences) check(l *job.Launch) (*fence, *job.TaskError) {
	a := f.of(l.App.ID)
	switch {
	case a == nil:
		return nil, fenced("application %d has ended", l.App.ID)
	case l.Authority.Office < a.office:
		return nil, fenced("application %d: office %d, the highest seen is %d", l.App.ID, l.Authority.Office, a.office)
	case l.Kind == job.CheckpointTasks: // its batch is completed: the office alone fences it
	case l.Time <= a.completed:
		return nil, fenced("application %d: batch %d, completed up to %d", l.App.ID, l.Time, a.completed)
	case l.Authority.Attempt < a.attempts[l.Time]:
		return nil, fenced("application %d: attempt %d of batch %d, the highest seen is %d",
			l.App.ID, l.Authority.Attempt, l.Time, a.attempts[l.Time])
	}
	return a, nil
}

// of gives the fence of an application, nil if it has ended.
func (f *fences) of(app id.App) *fence {
	if a := f.apps[app]; a != nil {
		return a
	}
	if slices.Contains(f.ended, app) {
		return nil
	}
	a := &fence{completed: math.MinInt64, attempts: map[id.Time]id.Attempt{}, running: map[*running]struct{}{}}
	f.apps[app] = a
	return a
}

// leave takes a launch out.
func (f *fences) leave(app id.App, r *running) {
	if a := f.apps[app]; a != nil {
		delete(a.running, r)
	}
}

// complete fences batches up to the time.
func (f *fences) complete(app id.App, upTo id.Time) {
	a := f.of(app)
	if a == nil || upTo <= a.completed {
		return
	}
	a.completed = upTo
	for t := range a.attempts {
		if t <= upTo {
			delete(a.attempts, t)
		}
	}
	for r := range a.running {
		if r.time <= upTo {
			r.cancel(fenced("batch %d is completed", r.time))
		}
	}
}

// end fences the whole application.
func (f *fences) end(app id.App) {
	a := f.of(app)
	if a == nil {
		return
	}
	delete(f.apps, app)
	for r := range a.running {
		r.cancel(fenced("application %d has ended", app))
	}
	if f.ended = append(f.ended, app); len(f.ended) > maxEnded {
		f.ended = f.ended[1:]
	}
}

// cancelAll ends every launch for the reason.
func (f *fences) cancelAll(why error) {
	for _, a := range f.apps {
		for r := range a.running {
			r.cancel(why)
		}
	}
}
