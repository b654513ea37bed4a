package dstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/raftstream/raftstream/dstream/rdd"
	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
	"github.com/raftstream/raftstream/internal/plan"
)

// ReduceByKeyAndWindow combines with f the values that each key has in a window. There is a window at every multiple of
// slide; the one at t has the batches of s after t-length up to t. length and slide must be multiples of the interval of
// s. Values are combined from the oldest batch to the newest, and within one in order of partition and arrival; f must
// be associative. A key without values in the window is not in the result. A batch for which s has no dataset adds
// nothing; every window has a dataset (Spark: reduceByKeyAndWindow).
//
// A batch is combined once, when it comes: what windows need of it is kept as state (see Context.Checkpoint), and a
// window is made of as many parts of that as the logarithm of the number of batches in it. In each partition keys come in
// the order in which they entered; one that had no value for as long as any window can remember enters anew. A key that
// is not equal to itself (NaN) fails the task. Options: Partitions.
func ReduceByKeyAndWindow[K comparable, V any](s *DStream[KV[K, V]], f func(a, b V) V, length, slide time.Duration, opts ...Option) *DStream[KV[K, V]] {
	const op = "reduceByKeyAndWindow"
	o := s.c.options(op, opts, "Partitions")
	s.c.function(op, f)
	w := pairsInWindows(s, op, reducing(f))
	w.Reduce = f
	return window(s, op, length, slide, o.partitions, w)
}

// ReduceByKeyAndWindowInverse is ReduceByKeyAndWindow for an f that can be undone: a window is made from the one before,
// whatever its length. The value of a key is inverse(value before, f over what has left the window), then f of that and
// of f over what is new; either is left out where there is nothing, and a key that was not in the window before has f
// over what is new. So inverse(f(a, b), a) must be b. A key that was ever in a window stays in all later ones, with what
// is left of its value; with the option Keep those stay for which it is true. A key that is not kept does not count for
// the next window: it comes back with its next new value. slide must not be greater than length (Spark:
// reduceByKeyAndWindow with an inverse function).
//
// Sums of floats are not undone exactly: what is left drifts. Options: Partitions, Keep.
func ReduceByKeyAndWindowInverse[K comparable, V any](s *DStream[KV[K, V]], f, inverse func(a, b V) V, length, slide time.Duration, opts ...Option) *DStream[KV[K, V]] {
	const op = "reduceByKeyAndWindowInverse"
	c := s.c
	o := c.options(op, opts, "Partitions", "Keep")
	c.function(op, f)
	c.function(op, inverse)
	c.invertible(op, length, slide)
	w := pairsInWindows(s, op, reducing(f))
	w.Reduce, w.Inverse = f, inverse
	if o.keep != nil {
		keep, ok := o.keep.(func(K, V) bool)
		if !ok {
			c.fail(op, fmt.Errorf("the option Keep has a %T, expected a %T", o.keep, keep))
		} else if c.function(op, keep); keep != nil {
			w.Keep = keep
		}
	}
	return window(s, op, length, slide, o.partitions, w)
}

// Keep says which keys stay in the windows of ReduceByKeyAndWindowInverse, by key and value. It is asked when the value of
// a key changes, and must be a function of its arguments alone.
func Keep[K comparable, V any](f func(K, V) bool) Option {
	return Option{"Keep", func(s *settings) error { s.keep = f; return nil }}
}

// GroupByKeyAndWindow collects the values that each key has in a window, in order of batch, partition and arrival.
// Windows and keys are those of ReduceByKeyAndWindow (Spark: groupByKeyAndWindow). Options: Partitions.
func GroupByKeyAndWindow[K comparable, V any](s *DStream[KV[K, V]], length, slide time.Duration, opts ...Option) *DStream[KV[K, []V]] {
	const op = "groupByKeyAndWindow"
	o := s.c.options(op, opts, "Partitions")
	w := pairsInWindows(s, op, lineage.GroupValues[V]())
	if v, err := codec.For[V](); err == nil { // the graph is refused otherwise
		w.Gather = lineage.GatherValues(v)
	}
	return window(s, op, length, slide, o.partitions, w)
}

// CountByValueAndWindow counts how often each record occurs in a window. Windows are those of ReduceByKeyAndWindow
// (Spark: countByValueAndWindow). Options: Partitions.
func CountByValueAndWindow[T comparable](s *DStream[T], length, slide time.Duration, opts ...Option) *DStream[KV[T, int64]] {
	const op = "countByValueAndWindow"
	o := s.c.options(op, opts, "Partitions")
	ones := narrow(s, "map", 0, func(r rdd.RDD[T]) rdd.RDD[KV[T, int64]] {
		return rdd.Map(r, func(v T) KV[T, int64] { return Pair(v, int64(1)) })
	})
	w := pairsInWindows(ones, op, reducing(Sum[int64]))
	w.Reduce = Sum[int64]
	if slide <= length {
		w.Inverse = minus
		w.Keep = func(_ T, n int64) bool { return n != 0 }
	}
	return window(ones, op, length, slide, o.partitions, w)
}

// ReduceByWindow has one record per window, f over all records, and none for an empty window. Windows are those of
// ReduceByKeyAndWindow; f must be associative (Spark: reduceByWindow).
func (s *DStream[T]) ReduceByWindow(f func(a, b T) T, length, slide time.Duration) *DStream[T] {
	const op = "reduceByWindow"
	s.c.function(op, f)
	w := allInWindows(s, op, reducing(f))
	w.Reduce = f
	return window(s, op, length, slide, 1, w)
}

