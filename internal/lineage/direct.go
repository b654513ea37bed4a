package lineage

import (
	"context"
	"fmt"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/dataset"
)

// Reader is connector.DirectSource's Read.
type Reader[T any] func(ctx context.Context, p connector.Part, yield func(T) bool) error

// Direct is an input stream that tasks read themselves: one partition per planned part. A part is read whole, or up to
// where the consumer has enough, or the task fails: a source that stops early, without an error, is not taken for one
// that has ended, because it must yield as many records as were planned.
func Direct[T any](s *Scope, parts int, read Reader[T]) *Node[T] {
	n := newNode[T](s, parts, nil, nil)
	n.loop = func(t dataset.Task, part int, yield func(T) bool) {
		p := t.Part(n.id.Stream, n.id.Time, part)
		checkContext(t)
		r := reading[T]{task: t, yield: yield, planned: p.Records}
		err := read(t.Context(), p, r.next)
		r.over = true
		switch {
		case r.inside:
			t.Fail(fmt.Errorf("stream %d at %d, part %d: %w", n.id.Stream, n.id.Time, part, errRecovered))
		case r.enough:
			return // what Read says about an end that it did not choose does not matter
		}
		checkContext(t)
		switch {
		case r.more: // Read was stopped: what it says about that does not matter
			err = fmt.Errorf("the source has more than the %d records that were planned", p.Records)
		case err == nil && r.count != p.Records:
			err = fmt.Errorf("the source yielded %d records, planned were %d", r.count, p.Records)
		}
		if err != nil {
			t.Fail(fmt.Errorf("stream %d at %d, part %d: %w", n.id.Stream, n.id.Time, part, err))
		}
	}
	return n
}

// reading is one call of Read. What a source yields beyond what was planned, after the consumer had enough or panicked,
// after the task's context ended or after Read returned goes nowhere.
type reading[T any] struct {
	task    dataset.Task
	yield   func(T) bool
	planned int64
	count   int64
	more    bool // there was more than planned, perhaps without an end
	inside  bool // a call of the consumer has begun and not returned: it is running, or a panic of it was recovered
	enough  bool
	over    bool
}

func (r *reading[T]) next(v T) bool {
	if r.over || r.inside || r.enough || r.count%checkEvery == 0 && r.task.Context().Err() != nil {
		return false
	}
	if r.more = r.count >= r.planned; r.more {
		return false
	}
	r.count++
	r.inside = true
	more := r.yield(v)
	r.inside = false
	r.enough = !more
	return more
}
