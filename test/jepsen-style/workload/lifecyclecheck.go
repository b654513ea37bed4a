package workload

import (
	"cmp"
	"slices"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

func (w *lifecycle) Check(dir string, run *checker.Run) []checker.Result {
	ops, err := history.Pair(run.Events)
	if err != nil {
		return []checker.Result{unknown("lifecycle", w.Name(), err)}
	}
	l := &lives{Judge: checker.Judging("lifecycle", w.Name()), requests: map[string]uint64{}, names: map[uint64]string{}, stopped: map[uint64]uint64{}}
	for _, o := range history.Of(ops, w.Name()) {
		if o.Type() == history.OK {
			l.take(&o)
		}
	}
	l.inOrder()
	return []checker.Result{l.Result(), checker.Apps(run, w.Name(), dir)}
}

// lives is what replies said of applications.
type lives struct {
	*checker.Judge
	requests map[string]uint64 // request -> application
	names    map[uint64]string
	stopped  map[uint64]uint64 // application -> index of its stop
	seen     []sighting
}

// sighting is an application as one reply shows it.
type sighting struct {
	history.App
	index  uint64
	event  int64
	newest bool // the newest of its name, by the reply
}

func (l *lives) take(o *history.Op) {
	switch o.Invoke.F {
	case history.Submit:
		if v, err := value[history.Submission](o); err != nil {
			l.Doubt("%v", err)
		} else {
			l.submitted(o, v)
		}
	case history.Stop:
		v, err := value[history.StopValue](o)
		if err != nil {
			l.Doubt("%v", err)
			return
		}
		l.See("stops", 1)
		if at, ok := l.stopped[v.ID]; ok && at != o.End.RaftIndex {
			l.Bad("event %d: application %d was stopped at index %d, another reply said %d", o.End.Index, v.ID, o.End.RaftIndex, at)
		}
		l.stopped[v.ID] = o.End.RaftIndex
	case history.Get:
		v, err := value[history.Lookup](o)
		if err != nil || v.App == nil {
			l.Doubt("event %d: a reply without an application: %v", o.End.Index, err)
			return
		}
		if v.App.Name != v.Name || v.ID != 0 && v.App.ID != v.ID {
			l.Bad("event %d: asked for %q with id %d, got %q with id %d", o.End.Index, v.Name, v.ID, v.App.Name, v.App.ID)
		}
		l.seen = append(l.seen, sighting{*v.App, o.End.RaftIndex, o.End.Index, v.ID == 0})
	case history.List:
		v, err := value[history.Listing](o)
		if err != nil {
			l.Doubt("%v", err)
			return
		}
		l.listed(o, v)
	}
}

// submitted: one application for each request, whoever repeats it, named by the index of its entry.
func (l *lives) submitted(o *history.Op, v history.Submission) {
	l.See("submissions", 1)
	if id, ok := l.requests[v.Request]; ok && id != v.ID {
		l.Bad("event %d: request %s made application %d, and %d before", o.End.Index, v.Request, v.ID, id)
	}
	if v.ID != o.End.RaftIndex {
		l.Bad("event %d: application %d was submitted at index %d", o.End.Index, v.ID, o.End.RaftIndex)
	}
	if name, ok := l.names[v.ID]; ok && name != v.Name {
		l.Bad("event %d: application %d is %q, and was %q", o.End.Index, v.ID, v.Name, name)
	}
	l.requests[v.Request], l.names[v.ID] = v.ID, v.Name
}

// listed: of one name at most one application is not stopped, and that is the newest.
func (l *lives) listed(o *history.Op, v history.Listing) {
	l.See("listings", 1)
	newest := map[string]history.App{}
	for _, a := range v.Apps {
		if b, ok := newest[a.Name]; ok && b.State != history.Stopped {
			l.Bad("event %d: %q is in use by application %d, which is %s, and by %d", o.End.Index, a.Name, b.ID, b.State, a.ID)
		}
		newest[a.Name] = a
	}
	for _, a := range v.Apps {
		l.seen = append(l.seen, sighting{a, o.End.RaftIndex, o.End.Index, newest[a.Name] == a})
	}
}

// rank orders the states that an application goes through.
var rank = map[string]int{history.Running: 1, history.Failed: 2, history.Stopping: 3, history.Stopped: 4}

// inOrder holds all sightings against each other in the order of the log.
func (l *lives) inOrder() {
	slices.SortStableFunc(l.seen, func(a, b sighting) int { return cmp.Compare(a.index, b.index) })
	last := map[uint64]sighting{}
	submitted := slices.Sorted(func(yield func(uint64) bool) {
		for id := range l.names {
			if !yield(id) {
				return
			}
		}
	})
	for _, s := range l.seen {
		l.See("sightings", 1)
		was, ok := last[s.ID]
		stop, asked := l.stopped[s.ID]
		switch {
		case rank[s.State] == 0 || s.State == history.Failed:
			l.Bad("event %d: application %d is %q", s.event, s.ID, s.State)
		case ok && was.index == s.index && was.State != s.State:
			l.Bad("event %d: application %d is %s at index %d, event %d says %s there", s.event, s.ID, s.State, s.index, was.event, was.State)
		case ok && rank[s.State] < rank[was.State]:
			l.Bad("event %d: application %d is %s at index %d, and was %s at index %d", s.event, s.ID, s.State, s.index, was.State, was.index)
		case asked && stop <= s.index && s.State == history.Running:
			l.Bad("event %d: application %d is running at index %d, it was stopped at %d", s.event, s.ID, s.index, stop)
		case asked && stop > s.index && s.State != history.Running:
			l.Bad("event %d: application %d is %s at index %d, it was stopped at %d", s.event, s.ID, s.State, s.index, stop)
		case s.ID > s.index:
			l.Bad("event %d: application %d is there at index %d", s.event, s.ID, s.index)
		}
		last[s.ID] = s
		if s.newest {
			l.newest(s, submitted)
		}
	}
}

// newest: no application of the name was submitted between that one and the read.
func (l *lives) newest(s sighting, submitted []uint64) {
	at, _ := slices.BinarySearch(submitted, s.ID+1)
	for _, id := range submitted[at:] {
		if id > s.index {
			return
		}
		if l.names[id] == s.Name {
			l.Bad("event %d: the newest application %q at index %d is %d, and %d was submitted", s.event, s.Name, s.index, s.ID, id)
		}
	}
}
