// Package lineagetest runs datasets on one goroutine, for tests of operators: the least that a Task must do. It knows
// no failure and no other process, but can hand buckets over as bytes, as another process would, and give up attempts.
package lineagetest

import (
	"context"
	"fmt"
	"iter"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Input names a block, or a part of a direct source.
type Input struct {
	Stream id.Stream
	Time   id.Time
	Part   int
}

// Engine holds blocks, the buckets made so far and keyed state. The zero value is usable.
type Engine struct {
	Ctx    context.Context // nil: the background
	Blocks map[Input][]byte
	Parts  map[Input]connector.Part
	Encode bool // hand buckets over as bytes
	// Damage, if not nil, changes the bytes of a bucket on their way.
	Damage  func(b []byte) []byte
	Run     dataset.Batch
	buckets map[dataset.ShuffleID][][]dataset.Rows // by map partition, then reducer
	states  map[StatePart]*held
	// Keep, if not nil, is what partitions of persisted datasets are kept in.
	Keep map[KeptPart][][]byte
	// Room is the most bytes of a kept partition.
	Room int64
}

// Partitions makes the engine a dataset.Sources.
func (e *Engine) Partitions(s id.Stream, at id.Time) int {
	n := 0
	for in := range e.Blocks {
		if in.Stream == s && in.Time == at {
			n++
		}
	}
	for in := range e.Parts {
		if in.Stream == s && in.Time == at {
			n++
		}
	}
	return n
}

// failed is how Fail unwinds.
type failed struct{ err error }

// Try runs what the stages below d need, then f with a task. The error is what the task failed with; panics of user
// code go through.
func (e *Engine) Try(d dataset.Dataset, f func(t dataset.Task)) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failed:
			err = p.err
		default:
			panic(p)
		}
	}()
	e.prepare(d)
	f(&task{e})
	return nil
}

// prepare runs the map side of every shuffle below d, once.
func (e *Engine) prepare(d dataset.Dataset) {
	for _, dep := range d.Deps() {
		e.prepare(dep.On)
		if dep.Shuffle == nil {
			continue
		}
		name := dep.Shuffle.ID()
		if _, ok := e.buckets[name]; ok {
			continue
		}
		if e.buckets == nil {
			e.buckets = map[dataset.ShuffleID][][]dataset.Rows{}
		}
		made := make([][]dataset.Rows, 0, dep.On.Partitions())
		for part := range dep.On.Partitions() {
			made = append(made, dep.Shuffle.Map(&task{e}, part))
		}
		e.buckets[name] = made
	}
}

type task struct{ e *Engine }

func (t *task) Context() context.Context {
	if t.e.Ctx == nil {
		return context.Background()
	}
	return t.e.Ctx
}

func (t *task) Batch() dataset.Batch { return t.e.Run }
func (t *task) Fail(err error)       { panic(failed{err}) }

func (t *task) Block(s id.Stream, at id.Time, part int) []byte {
	b, ok := t.e.Blocks[Input{s, at, part}]
	if !ok {
		t.Fail(fmt.Errorf("no block %d of stream %d at %d", part, s, at))
	}
	return b
}

func (t *task) Part(s id.Stream, at id.Time, part int) connector.Part {
	p, ok := t.e.Parts[Input{s, at, part}]
	if !ok {
		t.Fail(fmt.Errorf("no part %d of stream %d at %d", part, s, at))
	}
	return p
}

func (t *task) Buckets(s dataset.ShuffleID, reducer int) iter.Seq[dataset.Chunk] {
	return func(yield func(dataset.Chunk) bool) {
		for _, made := range t.e.buckets[s] {
			c := dataset.Chunk{Rows: made[reducer]}
			if t.e.Encode {
				c = dataset.Chunk{Bytes: made[reducer].Encode(nil)}
				if t.e.Damage != nil {
					c.Bytes = t.e.Damage(c.Bytes)
				}
			}
			if !yield(c) {
				return
			}
		}
	}
}
