package checker

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// nameState is what the newest application of a name is.
type nameState struct {
	id    uint64 // 0: there was none
	fresh bool   // submitted by an operation that did not learn its id; id is of the one before
	phase string // of the newest: "", running, stopping, failed, stopped
	index uint64 // the highest one at which anything is known to have happened or to have been read
}

// nameOp is an operation on a name.
type nameOp struct {
	f       string // history.Submit, Stop, Get
	id      uint64 // that it is about, or that the answer has; 0: not known, or none
	byID    bool   // Get: asked for the application with that id
	state   string // Get: that the answer has
	none    bool   // Get: there is no such application
	taken   bool   // Submit: refused, as the name is in use
	unknown bool   // its outcome is not known
	index   uint64 // at which it was read, or took effect
}

// Apps looks whether the operations of a workload on the life of applications are linearizable, name by name:
// history.Submit, Stop, Get and List. A name has one application at a time that is not stopped; ids only grow; one that
// is stopped stays so. A stop comes to its end by itself, at a time that nobody knows.
func Apps(run *Run, workload, dir string) Result {
	j := Judging("linearizable-apps", workload)
	ops, err := history.Pair(run.Events)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	ops = history.Of(ops, workload)
	requests(j, ops)
	partitions, err := appsOps(ops)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	return linear(j, dir, "linearizable-apps", appsModel(), partitions)
}

// requests checks that all submissions with one request have one answer, and that no two requests have the same.
func requests(j *Judge, ops []history.Op) {
	ids, by := map[string]uint64{}, map[uint64]string{}
	for i := range ops {
		o := &ops[i]
		if o.Invoke.F != history.Submit || o.Type() != history.OK {
			continue
		}
		v, err := decode[history.Submission](o.End.Index, o.Value())
		switch {
		case err != nil:
			j.Doubt("%v", err)
			continue
		case v.ID == 0:
			j.Bad("event %d: request %q of %q was answered without an id", o.End.Index, v.Request, v.Name)
			continue
		}
		if id, ok := ids[v.Request]; ok && id != v.ID {
			j.Bad("event %d: request %q submitted application %d, and application %d", o.End.Index, v.Request, id, v.ID)
		}
		if request, ok := by[v.ID]; ok && request != v.Request {
			j.Bad("event %d: application %d was submitted by request %q, and by %q", o.End.Index, v.ID, request, v.Request)
		}
		ids[v.Request], by[v.ID] = v.ID, v.Request
		j.See("submissions", 1)
	}
}

// appsOps translates operations, by name. A submission whose outcome is not known has the id that a repetition of its
// request was answered with; a listing is a read of every name.
func appsOps(ops []history.Op) (map[string][]porcupine.Operation, error) {
	names, answers := map[string]bool{}, map[string]uint64{}
	for i := range ops {
		if o := &ops[i]; o.Invoke.F == history.Submit {
			v, err := decode[history.Submission](o.Invoke.Index, o.Value())
			if err != nil {
				return nil, err
			}
			names[v.Name] = true
			if o.Type() == history.OK {
				answers[v.Request] = v.ID
			}
		}
	}
	partitions := map[string][]porcupine.Operation{}
	for i := range ops {
		o := &ops[i]
		all, err := nameOps(o, names, answers)
		if err != nil {
			return nil, err
		}
		for name, in := range all {
			partitions[name] = append(partitions[name], timed(o, in, nil))
		}
	}
	return partitions, nil
}

// nameOps gives what one operation is about each name; nothing where it tells nothing.
func nameOps(o *history.Op, names map[string]bool, answers map[string]uint64) (map[string]nameOp, error) {
	end := o.Type()
	unknown := end == history.Info
	switch o.Invoke.F {
	case history.Submit:
		v, err := decode[history.Submission](o.Invoke.Index, o.Value())
		if err != nil || end == history.Fail && v.Refused != history.Taken {
			return nil, err
		}
		return one(v.Name, nameOp{f: history.Submit, id: answers[v.Request], taken: end == history.Fail, unknown: unknown}), nil
	case history.Stop:
		v, err := decode[history.StopValue](o.Invoke.Index, o.Value())
		if err != nil || end == history.Fail {
			return nil, err
		}
		return one(v.Name, nameOp{f: history.Stop, id: v.ID, unknown: unknown, index: o.End.RaftIndex}), nil
	case history.Get:
		v, err := decode[history.Lookup](o.Invoke.Index, o.Value())
		if err != nil || unknown || end == history.Fail && v.Refused != history.NotFound {
			return nil, err
		}
		in := nameOp{f: history.Get, id: v.ID, byID: v.ID != 0, none: end == history.Fail, index: o.End.RaftIndex}
		if v.App != nil {
			in.id, in.state = v.App.ID, v.App.State
		}
		return one(v.Name, in), nil
	case history.List:
		if end != history.OK {
			return nil, nil
		}
		v, err := decode[history.Listing](o.Invoke.Index, o.Value())
		return listed(&v, names, o.End.RaftIndex), err
	}
	return nil, nil
}

