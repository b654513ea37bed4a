package streamtest

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// ledger is the state machine without Raft: what is proposed is an entry at once. Its methods may be called
// concurrently.
type ledger struct {
	mu      sync.Mutex
	machine *fsm.Machine
	index   uint64
	term    uint64
	epoch   id.Epoch
	changed chan struct{} // closed at the next entry
}

func newLedger() *ledger {
	return &ledger{machine: fsm.New(), changed: make(chan struct{})}
}

// propose encodes a command, applies it as an entry of its own, and gives its result; a refusal is an error.
func (l *ledger) propose(c fsm.Command) (fsm.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.apply(c)
}

// apply is propose under the lock.
func (l *ledger) apply(c fsm.Command) (fsm.Result, error) {
	entry, err := fsm.Encode(l.term, c)
	if err != nil {
		return fsm.Result{}, fmt.Errorf("encode %T: %w", c, err)
	}
	l.index++
	results, err := l.machine.Apply(l.index, entry)
	if err != nil {
		return fsm.Result{}, fmt.Errorf("apply %T: %w", c, err)
	}
	close(l.changed)
	l.changed = make(chan struct{})
	if r := results[0]; r.Outcome != fsm.Done {
		return r, fmt.Errorf("%T: %s", c, r.Reason)
	}
	return results[0], nil
}

// lead opens the next leadership.
func (l *ledger) lead() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term++
	r, err := l.apply(&fsm.Epoch{Term: l.term, Leader: "streamtest", Name: "streamtest", Addr: "streamtest"})
	l.epoch = id.Epoch(r.Index)
	return err
}

func (l *ledger) view() fsm.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machine.View()
}

// wait waits until what holds of the view.
func (l *ledger) wait(ctx context.Context, what func(fsm.View) bool) error {
	for {
		l.mu.Lock()
		v, changed := l.machine.View(), l.changed
		l.mu.Unlock()
		if what(v) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// recovered is the ledger of a process that has this one's snapshot and nothing else.
func (l *ledger) recovered() (*ledger, error) {
	v := l.view()
	var snapshot bytes.Buffer
	if err := v.WriteSnapshot(&snapshot); err != nil {
		return nil, fmt.Errorf("write the snapshot: %w", err)
	}
	next := newLedger()
	if err := next.machine.Restore(&snapshot); err != nil {
		return nil, fmt.Errorf("restore the snapshot: %w", err)
	}
	if next.machine.View().Hash() != v.Hash() {
		return nil, fmt.Errorf("the state restored from the snapshot of entry %d is another one", v.Index())
	}
	next.index, next.term = v.Index(), l.term
	return next, nil
}
