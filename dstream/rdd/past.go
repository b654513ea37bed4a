package rdd

import (
	"fmt"
	"time"

	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/lineage"
)

// Past has the datasets of a stream's last batches, for one call of a function given to Slice.
type Past[T any] struct {
	scope *lineage.Scope
	times Times
	get   func(at id.Time) (*lineage.Node[T], error)
}

// Batch is the dataset of a stream at one of its times.
type Batch[T any] struct {
	Time time.Time
	RDD  RDD[T]
}

// Times are those of a stream: every Slide after Zero, of which a Past knows the last Back.
type Times struct{ Zero, Slide, Back id.Time }

// PastOf makes a Past as of a scope's time; get gives the node of a time, nil where there is no dataset. For package
// dstream.
func PastOf[T any](s *lineage.Scope, times Times, get func(at id.Time) (*lineage.Node[T], error)) Past[T] {
	return Past[T]{scope: s, times: times, get: get}
}

// floor gives the stream's last time that is not after a time.
func (t Times) floor(at time.Time) id.Time {
	since := at.Sub(t.Zero.Time()).Milliseconds()
	if at.Before(t.Zero.Time().Add(time.Duration(since) * time.Millisecond)) {
		since-- // of a time between two milliseconds before zero
	}
	slide := int64(t.Slide)
	if since%slide < 0 {
		since -= slide
	}
	return t.Zero + id.Time(since-since%slide)
}

// Slice gives the datasets of the batches from one time to another, both included, oldest first; each end counts as the
// last time of the stream not after it. Times without a dataset are left out, as are those at or before zero time. Times
// beyond what Slice was told to look back, or after the batch, fail the batch (Spark: DStream.slice).
func (p Past[T]) Slice(from, to time.Time) []Batch[T] {
	first, last := p.times.floor(from), p.times.floor(to)
	oldest := p.scope.Time - p.times.Back + p.times.Slide
	if first < oldest || last > p.scope.Time {
		p.scope.Fail(fmt.Errorf("slice from %v to %v: expected times from %v to %v, those of the last %v", from, to,
			oldest.Time(), p.scope.Time.Time(), time.Duration(p.times.Back)*time.Millisecond))
		return nil
	}
	var all []Batch[T]
	for at := max(first, p.times.Zero+p.times.Slide); at <= last; at += p.times.Slide {
		n, err := p.get(at)
		if err != nil {
			p.scope.Fail(err)
			return nil
		}
		if n != nil {
			all = append(all, Batch[T]{Time: at.Time(), RDD: Of(p.scope, n)})
		}
	}
	return all
}

// Union is the union of what Slice gives: empty where that is.
func (p Past[T]) Union(from, to time.Time) RDD[T] {
	batches := p.Slice(from, to)
	nodes := make([]*lineage.Node[T], len(batches))
	for i, b := range batches {
		nodes[i] = b.RDD.node
	}
	return Of(p.scope, lineage.Union(p.scope, nodes))
}