func one(name string, in nameOp) map[string]nameOp { return map[string]nameOp{name: in} }

// listed is what a listing says of every name that it is about.
func listed(v *history.Listing, names map[string]bool, index uint64) map[string]nameOp {
	all := map[string]nameOp{}
	for name := range names {
		if strings.HasPrefix(name, v.Prefix) {
			all[name] = nameOp{f: history.Get, none: true, index: index}
		}
	}
	for _, a := range v.Apps {
		if in, ok := all[a.Name]; ok && a.ID > in.id {
			all[a.Name] = nameOp{f: history.Get, id: a.ID, state: a.State, index: index}
		}
	}
	return all
}

func appsModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return nameState{} },
		Step: func(state, input, _ any) (bool, any) {
			s, o := state.(nameState), input.(nameOp)
			switch o.f {
			case history.Submit:
				return s.submit(o)
			case history.Stop:
				return s.stop(o)
			}
			return s.get(o)
		},
		DescribeOperation: func(input, _ any) string {
			o := input.(nameOp)
			return fmt.Sprintf("%s %d %s at %d (none: %t, taken: %t, not known: %t)", o.f, o.id, o.state, o.index, o.none, o.taken, o.unknown)
		},
		DescribeState: func(state any) string {
			s := state.(nameState)
			return fmt.Sprintf("%d %s at %d (another one after it: %t)", s.id, s.phase, s.index, s.fresh)
		},
	}
}

// inUse reports whether the name cannot be given now; a stop may have come to its end.
func (s nameState) inUse() bool { return s.phase == history.Running || s.phase == history.Failed }

// submit begins an application, or repeats an answer. One whose id is not known is not this one: both would have it from
// the same request.
func (s nameState) submit(o nameOp) (bool, nameState) {
	switch {
	case o.taken:
		return s.inUse() || s.phase == history.Stopping, s
	case o.id != 0 && o.id <= s.id: // a repetition: requests has held it against the first answer
		return true, s
	case s.inUse():
		return o.unknown, s // it was refused, and nobody heard it
	case o.id == 0:
		return true, nameState{id: s.id, fresh: true, phase: history.Running, index: s.index}
	}
	// Its id is the index at which it was submitted.
	return o.id > s.index, nameState{id: o.id, phase: history.Running, index: o.id}
}

// stop begins the end of an application. What is stopped once stays so, and repetitions have the index of the first stop.
func (s nameState) stop(o nameOp) (bool, nameState) {
	if o.id > s.id {
		if !s.fresh {
			return o.unknown, s
		}
		s.id, s.fresh = o.id, false
	}
	if o.id < s.id || s.fresh || s.phase != history.Running && s.phase != history.Failed {
		return true, s
	}
	if o.index != 0 && o.index < s.index {
		return o.unknown, s // it was seen running at a later index
	}
	s.phase, s.index = history.Stopping, max(s.index, o.index)
	return true, s
}

// get reads the newest application of the name, or one by its id.
func (s nameState) get(o nameOp) (bool, nameState) {
	if o.index != 0 && o.index < s.index {
		return false, s
	}
	s.index = max(s.index, o.index)
	switch {
	case o.none && o.byID:
		return o.id > s.id, s // of an application that comes later
	case o.none:
		return s.id == 0 && !s.fresh, s
	case o.id < s.id || o.byID && s.fresh && o.id == s.id:
		return o.byID && o.state == history.Stopped, s // an older one
	case o.id > s.id && !s.fresh:
		return false, s
	case o.id > s.id:
		s.id, s.fresh = o.id, false
	case s.fresh:
		return false, s // it hides the one that came after it
	}
	return s.turn(o.state)
}

// turn takes the newest application to the state in which it was seen, if it can have come there.
func (s nameState) turn(state string) (bool, nameState) {
	ok := state == s.phase
	switch state {
	case history.Stopped:
		ok = ok || s.phase == history.Stopping
	case history.Failed:
		ok = ok || s.phase == history.Running || s.phase == history.Stopping
	}
	s.phase = state
	return ok, s
}
