package lineage

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
)

// keptChunk is about how many bytes of records are computed and encoded before they are handed on.
const keptChunk = 64 << 10

// Persist has the records of n and lets executors keep them, encoded: in memory, or also in files if spill. Who reads a
// partition that is kept where he runs gets it from there (Spark: RDD.persist).
//
// Records go on from their encoding in any case, also while they are computed, so that it cannot be told whether they
// were kept (rule 6). A partition is kept when it was computed to its end; a consumer that has enough before that ends
// the computation, a chunk later at most. Blocks of receivers and keyed state are where they are already: n itself is
// given then.
func Persist[T any](s *Scope, n *Node[T], c *codec.Codec[T], spill bool) *Node[T] {
	if n.stateful || n.blocks {
		return n
	}
	p := newNode[T](s, n.parts, same(n), nil).Keep(n.by).Encode(c)
	p.loop = func(t dataset.Task, part int, yield func(T) bool) {
		kept := t.Kept(p, part, spill)
		k := keeping[T]{task: t, of: p, part: part, yield: yield, room: kept.Room(), whole: true, cell: new(T), out: new(T)}
		if chunks, ok := kept.Chunks(); ok {
			for _, chunk := range chunks {
				if !k.read(chunk) {
					return
				}
			}
			return
		}
		n.loop(t, part, k.next)
		k.end(kept)
	}
	return p
}

// keeping is one computation of a partition that is to be kept, or the reading of a kept one.
type keeping[T any] struct {
	task  dataset.Task
	of    *Node[T]
	part  int
	yield func(T) bool
	room  int64

	chunk  []byte
	chunks [][]byte // those before chunk, as long as they fit
	size   int64    // of them
	whole  bool     // they are all
	inside bool     // a call of the consumer has begun and not returned: it is running, or a panic of it was recovered
	enough bool
	cell   *T // codecs take addresses: one to write from, one to read into, for the whole loop
	out    *T
}

// next takes a record that was computed.
func (k *keeping[T]) next(v T) bool {
	if k.inside || k.enough {
		return false
	}
	*k.cell = v
	k.chunk = k.of.codec.AppendRow(k.chunk, k.cell)
	if len(k.chunk) < keptChunk {
		return true
	}
	full := k.chunk
	k.add(full)
	if k.whole || !k.of.codec.Plain {
		k.chunk = make([]byte, 0, keptChunk+keptChunk/8)
	} else { // nothing refers to it
		k.chunk = k.chunk[:0]
	}
	return k.read(full)
}

// add enters a chunk that is complete. Those of a partition that is too large to be kept are let go.
func (k *keeping[T]) add(chunk []byte) {
	if k.size += int64(cap(chunk)); k.size > k.room {
		k.whole, k.chunks = false, nil
	}
	if k.whole {
		k.chunks = append(k.chunks, chunk)
	}
}

// end is called when the partition was computed, as far as the consumer wanted.
func (k *keeping[T]) end(kept dataset.Kept) {
	if k.inside {
		k.task.Fail(errRecovered)
	}
	if k.enough {
		return
	}
	checkContext(k.task) // user code that saw its end may have ended early
	last := k.chunk
	if len(last) > 0 {
		if cap(last) > 2*len(last) {
			last = append(make([]byte, 0, len(last)), last...)
		}
		k.add(last)
	}
	if k.whole {
		kept.Put(k.chunks)
	}
	k.read(last)
}

// read hands on the records of a chunk.
func (k *keeping[T]) read(chunk []byte) (more bool) {
	size := len(chunk)
	for count := 0; len(chunk) > 0; count++ {
		if count%checkEvery == 0 {
			checkContext(k.task)
		}
		at := size - len(chunk)
		var err error
		if chunk, err = k.of.codec.ReadRow(chunk, k.out); err != nil {
			k.task.Fail(fmt.Errorf("dataset %v, partition %d: kept record at byte %d of %d: %w", k.of.id, k.part, at, size, err))
		}
		k.inside = true
		more := k.yield(*k.out)
		k.inside = false
		if !more {
			k.enough = true
			return false
		}
	}
	return true
}
