package lineage

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

// checkEvery is how many records of a source are read between two looks at the task's context: a cancelled task ends
// soon, and the look costs nothing.
const checkEvery = 4096

// Source is an input stream at its scope's time: one partition per allocated block, whose bytes are rows of the codec
// one after the other. Strings are views into the block.
func Source[T any](s *Scope, parts int, c *codec.Codec[T]) *Node[T] {
	n := newNode[T](s, parts, nil, nil)
	n.blocks = true
	n.loop = func(t dataset.Task, part int, yield func(T) bool) {
		b := t.Block(n.id.Stream, n.id.Time, part)
		size := len(b)
		v := new(T)
		for count := 0; len(b) > 0; count++ {
			if count%checkEvery == 0 {
				checkContext(t)
			}
			at := size - len(b)
			var err error
			if b, err = c.ReadRow(b, v); err != nil {
				t.Fail(fmt.Errorf("stream %d at %d, block %d: record %d at byte %d of %d: %w",
					n.id.Stream, n.id.Time, part, count+1, at, size, err))
			}
			if !yield(*v) {
				return
			}
		}
	}
	return n
}

func checkContext(t dataset.Task) {
	if err := t.Context().Err(); err != nil {
		t.Fail(err)
	}
}
