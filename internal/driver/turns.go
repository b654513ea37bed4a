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
	return TurnsWith(ctx, l, c, func() <-chan struct{} { return nil }, turn)
}

// TurnsWith is Turns for a duty that heeds one thing more: what more gives is closed when that has changed next.
func TurnsWith(ctx context.Context, l Ledger, c Connections, more func() <-chan struct{}, turn Turn) error {
	for {
		began := time.Now()
		connected, other := c.Changed(), more() // before the view is taken: no change is missed
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
		if !wait(ctx, again, signals{l.Changed(v.Index()), connected, other}) || !rest(ctx, began, turnPause) {
			return nil
		}
	}
}

// signals are what wait waits for; nil is none.
type signals [3]<-chan struct{}

// wait returns when the time is over or one of the signals comes; false when ctx ended first.
func wait(ctx context.Context, d time.Duration, s signals) bool {
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
	case <-s[0]:
	case <-s[1]:
	case <-s[2]:
	}
	return true
}

// rest waits until so long has passed since began; false when ctx ended first.
func rest(ctx context.Context, began time.Time, pause time.Duration) bool {
	left := pause - time.Since(began)
	if left <= 0 {
		return ctx.Err() == nil
	}
	return wait(ctx, left, signals{})
}
