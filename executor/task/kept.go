package task

import (
	"context"
	"encoding/binary"
	"hash"
	"hash/fnv"
	"sync"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
)

// Kept keeps partitions of persisted datasets at this executor. It may forget them at any time.
type Kept interface {
	// Get gives what was put under the key.
	Get(key job.Partition) (chunks [][]byte, ok bool)
	// Put keeps all records of a partition. It keeps nothing once ctx has ended.
	Put(ctx context.Context, key job.Partition, chunks [][]byte, spill bool)
	// Room is the most bytes that Put keeps.
	Room() int64
}

// kept is dataset.Kept for one partition, for as long as its task runs.
type kept struct {
	task  *task
	key   job.Partition
	spill bool
}

// Kept implements dataset.Task.
func (t *task) Kept(d dataset.Dataset, part int, spill bool) dataset.Kept {
	t.alive()
	return kept{t, job.Partition{App: t.launch.App.ID, Dataset: d.ID(), Part: part, Content: t.contents.of(d)}, spill}
}

// Chunks implements dataset.Kept.
func (k kept) Chunks() ([][]byte, bool) { return k.task.runner.kept.Get(k.key) }

// Room implements dataset.Kept.
func (k kept) Room() int64 { return k.task.runner.kept.Room() }

// Put implements dataset.Kept. Where user code has recovered a failure, what was made lacks input: it is not kept.
func (k kept) Put(chunks [][]byte) {
	if k.task.failed == nil {
		k.task.runner.kept.Put(k.task.ctx, k.key, chunks, k.spill)
	}
}

// contents knows the hashes of what the persisted datasets of a launch are computed from. All tasks of it share them.
type contents struct {
	inputs inputs

	mu   sync.Mutex
	made map[dataset.ID]uint64
}

// of gives the hash of a dataset's lineage and of what its inputs were allocated. Keyed state needs no part in it: that
// which a batch goes on from is committed, and never changes.
func (c *contents) of(d dataset.Dataset) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sum, ok := c.made[d.ID()]; ok {
		return sum
	}
	h := fnv.New64a()
	put(h, job.Lineage(d))
	job.Walk(d, func(d dataset.Dataset) bool {
		if in := c.inputs[input{d.ID().Stream, d.ID().Time}]; in != nil && len(d.Deps()) == 0 {
			allocated(h, in)
		}
		return true
	})
	if c.made == nil {
		c.made = map[dataset.ID]uint64{}
	}
	c.made[d.ID()] = h.Sum64()
	return c.made[d.ID()]
}

func allocated(h hash.Hash64, in *job.Input) {
	put(h, uint64(in.Stream), uint64(in.Time), uint64(len(in.Blocks)), uint64(len(in.Parts)))
	for i := range in.Blocks {
		b := &in.Blocks[i].ID
		put(h, uint64(b.App), uint64(b.Stream), uint64(b.Instance), b.Number)
	}
	for i := range in.Parts {
		p := &in.Parts[i]
		put(h, uint64(len(p.Data)), uint64(p.Records))
		_, _ = h.Write(p.Data) // a hash never fails
	}
}

func put(h hash.Hash64, vs ...uint64) {
	var buf [8]byte
	for _, v := range vs {
		binary.LittleEndian.PutUint64(buf[:], v)
		_, _ = h.Write(buf[:])
	}
}
