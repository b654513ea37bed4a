package dstream

import (
	"time"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/plan"
)

// Window has, every slide, the records of the last length: those of the batches of s at times after t-length up to t,
// oldest first in each partition. Batches for which s has no dataset are skipped; the window always has a dataset, maybe
// an empty one. Both durations must be multiples of the interval of s (Spark: window).
//
// Where s is computed from inputs record by record, the inputs of the window's batches are kept and read again, so that
// the records go through the operators before the window once more in every window; s.Persist() saves that. Otherwise
// (s comes from a shuffle, state or a Transform, or the window is longer than 3600 batches) executors keep the records
// themselves, as state, and T needs a codec: memory and checkpoints have to hold a window of them.
func (s *DStream[T]) Window(length, slide time.Duration) *DStream[T] {
	const op = "window"
	c := s.c
	c.unsealed(op)
	lengthMS, slideMS, ok := c.windowed(op, s.slideMS, length, slide)
	if !ok {
		return s // the graph is refused
	}
	if span := lengthMS - s.slideMS; c.replays(s.id, span) {
		w := add(c, op, slideMS, []id.Stream{s.id}, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[T], error) {
			return s.since(p, sc, sc.Time-id.Time(span))
		})
		c.lookBack(w.id, true, span)
		if slideMS < lengthMS {
			s.persistDefault() // each of its datasets is in several windows
		}
		w.window = s
		return w
	}
	panes := s.panes(op, lengthMS)
	w := add(c, op, slideMS, []id.Stream{panes.id}, panes.plan().Partitions, func(p *pass, sc *lineage.Scope) (*lineage.Node[T], error) {
		return panes.get(p, sc.Time)
	})
	c.keptBy(w.id, panes.id)
	w.window = s
	return w
}

// since is the union of the datasets of s at its times from one on up to the scope's.
func (s *DStream[T]) since(p *pass, sc *lineage.Scope, from id.Time) (*lineage.Node[T], error) {
	var nodes []*lineage.Node[T]
	for at := from; at <= sc.Time; at += id.Time(s.slideMS) {
		n, err := s.get(p, at)
		if err != nil {
			return nil, err
		}
		if n != nil {
			nodes = append(nodes, n)
		}
	}
	return lineage.Union(sc, nodes), nil
}

// panes is the stream of what is kept as state of s for an operator that looks back: at each time of s, the records of
// the last keepMS. It always has a dataset; lineage.Panes gives that of a part of the time.
func (s *DStream[T]) panes(op string, keepMS int64) *DStream[T] {
	c := s.c
	encodable[T](c, op)
	rows, _ := codec.For[T]() // a type without codec is an error of the graph by now
	parts := c.partitionsOf(s.id)
	r := add(c, "panes", s.slideMS, []id.Stream{s.id}, parts, func(p *pass, sc *lineage.Scope) (*lineage.Node[T], error) {
		n, err := s.get(p, sc.Time)
		if err != nil {
			return nil, err
		}
		return lineage.Ring(sc, n, rows, lineage.Kept{Base: sc.Time - id.Time(s.slideMS), MS: keepMS, Parts: parts}), nil
	})
	c.states = append(c.states, plan.State{Stream: r.id, SlideMS: r.slideMS, Partitions: parts})
	return r
}

// partitionsOf guesses how many partitions the datasets of a stream have, so that state over it stays where its records
// are: what is said for the stream from which it comes record by record, or the application's default.
func (c *Context) partitionsOf(s id.Stream) int {
	for {
		of := c.plan.Streams[s]
		switch {
		case of.Partitions > 0:
			return of.Partitions
		case !replayed[of.Operator] || len(of.Parents) != 1:
			return c.spec.Partitions
		}
		s = of.Parents[0]
	}
}
