package dstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
)

// Transform makes the dataset of every batch by any operators of package rdd. f describes it: it must return a dataset
// made of r, computes nothing, and is called again and again for the same batch, on the coordinator and on executors. So
// it must be pure: the same operators for the same r and t. If its descriptions differ between processes the batch
// fails. A batch for which s has no dataset fails, too (Spark: transform, which runs once, on the driver).
func Transform[T, U any](s *DStream[T], f func(r rdd.RDD[T], t time.Time) rdd.RDD[U]) *DStream[U] {
	const op = "transform"
	s.c.function(op, f)
	return add(s.c, op, s.slideMS, []id.Stream{s.id}, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[U], error) {
		n, err := s.must(p, sc.Time, op)
		if err != nil {
			return nil, err
		}
		return made(s.c, op, sc, f(rdd.Of(sc, n), sc.Time.Time()))
	})
}

// TransformWith is Transform of two streams, which must be of the same graph and have the same interval.
func TransformWith[T, V, U any](a *DStream[T], b *DStream[V], f func(x rdd.RDD[T], y rdd.RDD[V], t time.Time) rdd.RDD[U]) *DStream[U] {
	a.c.function("transformWith", f)
	return transformWith(a, b, "transformWith", 0, f)
}

func transformWith[T, V, U any](a *DStream[T], b *DStream[V], op string, parts int, f func(rdd.RDD[T], rdd.RDD[V], time.Time) rdd.RDD[U]) *DStream[U] {
	parents := []id.Stream{a.id}
	if related(a, op, b) {
		parents = append(parents, b.id)
	}
	return add(a.c, op, a.slideMS, parents, parts, func(p *pass, sc *lineage.Scope) (*lineage.Node[U], error) {
		x, err := a.must(p, sc.Time, op)
		if err != nil {
			return nil, err
		}
		y, err := b.must(p, sc.Time, op)
		if err != nil {
			return nil, err
		}
		return made(a.c, op, sc, f(rdd.Of(sc, x), rdd.Of(sc, y), sc.Time.Time()))
	})
}

// TransformAll is Transform of any number of streams of one type, at least one: f gets their datasets in the order of
// the streams (Spark: StreamingContext.transform).
func TransformAll[T, U any](streams []*DStream[T], f func(rs []rdd.RDD[T], t time.Time) rdd.RDD[U]) *DStream[U] {
	const op = "transformAll"
	if len(streams) == 0 || streams[0] == nil {
		panic(fmt.Sprintf("dstream: %s at %s: %d streams, expected at least one, none of them nil", op, caller(), len(streams)))
	}
	all := append([]*DStream[T](nil), streams...)
	first := all[0]
	first.c.function(op, f)
	var parents []id.Stream
	for _, s := range all {
		if related(first, op, s) {
			parents = append(parents, s.id)
		}
	}
	return add(first.c, op, first.slideMS, parents, 0, func(p *pass, sc *lineage.Scope) (*lineage.Node[U], error) {
		rs := make([]rdd.RDD[T], len(all))
		for i, s := range all {
			n, err := s.must(p, sc.Time, op)
			if err != nil {
				return nil, err
			}
			rs[i] = rdd.Of(sc, n)
		}
		return made(first.c, op, sc, f(rs, sc.Time.Time()))
	})
}

// made gives the node of what a function of the user returned for a scope's time.
func made[U any](c *Context, op string, sc *lineage.Scope, r rdd.RDD[U]) (*lineage.Node[U], error) {
	err := sc.Err()
	switch {
	case err != nil:
	case r.Node() == nil:
		err = errors.New("the function gave no dataset, expected one made of those that it gets")
	case !r.In(sc):
		err = errors.New("the function gave a dataset of another batch or stream, expected one made of those that it gets")
	}
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", op, c.plan.Streams[sc.Stream].At, err)
	}
	return r.Node(), nil
}
