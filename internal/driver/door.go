package driver

import (
	"context"
	"errors"
	"sync"
)

// errShut says that nobody is let in any more.
var errShut = errors.New("shut")

// door lets callers in until it is shut; then it cancels who is inside, and tells when all have left.
type door struct {
	empty chan struct{} // closed when it is shut and all have left

	mu    sync.Mutex
	shut  bool
	last  uint64                             // call
	calls map[uint64]context.CancelCauseFunc // of who is inside
}

func newDoor() *door {
	return &door{empty: make(chan struct{}), calls: make(map[uint64]context.CancelCauseFunc)}
}

// enter lets a caller in: the context ends when the door is shut, and the door is not empty before leave, which is to
// be called once.
func (d *door) enter(ctx context.Context) (inner context.Context, leave func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return nil, nil, errShut
	}
	inner, cancel := context.WithCancelCause(ctx)
	d.last++
	call := d.last
	d.calls[call] = cancel
	return inner, func() {
		cancel(nil)
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.calls, call)
		if d.shut && len(d.calls) == 0 {
			close(d.empty)
		}
	}, nil
}

// close shuts the door and cancels who is inside with the cause. It does not wait.
func (d *door) close(cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return
	}
	d.shut = true
	for _, cancel := range d.calls {
		cancel(cause)
	}
	if len(d.calls) == 0 {
		close(d.empty)
	}
}

// left reports whether the door is shut and all have left.
func (d *door) left() bool {
	select {
	case <-d.empty:
		return true
	default:
		return false
	}
}
