package lineagetest

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// StatePart names a partition of keyed state.
type StatePart struct {
	Stream id.Stream
	Part   int
}

// held is a partition of keyed state as of a time, and what the attempt that runs makes of it.
type held struct {
	state   dataset.State
	at      id.Time
	delta   dataset.Delta // nil: none yet
	makes   id.Time
	attempt id.Attempt // of the run that made it
}

// State gives the completed state of a partition, nil if there is none, and its time.
func (e *Engine) State(p StatePart) (dataset.State, id.Time) {
	h, ok := e.states[p]
	if !ok {
		return nil, 0
	}
	return h.state, h.at
}

// Restore puts a state as of a time in the place of what is held, as a restart from a checkpoint does.
func (e *Engine) Restore(p StatePart, s dataset.State, at id.Time) {
	if e.states == nil {
		e.states = map[StatePart]*held{}
	}
	e.states[p] = &held{state: s, at: at}
}

// Complete installs what the attempt in Run made of the state at a time. What other attempts made is dropped.
func (e *Engine) Complete(at id.Time) {
	for _, h := range e.states {
		if h.delta != nil && h.makes == at && h.attempt == e.Run.Attempt {
			h.state.Install(h.delta, at)
			h.at = at
		}
		h.delta = nil
	}
}

// State implements dataset.Task.
func (t *task) State(d dataset.Stateful, part int, advance func(base dataset.State) dataset.Delta) (dataset.State, dataset.Delta) {
	p := StatePart{d.ID().Stream, part}
	h := t.e.states[p]
	if h == nil {
		t.e.Restore(p, d.Initial(part), d.Base())
		h = t.e.states[p]
	}
	if h.at != d.Base() {
		t.Fail(fmt.Errorf("partition %d of dataset %v goes on from the state at %d, the one at %d is held", part, d.ID(), d.Base(), h.at))
	}
	if at, run := d.ID().Time, t.e.Run.Attempt; h.delta == nil || h.makes != at || h.attempt != run {
		h.delta, h.makes, h.attempt = nil, at, run
		h.delta = advance(h.state)
	}
	return h.state, h.delta
}
