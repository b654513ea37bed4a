package task_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

const bucketURL = "file:///shared"

// bucket is task.Pieces in memory.
type bucket struct {
	mu      sync.Mutex
	objects map[id.Block][]byte
	err     error
}

func (b *bucket) Put(_ context.Context, url string, d job.BlockData) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if url != bucketURL {
		return errors.New("wrong bucket")
	}
	if b.err == nil {
		b.objects[d.ID] = bytes.Clone(d.Data)
	}
	return b.err
}

func (b *bucket) Get(_ context.Context, url string, n *job.Block) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if url != bucketURL {
		return nil, errors.New("wrong bucket")
	}
	return b.objects[n.ID], b.err
}

// saved makes a bench whose first batch is checkpointed in a bucket, and the pieces.
func saved(t *testing.T) (b *bench, chain []job.Piece) {
	t.Helper()
	b = totals(t)
	b.run(t, b.reading(job.Version{Time: zeroTime}))
	b.Completed(7, one)
	l := b.checkpoint(true, 3, 4)
	l.App.CheckpointURL = bucketURL
	for _, r := range b.run(t, l) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		chain = append(chain, r.Pieces...)
	}
	if len(chain) < 3 || len(b.stored) != 0 || len(b.bucket.objects) != len(chain) {
		t.Fatalf("%d pieces, %d objects, %d pieces on stores", len(chain), len(b.bucket.objects), len(b.stored))
	}
	return b, chain
}

// second runs the second batch on an executor that has nothing but the bucket.
func second(t *testing.T, b *bench, chain []job.Piece) []job.TaskResult {
	t.Helper()
	fresh := newBench(t, 2, b.graph)
	fresh.bucket.objects, fresh.bucket.err = b.bucket.objects, b.bucket.err
	l := fresh.next(chain)
	l.App.CheckpointURL = bucketURL
	return fresh.run(t, l)
}

// Rule 7: what a checkpoint put into a bucket is what state is restored from, on an executor that has nothing of it.
func TestStateIsRestoredFromItsBucket(t *testing.T) {
	b, chain := saved(t)
	if slices.ContainsFunc(chain, func(p job.Piece) bool { return len(p.Block.Stores) > 0 }) {
		t.Errorf("pieces %+v name stores", chain)
	}
	wantIn(t, receipts(second(t, b, chain)), `"a":1`, `"b":2`, `"c":2`)
}

// Rules 8 and 12: a piece that cannot be read, or was damaged, is waited for.
func TestPieceThatItsBucketDoesNotGiveIsMissing(t *testing.T) {
	for name, harm := range map[string]func(b *bench, n id.Block){
		"away":    func(b *bench, _ id.Block) { b.bucket.err = errors.New("the bucket is away") },
		"gone":    func(b *bench, n id.Block) { delete(b.bucket.objects, n) },
		"damaged": func(b *bench, n id.Block) { b.bucket.objects[n][0] ^= 1 },
		"cut":     func(b *bench, n id.Block) { b.bucket.objects[n] = b.bucket.objects[n][:1] },
	} {
		t.Run(name, func(t *testing.T) {
			b, chain := saved(t)
			at := slices.IndexFunc(chain, func(p job.Piece) bool { return p.Part == 0 })
			harm(b, chain[at].Block.ID)
			results := second(t, b, chain)
			if e := results[0].Err; e == nil || e.Fault != job.MissingFault || !strings.Contains(e.Text, "of a checkpoint cannot be read") {
				t.Errorf("%+v, expected that the piece is missing", e)
			}
		})
	}
}

func TestCheckpointThatItsBucketDoesNotTakeIsNobodysTry(t *testing.T) {
	b := totals(t)
	b.run(t, b.reading(job.Version{Time: zeroTime}))
	b.bucket.err = errors.New("the bucket is away")
	l := b.checkpoint(true, 3, 4)
	l.App.CheckpointURL = bucketURL
	for _, r := range b.run(t, l) {
		if r.Err == nil || r.Err.Fault != job.LostFault || !strings.Contains(r.Err.Text, "the bucket is away") || len(r.Pieces) > 0 {
			t.Errorf("%+v", r)
		}
	}
}
