package dstream

import (
	"time"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
)

// Slice makes the dataset of each batch from those of s at the last times: past has them as far back as the duration
// says, which must be a multiple of the interval of s. It always has a dataset, also where s has none. What holds of the
// function of Transform holds of f: it runs on the coordinator and on executors, for every batch at least once, and must
// be pure (Spark: DStream.slice, which only programs on the driver can call).
//
// Earlier datasets are computed again or kept as state, as Window says.
func Slice[T, U any](s *DStream[T], back time.Duration, f func(past rdd.Past[T], t time.Time) rdd.RDD[U]) *DStream[U] {
	const op = "slice"
	c := s.c
	c.function(op, f)
	backMS, ok := c.lasting(op, "length", s.slideMS, back)
	if !ok {
		backMS = s.slideMS // the graph is refused
	}
	apply := func(sc *lineage.Scope, get func(id.Time) (*lineage.Node[T], error)) (*lineage.Node[U], error) {
		past := rdd.PastOf(sc, rdd.Times{Zero: c.spec.ZeroTime, Slide: id.Time(s.slideMS), Back: id.Time(backMS)}, get)
		return made(c, op, sc, f(past, sc.Time.Time()))
	}
	if span := backMS - s.slideMS; c.replays(s.id, span) {
		u := add(c, op, s.slideMS, []id.Stream{s.id}, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[U], error) {
			return apply(sc, func(at id.Time) (*lineage.Node[T], error) { return s.get(p, at) })
		})
		c.lookBack(u.id, false, span)
		return u
	}
	panes := s.panes(op, backMS)
	u := add(c, op, s.slideMS, []id.Stream{panes.id}, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[U], error) {
		all, err := panes.get(p, sc.Time)
		if err != nil {
			return nil, err
		}
		return apply(sc, func(at id.Time) (*lineage.Node[T], error) {
			if n, err := s.get(p, at); n == nil || err != nil { // which is no question of its records
				return nil, err
			}
			return lineage.Panes(sc, all, at, at), nil
		})
	})
	c.keptBy(u.id, panes.id)
	return u
}