// ReduceByWindowInverse is ReduceByWindow for an f that can be undone, as in ReduceByKeyAndWindowInverse: once there was a
// record, every window has one (Spark: reduceByWindow with an inverse function).
func (s *DStream[T]) ReduceByWindowInverse(f, inverse func(a, b T) T, length, slide time.Duration) *DStream[T] {
	const op = "reduceByWindowInverse"
	s.c.function(op, f)
	s.c.function(op, inverse)
	s.c.invertible(op, length, slide)
	w := allInWindows(s, op, reducing(f))
	w.Reduce, w.Inverse = f, inverse
	return window(s, op, length, slide, 1, w)
}

// CountByWindow has one record per window: the number of records, 0 for an empty window. Windows are those of
// ReduceByKeyAndWindow (Spark: countByWindow, which has no record before the first element).
func (s *DStream[T]) CountByWindow(length, slide time.Duration) *DStream[int64] {
	const op = "countByWindow"
	w := allInWindows(s, op, lineage.Combiner[T, int64]{
		Create: func(T) int64 { return 1 }, Value: func(n int64, _ T) int64 { return n + 1 }, Merge: Sum[int64],
	})
	w.Reduce = Sum[int64]
	if slide <= length {
		w.Inverse = minus
	}
	w.Default = []int64{0}
	return window(s, op, length, slide, 1, w)
}

func minus(a, b int64) int64 { return a - b }

func reducing[V any](f func(a, b V) V) lineage.Combiner[V, V] {
	return lineage.Combiner[V, V]{Create: func(v V) V { return v }, Value: f, Merge: f}
}

// pairsInWindows is how pairs come apart into key and value, and how the values of a key in a batch become one.
func pairsInWindows[K comparable, V, C any](s *DStream[KV[K, V]], op string, batch lineage.Combiner[V, C]) lineage.KeyedWindowed[KV[K, V], K, V, C, KV[K, C]] {
	encodablePairs[K, C](s.c, op)
	key, _ := codec.For[K]() // a type without codec is an error of the graph by now
	value, _ := codec.For[C]()
	w := lineage.KeyedWindowed[KV[K, V], K, V, C, KV[K, C]]{Batch: batch}
	w.Split, w.Join = func(p KV[K, V]) (K, V) { return p.Key, p.Value }, Pair[K, C]
	w.Key, w.Value, w.By = key, value, lineage.ByKey
	return w
}

// allInWindows has all records under one key, in one partition.
func allInWindows[T, C any](s *DStream[T], op string, batch lineage.Combiner[T, C]) lineage.KeyedWindowed[T, struct{}, T, C, C] {
	encodable[C](s.c, op)
	key, _ := codec.For[struct{}]()
	value, _ := codec.For[C]() // a type without codec is an error of the graph by now
	w := lineage.KeyedWindowed[T, struct{}, T, C, C]{Batch: batch}
	w.Split, w.Join = func(v T) (struct{}, T) { return struct{}{}, v }, func(_ struct{}, c C) C { return c }
	w.Key, w.Value = key, value
	return w
}

// invertible checks a window that is made from the one before: what came between two windows cannot be taken from one.
func (c *Context) invertible(op string, length, slide time.Duration) {
	if slide > length {
		c.fail(op, fmt.Errorf("slide %v is greater than the window %v: with an inverse function expected at most the window; leave the inverse function out", slide, length))
	}
}

// window makes the stream of windows, over a stream of what is kept for them as state: that one goes on with every batch,
// and its dataset at a time at which a window ends is the window.
func window[P any, K comparable, V, C, Q any](s *DStream[P], op string, length, slide time.Duration, parts int, w lineage.KeyedWindowed[P, K, V, C, Q]) *DStream[Q] {
	c := s.c
	times := lineage.PaneTimes{Zero: c.spec.ZeroTime, Pane: s.slideMS}
	var ok bool
	if times.Length, times.Every, ok = c.windowed(op, s.slideMS, length, slide); !ok {
		times.Length, times.Every = s.slideMS, s.slideMS // the graph is refused
	}
	if w.Gather == nil {
		times.Pane = gcd(times.Length, times.Every)
	}
	of := parts
	if of == 0 {
		of = c.spec.Partitions
	}
	kept := add(c, "panes", s.slideMS, []id.Stream{s.id}, parts, func(p *pass, sc *lineage.Scope) (*lineage.Node[Q], error) {
		n, err := s.get(p, sc.Time)
		if err != nil {
			return nil, err
		}
		return lineage.KeyedWindow(sc, n, w, times, sc.Time-id.Time(s.slideMS), of), nil
	})
	c.states = append(c.states, plan.State{Stream: kept.id, SlideMS: kept.slideMS, Partitions: of})
	d := add(c, op, times.Every, []id.Stream{kept.id}, parts, func(p *pass, sc *lineage.Scope) (*lineage.Node[Q], error) {
		n, err := kept.get(p, sc.Time)
		if n == nil && err == nil {
			err = errors.New("the panes of a window have no dataset at the end of the window")
		}
		return n, err
	})
	c.keptBy(d.id, kept.id)
	return d
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
