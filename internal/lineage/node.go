// Package lineage owns the typed operators: datasets of one batch whose loops fuse, over the untyped seam of package
// dataset. It is engine internals, without compatibility promise.
//
// It promises that no record is boxed, that a partition is computed by one loop up to the next shuffle, that a consumer
// that has enough stops the loop, and that results depend on the input alone (rule 6). It knows no pair type: keyed
// operators take functions that split and join pairs, so that methods of DStream[T] can use them. It must not know the
// engine.
package lineage

import (
	"errors"
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Scope numbers the datasets that are made for one stream at one time. One goroutine uses it.
type Scope struct {
	Stream     id.Stream
	Time       id.Time
	Partitions int // of shuffles that say nothing else, at least 1
	// Closed says why no dataset can be made under the scope: an operator panics with it. "": datasets can be made.
	Closed string
	next   int32
	err    error
}

func (s *Scope) id() dataset.ID {
	if s.Closed != "" {
		panic(s.Closed)
	}
	d := dataset.ID{Stream: s.Stream, Time: s.Time, Sub: s.next}
	s.next++
	return d
}

// Fail records why the datasets of the scope cannot be made; the first reason stays.
func (s *Scope) Fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Err is what Fail recorded.
func (s *Scope) Err() error { return s.err }

// Partitioning says by what the records of a dataset are spread over partitions: records that agree in the part named
// By are in the same of Parts partitions. The zero value says nothing.
type Partitioning struct {
	By    string
	Parts int
}

// Loop runs the fused loop of a partition: it calls yield with every record until that returns false.
type Loop[T any] func(t dataset.Task, part int, yield func(T) bool)

// Node is a dataset of T. Immutable once it is used.
type Node[T any] struct {
	id    dataset.ID
	parts int
	deps  []dataset.Dep
	by    Partitioning
	loop  Loop[T]
	codec *codec.Codec[T]
	// stateful says that reading a partition advances keyed state: it must be read at least as far as the first record,
	// whether or not anybody wants one.
	stateful bool
	// blocks says that the partitions are blocks as executors store them.
	blocks bool
}

var _ dataset.Dataset = (*Node[int])(nil)

func newNode[T any](s *Scope, parts int, deps []dataset.Dep, loop Loop[T]) *Node[T] {
	n := &Node[T]{id: s.id(), parts: parts, loop: loop}
	n.on(deps)
	return n
}

// on sets what the dataset is computed from.
func (n *Node[T]) on(deps []dataset.Dep) {
	n.deps = deps
	for _, d := range deps {
		below, ok := d.On.(interface{ advances() bool })
		n.stateful = n.stateful || d.Narrow != nil && ok && below.advances()
	}
}

func (n *Node[T]) advances() bool { return n.stateful }

// ID names the dataset.
func (n *Node[T]) ID() dataset.ID { return n.id }

// Partitions is the number of partitions, 0 for a batch without input.
func (n *Node[T]) Partitions() int { return n.parts }

// Deps are the datasets that this one is computed from.
func (n *Node[T]) Deps() []dataset.Dep { return n.deps }

// Partitioned says by what the records are spread.
func (n *Node[T]) Partitioned() Partitioning { return n.by }

// Keep says that the records are spread as by says; the caller knows.
func (n *Node[T]) Keep(by Partitioning) *Node[T] {
	n.by = by
	return n
}

// Encode gives the dataset the codec that Collect needs.
func (n *Node[T]) Encode(c *codec.Codec[T]) *Node[T] {
	n.codec = c
	return n
}

var errRecovered = errors.New("a panic was recovered while the partition was read: what was read is not all of it")

// Seq is the records of a partition. Each call of the sequence computes it anew; t ends with its task.
func (n *Node[T]) Seq(t dataset.Task, part int) iter.Seq[T] {
	return func(yield func(T) bool) { n.loop(t, part, yield) }
}

// Read is Seq for user code. whole is to be called when that has returned: it fails the task if a panic ended the last
// reading and was recovered by a user who may take what he got for all. Where nothing was read it begins to, if keyed
// state goes on by that.
func (n *Node[T]) Read(t dataset.Task, part int) (seq iter.Seq[T], whole func()) {
	begun, broken := false, false
	seq = func(yield func(T) bool) {
		begun = true
		returned := false
		defer func() { broken = !returned }()
		n.loop(t, part, yield)
		returned = true
	}
	return seq, func() {
		if broken {
			t.Fail(errRecovered)
		}
		if !begun && n.stateful {
			n.loop(t, part, func(T) bool { return false })
		}
	}
}

// Each calls yield with the records of a partition until it returns false.
func (n *Node[T]) Each(t dataset.Task, part int, yield func(T) bool) { n.loop(t, part, yield) }

// Collect gives at most limit records of a partition (all if limit < 0), as copies. It fails the task if the dataset
// has no codec.
func (n *Node[T]) Collect(t dataset.Task, part, limit int) dataset.Rows {
	if n.codec == nil {
		t.Fail(fmt.Errorf("dataset %v: collected without a codec", n.id))
	}
	r := &rows[T]{codec: n.codec}
	if limit == 0 && !n.stateful {
		return r
	}
	n.loop(t, part, func(v T) bool {
		if limit == 0 {
			return false
		}
		r.vals = append(r.vals, v)
		r.codec.Own(&r.vals[len(r.vals)-1])
		return len(r.vals) != limit
	})
	return r
}

// same is the dependency of an operator that reads its parent partition by partition.
func same(d dataset.Dataset) []dataset.Dep {
	return []dataset.Dep{{On: d, Narrow: func(part int) []int { return []int{part} }}}
}
