package driver

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
)

const (
	// Idle is how long a turn may be left alone that waits for nothing but change.
	Idle = time.Duration(math.MaxInt64)
	// Soon is how long a turn is left alone that has work left over: an overloaded ledger, a full queue of orders.
	Soon = 20 * time.Millisecond
	// turnPause is the shortest time from turn to turn: changes in between are seen together.
	turnPause = time.Millisecond
)

// Turn compares one view with reality, and proposes or sends what is missing. It does a bounded amount of work and
// returns how long it may be left alone while nothing changes. id.ErrOverloaded means soon; any other error ends the
// leadership.
type Turn func(ctx context.Context, v fsm.View) (again time.Duration, err error)

// Turns is what a duty runs: turn after turn, whenever the ledger or the connections changed or the time came that the
// turn before asked for. It returns nil when ctx ends.
func Turns(ctx context.Context, l Ledger, c Connections, turn Turn) error {
	for {
		began := time.Now()
		connected := c.Changed() // before the view is taken: no change is missed
		v := l.View()
		again, err := turn(ctx, v)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, id.ErrOverloaded):
			again = Soon
		case err != nil:
			return err
		}
		if !wait(ctx, again, l.Changed(v.Index()), connected) || !rest(ctx, began, turnPause) {
			return nil
		}
	}
}

// wait returns when the time is over or one of the channels has something to say; false when ctx ended first.
func wait(ctx context.Context, d time.Duration, a, b <-chan struct{}) bool {
	var over <-chan time.Time
	if d != Idle {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-over:
	case <-a:
	case <-b:
	}
	return true
}

// rest waits until so long has passed since began; false when ctx ended first.
func rest(ctx context.Context, began time.Time, pause time.Duration) bool {
	left := pause - time.Since(began)
	if left <= 0 {
		return ctx.Err() == nil
	}
	return wait(ctx, left, nil, nil)
}
