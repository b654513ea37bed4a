package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

// tenure is one leadership of this node: the ledger bound to it, and a door by which callers from outside come in
// while it lasts. It implements Ledger.
type tenure struct {
	raft  Raft
	term  uint64
	epoch id.Epoch
	began time.Time
	door  *door // of callers from outside
}

func newTenure(r Raft, term uint64) *tenure {
	return &tenure{raft: r, term: term, began: time.Now(), door: newDoor()}
}

func (t *tenure) Epoch() id.Epoch                      { return t.epoch }
func (t *tenure) View() fsm.View                       { return t.raft.View() }
func (t *tenure) Changed(after uint64) <-chan struct{} { return t.raft.Changed(after) }

// Propose makes sure that a refusal is one of the command: what another leadership's opening refused says nothing
// about the command, so its outcome is given as unknown.
func (t *tenure) Propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	r, err := t.raft.Propose(ctx, t.term, c)
	if err != nil {
		return fsm.Result{}, fmt.Errorf("propose %T: %w", c, err)
	}
	if r.Stale {
		return fsm.Result{}, fmt.Errorf("propose %T in term %d: %w: %s", c, t.term, errDeposed, r.Reason)
	}
	return r, nil
}

// enter lets a caller from outside in: the context ends with the tenure, and the tenure does not end before leave.
func (t *tenure) enter(ctx context.Context) (inner context.Context, leave func(), err error) {
	if inner, leave, err = t.door.enter(ctx); err != nil {
		return nil, nil, id.ErrNotLeader
	}
	return inner, leave, nil
}

// end shuts the door, cancels who is inside and waits until all have left.
func (t *tenure) end() {
	t.door.close(errDeposed)
	<-t.door.empty
}
