package task_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
)

// kept is task.Kept without limits.
type kept struct {
	mu sync.Mutex
	of map[job.Partition][][]byte
}

func (k *kept) Get(p job.Partition) ([][]byte, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	chunks, ok := k.of[p]
	return chunks, ok
}

func (k *kept) Put(_ context.Context, p job.Partition, chunks [][]byte, _ bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = map[job.Partition][][]byte{}
	}
	k.of[p] = chunks
}

func (k *kept) Room() int64 { return 1 << 20 }

// keeping runs map tasks that keep the dataset below the shuffle, and counts those that found it kept.
func keeping(t *testing.T, f func(t dataset.Task)) (b *bench, found *sync.Map) {
	found = &sync.Map{}
	var graph *executortest.WordCount
	graph = &executortest.WordCount{Reducers: 1, Depth: 1, OnMap: func(task dataset.Task, _ dataset.ShuffleID, part int) {
		root, _, _ := graph.Dataset(1, 1000, sources(3))
		k := task.Kept(root.Deps()[0].On, part, false)
		if _, ok := k.Chunks(); ok {
			found.Store(part, true)
			return
		}
		func() {
			defer func() { _ = recover() }()
			f(task)
		}()
		k.Put([][]byte{fmt.Append(nil, part)})
	}}
	return newBench(t, 2, graph), found
}

func count(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

func TestKeptPartitionsAreFoundByLaterAttempts(t *testing.T) {
	b, found := keeping(t, func(dataset.Task) {})
	l := b.launch(job.MapTasks, 3, 0, 1, 2)
	b.run(t, l)
	l.Authority.Attempt++
	if b.run(t, l); count(found) != 3 {
		t.Errorf("%d partitions were found, expected 3", count(found))
	}
}

// Rule 8: a run that goes on without a lost block has as many partitions as one that lost another block.
func TestPartitionsOfOtherBlocksAreOthers(t *testing.T) {
	b, found := keeping(t, func(dataset.Task) {})
	b.run(t, b.launch(job.MapTasks, 3, 0, 1, 2))
	l := b.launch(job.MapTasks, 3, 0, 1, 2)
	l.Authority.Attempt++
	l.Inputs[0].Blocks[2].ID.Number = 2 // the same number of blocks
	if b.run(t, l); count(found) != 0 {
		t.Errorf("%d partitions of other blocks were taken", count(found))
	}
}

func TestWhatWasMadeAfterARecoveredFailureIsNotKept(t *testing.T) {
	b, _ := keeping(t, func(task dataset.Task) { task.Fail(errors.New("no input")) })
	b.run(t, b.launch(job.MapTasks, 3, 0, 1, 2))
	if len(b.kept.of) > 0 {
		t.Errorf("%d partitions are kept", len(b.kept.of))
	}
}
