package dstream

import (
	"fmt"
	"time"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/plan"
)

// Checkpoint sets how often the application's state is saved, at least: state is kept in memory by executors, and
// computed again from the last checkpoint and the input after it when they die. So the interval bounds the work after a
// death, and how long input is kept. It must be a multiple of the interval of every stream with state. Without it the
// interval is 10 s, or more so that it is such a multiple. The shortest interval that was asked for, here or by
// DStream.Checkpoint, holds for the whole application. A graph without state has nothing to save (Spark:
// StreamingContext.checkpoint sets a directory; there is none here).
func (c *Context) Checkpoint(every time.Duration) {
	c.unsealed("checkpoint")
	if err := multipleOf("interval", every, c.BatchInterval(), "the batch interval"); err != nil {
		c.fail("checkpoint", err)
		return
	}
	c.checkpoints = append(c.checkpoints, checkpoint{every: every, stream: anyStream, at: caller()})
}

// Checkpoint sets how often the stream's state is saved (see Context.Checkpoint): a multiple of the stream's interval,
// made longer where other streams with state have no time in common with it so often. On a stream without state the
// interval is checked, and there is nothing to save.
func (s *DStream[T]) Checkpoint(every time.Duration) *DStream[T] {
	s.c.unsealed("checkpoint")
	if err := multipleOfSlide(every, s.slideMS); err != nil {
		s.c.fail("checkpoint", err)
		return s
	}
	s.c.checkpoints = append(s.c.checkpoints, checkpoint{every: every, stream: s.c.keeper(s.id), at: caller()})
	return s
}

// checkpoint is an interval that was asked for.
type checkpoint struct {
	every  time.Duration
	stream id.Stream // anyStream: all of them
	at     string
}

const anyStream id.Stream = -1

// keptBy says that the state of a stream is kept by another one, which no program sees: what is asked of the one holds
// for the other.
func (c *Context) keptBy(s, keeper id.Stream) {
	if c.keepers == nil {
		c.keepers = map[id.Stream]id.Stream{}
	}
	c.keepers[s] = keeper
}

// keeper gives the stream that has the state of a stream.
func (c *Context) keeper(s id.Stream) id.Stream {
	if k, ok := c.keepers[s]; ok {
		return k
	}
	return s
}

// multipleOfSlide checks a checkpoint interval against a stream's slide.
func multipleOfSlide(every time.Duration, slideMS int64) error {
	return multipleOf("interval", every, time.Duration(slideMS)*time.Millisecond, "the stream's slide")
}

// checkpointErrs checks what only the whole graph shows: the intervals that hold for all streams with state against each
// of them, and that these have times in common often enough.
func (c *Context) checkpointErrs() (errs []error) {
	round := int64(1)
	for _, s := range c.neededStates() {
		at := c.plan.Streams[s.Stream]
		for _, ask := range c.checkpoints {
			if ask.stream != anyStream {
				continue
			}
			if err := multipleOfSlide(ask.every, s.SlideMS); err != nil {
				errs = append(errs, fmt.Errorf("%s: checkpoint: stream %d (%s at %s): %w", ask.at, s.Stream, at.Operator, at.At, err))
			}
		}
		if round > maxRound {
			continue // said already, and products of more streams might overflow
		}
		if round = common(round, s.SlideMS/c.spec.BatchMS); round > maxRound {
			errs = append(errs, fmt.Errorf("%s: %s: state with times every %d ms: together with the streams before it that is one time in common in %d batches, expected at most %d: choose slides with a smaller common multiple",
				at.At, at.Operator, s.SlideMS, round, maxRound))
		}
	}
	return errs
}

// neededStates lists the streams with state that outputs are computed from.
func (c *Context) neededStates() (states []plan.State) {
	needed := c.needed()
	for _, s := range c.states {
		if needed[s.Stream] {
			states = append(states, s)
		}
	}
	return states
}

// sealStates puts the streams with state that outputs need into the plan, and how often they are saved: at times that
// they have in common.
func (c *Context) sealStates() {
	const usual = 10_000 // ms
	c.plan.States = c.neededStates()
	round, asked := int64(1), int64(0)
	for _, s := range c.plan.States {
		round = common(round, s.SlideMS)
		for _, ask := range c.checkpoints {
			if ask.stream == anyStream || ask.stream == s.Stream {
				asked = least(asked, ask.every.Milliseconds())
			}
		}
	}
	switch {
	case c.plan.States == nil:
		return
	case asked == 0:
		asked = usual
	}
	c.plan.CheckpointMS = (asked + round - 1) / round * round
}

// least is the smaller of two durations, where 0 is none.
func least(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// needed says which streams the outputs are computed from.
func (c *Context) needed() []bool {
	needed := make([]bool, len(c.plan.Streams))
	for _, o := range c.plan.Outputs {
		needed[o.Stream] = true
	}
	for i := len(needed) - 1; i >= 0; i-- { // parents come before their children
		for _, p := range c.plan.Streams[i].Parents {
			needed[p] = needed[p] || needed[i]
		}
	}
	return needed
}
