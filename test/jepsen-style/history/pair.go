package history

import (
	"encoding/json"
	"fmt"
	"math"
)

// Forever is the end of an operation whose outcome is not known: it may take effect at any time later.
const Forever = int64(math.MaxInt64)

// Op is a whole operation: its invocation and how it ended.
type Op struct {
	Invoke Event
	// End is the completion. Where there is none its Type is Info: a run that broke off leaves its last operations open.
	End Event
}

// Type is how the operation ended: OK, Fail or Info.
func (o *Op) Type() Type { return o.End.Type }

// Start is when it was invoked.
func (o *Op) Start() int64 { return o.Invoke.Time }

// Return is when it certainly was over: Forever for Info.
func (o *Op) Return() int64 {
	if o.End.Type == Info {
		return Forever
	}
	return o.End.Time
}

// Ended is when the client stopped waiting, for Info too; Forever if it never did.
func (o *Op) Ended() int64 {
	if o.End.F == "" {
		return Forever
	}
	return o.End.Time
}

// Value is the value of the completion, or of the invocation where the completion has none.
func (o *Op) Value() json.RawMessage {
	if len(o.End.Value) > 0 {
		return o.End.Value
	}
	return o.Invoke.Value
}

// Pair joins invocations with completions, in order of invocation, and leaves out the nemesis (Faults). An error says
// that the history is not well formed: a process began an operation while another one was open, or after one that ended
// as info, or ended what it had not begun. Such a history proves nothing.
func Pair(events []Event) ([]Op, error) {
	var ops []Op
	open := map[int]int{} // process -> place in ops
	retired := map[int]bool{}
	for i := range events {
		e := &events[i]
		if e.Process == Nemesis {
			continue
		}
		at, busy := open[e.Process]
		if e.Type == Invoke {
			if busy {
				return nil, fmt.Errorf("event %d: process %d begins %s, its %s of event %d is open", e.Index, e.Process, e.F,
					ops[at].Invoke.F, ops[at].Invoke.Index)
			}
			if retired[e.Process] {
				return nil, fmt.Errorf("event %d: process %d begins %s after an operation whose outcome it does not know", e.Index, e.Process, e.F)
			}
			open[e.Process] = len(ops)
			ops = append(ops, Op{Invoke: *e, End: Event{Type: Info}})
			continue
		}
		if !busy {
			return nil, fmt.Errorf("event %d: process %d ends %s as %s and has begun nothing", e.Index, e.Process, e.F, e.Type)
		}
		o := &ops[at]
		if o.Invoke.F != e.F || o.Invoke.Workload != e.Workload {
			return nil, fmt.Errorf("event %d: process %d ends %s of %q, it has begun %s of %q", e.Index, e.Process, e.F, e.Workload,
				o.Invoke.F, o.Invoke.Workload)
		}
		o.End = *e
		delete(open, e.Process)
		retired[e.Process] = e.Type == Info
	}
	return ops, nil
}

// Of gives the operations of a workload.
func Of(ops []Op, workload string) []Op {
	var of []Op
	for _, o := range ops {
		if o.Invoke.Workload == workload {
			of = append(of, o)
		}
	}
	return of
}
