package dstream

import (
	"fmt"
	"time"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

const (
	// maxReplayed bounds how far back, in batch intervals, a dataset may be computed from inputs again: every batch's
	// order names the inputs of that many batches. A longer window keeps its records as state.
	maxReplayed = 3600
	// maxPanes bounds the datasets of a window in intervals of its parent, and maxLength it in all: sums of lengths down
	// a chain of windows must not overflow.
	maxPanes  = 100_000
	maxLength = 100 * 365 * 24 * time.Hour
	// maxRound bounds the batches from one time that all streams with state have to the next: state is checkpointed at
	// such times. The ledger has the same limit.
	maxRound = 5000
)

// past is what the graph knows of how a stream looks back.
type past struct {
	// replays says that the stream's dataset of an earlier time can be computed again from inputs alone, narrowly: no
	// shuffle would be made again, and no state read.
	replays bool
	span    int64 // how far before its own time the stream asks its parents for datasets, in ms
	reach   int64 // how far before its own time it reads inputs by that, in ms
}

// replayed are the operators whose datasets replay where those of all parents do.
var replayed = map[string]bool{
	"receiverStream": true, "directStream": true, "map": true, "flatMap": true, "filter": true, "mapPartitions": true,
	"glom": true, "mapValues": true, "flatMapValues": true, "union": true,
}

// pastOf gives what follows for an operator from its parents; how it looks back itself is for lookBack to say.
func (c *Context) pastOf(op string, parents []id.Stream) past {
	p := past{replays: replayed[op]}
	for _, parent := range parents {
		p.replays = p.replays && c.pasts[parent].replays
		p.reach = max(p.reach, c.pasts[parent].reach)
	}
	return p
}

// replays says whether a stream's datasets of up to spanMS before a time may be computed again for that time.
func (c *Context) replays(s id.Stream, spanMS int64) bool {
	p := c.pasts[s]
	return p.replays && p.reach+spanMS < maxReplayed*c.spec.BatchMS
}

// lookBack says that a stream asks its parents for datasets of up to spanMS before its own time.
func (c *Context) lookBack(s id.Stream, replays bool, spanMS int64) {
	p := &c.pasts[s]
	p.replays, p.span = replays, spanMS
	p.reach += spanMS
}

// sealRemember puts into the plan how long datasets and inputs may be asked for: durations add up down a chain of
// windows (Spark: rememberDuration).
func (c *Context) sealRemember() {
	c.plan.RememberMS = max(c.spec.BatchMS, c.remember.Milliseconds())
	needed := c.needed()
	back := make([]int64, len(needed)) // how long before a batch its datasets are asked for
	for i := len(needed) - 1; i >= 0; i-- {
		if !needed[i] {
			continue
		}
		s := &c.plan.Streams[i]
		s.RememberMS = back[i] + s.SlideMS
		for _, p := range s.Parents {
			back[p] = max(back[p], back[i]+c.pasts[i].span)
		}
		if len(s.Parents) == 0 {
			c.plan.RememberMS = max(c.plan.RememberMS, s.RememberMS)
		}
	}
}

// windowed checks the durations of a window over a stream, and gives them in ms. Where they cannot be, the error is
// recorded at the caller.
func (c *Context) windowed(op string, parentMS int64, length, slide time.Duration) (lengthMS, slideMS int64, ok bool) {
	lengthMS, okLength := c.lasting(op, "window", parentMS, length)
	slideMS, okSlide := c.lasting(op, "slide", parentMS, slide)
	return lengthMS, slideMS, okLength && okSlide
}

// lasting checks a duration that must be a multiple of the slide of an operator's parent, and gives it in ms.
func (c *Context) lasting(op, what string, parentMS int64, d time.Duration) (durationMS int64, ok bool) {
	parent := time.Duration(parentMS) * time.Millisecond
	err := multipleOf(what, d, parent, "the parent's slide")
	if err == nil && d/parent > maxPanes {
		err = fmt.Errorf("%s %v: it has %d times the parent's slide %v, expected at most %d", what, d, d/parent, parent, maxPanes)
	}
	if err != nil {
		c.fail(op, err)
	}
	return d.Milliseconds(), err == nil
}

// together checks that an operator can have two streams as parents; nth numbers the other one, the first being 1.
func together[T, V any](s *DStream[T], nth int, other *DStream[V]) error {
	switch {
	case other == nil:
		return fmt.Errorf("stream %d of the operator is nil", nth)
	case other.c != s.c:
		return fmt.Errorf("the streams are not of the same graph: stream %d of the operator was made with another Context", nth)
	case other.slideMS != s.slideMS:
		return fmt.Errorf("%s has a slide of %v, %s one of %v: expected the same", s.describe(), s.slide(), other.describe(), other.slide())
	}
	return nil
}

// describe names the stream for the user.
func (s *DStream[T]) describe() string {
	return fmt.Sprintf("stream %d (%s at %s)", s.id, s.plan().Operator, s.plan().At)
}

// slide is the time between two datasets.
func (s *DStream[T]) slide() time.Duration { return time.Duration(s.slideMS) * time.Millisecond }

// plan describes the stream.
func (s *DStream[T]) plan() *plan.Stream { return &s.c.plan.Streams[s.id] }

// multipleOf checks that a duration is a positive multiple of another one. The error says what would be right.
func multipleOf(what string, d, unit time.Duration, of string) error {
	below := d - d%unit
	switch {
	case d > maxLength:
		return fmt.Errorf("%s %v: expected at most %v", what, d, maxLength)
	case d < unit:
		return fmt.Errorf("%s %v: expected a multiple of %s %v, e.g. %v or %v", what, d, of, unit, unit, 2*unit)
	case below != d:
		return fmt.Errorf("%s %v: expected a multiple of %s %v, e.g. %v or %v", what, d, of, unit, below, below+unit)
	}
	return nil
}

// whole checks that a duration is one that batch times can have: whole milliseconds, at least one.
func whole(what string, d time.Duration) error {
	switch {
	case d > maxLength:
		return fmt.Errorf("%s %v: expected at most %v", what, d, maxLength)
	case d < time.Millisecond || d%time.Millisecond != 0:
		return fmt.Errorf("%s %v: expected whole milliseconds, at least 1ms", what, d)
	}
	return nil
}

// common is the least common multiple of two positive numbers.
func common(a, b int64) int64 {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}
