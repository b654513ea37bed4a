package fsm

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/id"
)

// Machine is the ledger's state machine. One goroutine calls it.
type Machine struct {
	s    *state
	view View // of the state as it is, if taken already
}

// New makes an empty ledger.
func New() *Machine { return &Machine{s: newState()} }

// View gives the state after the last Apply or Restore.
func (m *Machine) View() View {
	if m.view.s == nil {
		m.view = View{s: m.s.copy()}
	}
	return m.view
}

// Check verifies what must hold among all records; it takes time in proportion to their number.
func (m *Machine) Check() error { return m.s.check() }

// Apply applies one Raft entry and gives one result per command, in order. An error means that the entry is unreadable
// or of an unknown kind, and that nothing of it was applied: the node must stop.
func (m *Machine) Apply(index uint64, data []byte) ([]Result, error) {
	if index <= m.s.index {
		return nil, fmt.Errorf("entry %d comes after %d: %w", index, m.s.index, ErrUnreadable)
	}
	commands, err := decodeEntry(data)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	m.view = View{}
	m.s.index = index
	results := make([]Result, 0, len(commands))
	for _, p := range commands {
		t := &tx{state: m.s}
		results = append(results, t.run(p))
	}
	return results, nil
}

// tx is the application of one command. It lasts for one call of a handler.
type tx struct {
	*state
	touched []id.App
}

// run applies one command, if it is of the current term, and checks what it touched.
func (t *tx) run(p proposed) Result {
	if e, ok := p.command.(*Epoch); ok {
		if e.Term != p.term {
			return refuse("epoch of term %d was proposed in term %d", e.Term, p.term)
		}
	} else if p.term != t.leader.Term || t.leader.Epoch == 0 {
		r := refuse("proposed in term %d, expected %d: that is whose leader was announced last", p.term, t.leader.Term)
		r.Stale = true
		return r
	}
	r := p.row.apply(t, p.command)
	for _, n := range t.touched {
		t.audit(n)
	}
	return r
}

// set puts a changed application and remembers to audit it.
func (t *tx) set(a *App) {
	t.putApp(a)
	t.touch(a.ID)
}

// touch remembers to audit an application.
func (t *tx) touch(n id.App) { t.touched = append(t.touched, n) }

// done answers a command that takes effect now.
func (t *tx) done() Result { return Result{Outcome: Done, Index: t.index} }

// doneAt answers a command that was applied before, at index (0: it is not remembered when).
func (t *tx) doneAt(index uint64) Result {
	if index == 0 {
		index = t.index
	}
	return Result{Outcome: Done, Index: index}
}

func refuse(format string, args ...any) Result {
	return Result{Outcome: Refused, Reason: fmt.Sprintf(format, args...)}
}

func limited(format string, args ...any) Result {
	return Result{Outcome: Limited, Reason: fmt.Sprintf(format, args...)}
}

// live gives an application that has not ended, or why there is none.
func (t *tx) live(n id.App) (*App, Result) {
	a, ok := t.app(n)
	switch {
	case !ok:
		return nil, refuse("no application %d", n)
	case !a.Live():
		return nil, refuse("application %d (%s) has ended", n, a.Name)
	}
	return a, Result{}
}
