package history

import (
	"bytes"
	"encoding/json"
)

// Fault is what the nemesis did from an invocation to the end of it. Faults may overlap.
type Fault struct {
	Begin Event
	// End is the completion; its F is "" where there is none.
	End Event
}

// Start is when the nemesis began to bring the fault about.
func (f *Fault) Start() int64 { return f.Begin.Time }

// Ended is when the fault was healed; Forever if it never was.
func (f *Fault) Ended() int64 {
	if f.End.F == "" {
		return Forever
	}
	return f.End.Time
}

// Faults joins the events of the nemesis. A completion ends the oldest open fault of its kind and id (the member "id" of
// its value, else the whole value, else nothing but the kind). Events of the nemesis that end nothing are left out:
// they tell of something that takes no time.
func Faults(events []Event) []Fault {
	var faults []Fault
	open := map[string][]int{} // identity -> places in faults
	for i := range events {
		e := &events[i]
		if e.Process != Nemesis {
			continue
		}
		if id := identity(e); e.Type == Invoke {
			open[id] = append(open[id], len(faults))
			faults = append(faults, Fault{Begin: *e})
		} else if at := open[id]; len(at) > 0 {
			faults[at[0]].End = *e
			open[id] = at[1:]
		}
	}
	return faults
}

// identity tells faults of the nemesis apart that are open at the same time.
func identity(e *Event) string {
	var v struct {
		ID    json.RawMessage `json:"id"`
		Event struct {
			ID json.RawMessage `json:"id"`
		} `json:"event"`
	}
	if err := json.Unmarshal(e.Value, &v); err == nil {
		if id := bytes.Join([][]byte{v.ID, v.Event.ID}, nil); len(id) > 0 {
			return e.F + " " + string(id)
		}
	}
	return e.F
}
