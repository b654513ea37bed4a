package dstream

import (
	"fmt"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/lineage"
)

// StorageLevel says where executors keep the partitions of a persisted stream. Records are kept encoded, one copy at the
// executor that computed them.
type StorageLevel uint8

const (
	// MemoryOnly keeps partitions in memory as long as there is room, and forgets them then (Spark: MEMORY_ONLY_SER).
	MemoryOnly StorageLevel = iota + 1
	// MemoryAndDisk puts partitions for which there is no room in memory into files of the executor
	// (Spark: MEMORY_AND_DISK_SER).
	MemoryAndDisk
)

// String gives the name under which plans show the level, "" for none.
func (l StorageLevel) String() string {
	switch l {
	case 0:
		return ""
	case MemoryOnly:
		return "memory"
	case MemoryAndDisk:
		return "memory+disk"
	}
	return fmt.Sprintf("StorageLevel(%d)", uint8(l))
}

// Persist lets executors keep what they compute of the stream's datasets, at the level, MemoryOnly if none is given. A
// second output of a batch, or a window of a later one, reads what is kept at the executor where it runs instead of
// computing it again. It is about time alone: what is not kept, for want of room or after a failure, is computed again,
// with the same result. It goes when no later batch can need it. T needs a codec (Spark: DStream.persist).
//
// A window is never kept: Persist of a window is that of the stream below it. Blocks of receivers and keyed state are
// kept as what they are, so that Persist of a receiver's stream, or of one that comes from state record by record,
// changes nothing. The last call for a stream holds.
func (s *DStream[T]) Persist(level ...StorageLevel) *DStream[T] {
	const op = "persist"
	s.c.unsealed(op)
	l := MemoryOnly
	if len(level) > 0 {
		l = level[0]
	}
	switch {
	case len(level) > 1:
		s.c.fail(op, fmt.Errorf("%d levels, expected one at most", len(level)))
	case l != MemoryOnly && l != MemoryAndDisk:
		s.c.fail(op, fmt.Errorf("level %v, expected MemoryOnly or MemoryAndDisk", l))
	}
	encodable[T](s.c, op)
	s.below().persisted(l)
	return s
}

// below is the stream that is kept for s: windows are not.
func (s *DStream[T]) below() *DStream[T] {
	for s.window != nil {
		s = s.window
	}
	return s
}

// persistDefault is Persist for operators that read a dataset in more than one batch; it leaves a level that was given,
// and types without codec, alone.
func (s *DStream[T]) persistDefault() {
	if _, err := codec.For[T](); err == nil && s.below().level == 0 {
		s.below().persisted(MemoryOnly)
	}
}

func (s *DStream[T]) persisted(l StorageLevel) {
	s.level = l
	s.plan().Persist = l.String()
}

// kept makes of a dataset of the stream the one that executors keep.
func (s *DStream[T]) kept(sc *lineage.Scope, n *lineage.Node[T]) *lineage.Node[T] {
	if s.level == 0 || n == nil {
		return n
	}
	rows, err := codec.For[T]()
	if err != nil {
		sc.Fail(err)
		return n
	}
	return lineage.Persist(sc, n, rows, s.level == MemoryAndDisk)
}
