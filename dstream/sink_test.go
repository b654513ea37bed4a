package dstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
)

// noting notes what the engine asks of it, and fails as it is told.
type noting struct {
	wrote    []connector.Partition
	commits  []connector.Batch
	receipts [][][]byte
	receipt  []byte // one buffer for all
	large    bool
	fail     error
}

func (s *noting) Write(ctx context.Context, p connector.Partition, seq iter.Seq[int]) ([]byte, error) {
	s.wrote = append(s.wrote, p)
	s.receipt = fmt.Append(s.receipt[:0], slices.Collect(seq))
	if s.large {
		return make([]byte, connector.MaxReceipt+1), nil
	}
	return s.receipt, errors.Join(s.fail, ctx.Err())
}

func (s *noting) Commit(_ context.Context, b connector.Batch, receipts [][]byte) error {
	s.commits = append(s.commits, b)
	var kept [][]byte
	for _, r := range receipts {
		kept = append(kept, bytes.Clone(r))
		clear(r)
	}
	s.receipts = append(s.receipts, kept)
	return s.fail
}

func TestASinkIsGivenPartitionsThenTheirReceipts(t *testing.T) {
	s := &noting{}
	app := built(t, func(c *dstream.Context) { dstream.To(stream[int](c), s) })
	run := dataset.Batch{App: 1, Time: 1000, Attempt: 99, Try: 3}
	receipts, err := runTasks(t, app, run, blocksOf(t, 1000, []int{1, 2}, nil, []int{3}))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is the retry of a commit
		if err := app.Outputs()[0].Commit(t.Context(), run, receipts); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Unix(1, 0).UTC()
	for i, p := range s.wrote {
		if want := (connector.Partition{Output: "to-0", Time: at, Index: i, Count: 3, Attempt: 3}); p != want {
			t.Errorf("wrote %+v, want %+v", p, want)
		}
	}
	if b := (connector.Batch{Output: "to-0", Time: at}); !slices.Equal(s.commits, []connector.Batch{b, b}) || len(s.wrote) != 3 {
		t.Errorf("commits %+v, %d partitions", s.commits, len(s.wrote))
	}
	for _, got := range s.receipts {
		if fmt.Sprintf("%s", got) != "[[1 2] [] [3]]" {
			t.Errorf("receipts %s", got)
		}
	}
}

func TestASinkCommitsABatchWithoutPartitions(t *testing.T) {
	s := &noting{}
	app := built(t, func(c *dstream.Context) { dstream.To(stream[int](c), s) })
	if err := runOutput(t, app, dataset.Batch{App: 1, Time: 1000}, nil); err != nil {
		t.Fatal(err)
	}
	if len(s.commits) != 1 || len(s.receipts[0]) != 0 || len(s.wrote) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestErrorsOfASinkNameTheOutput(t *testing.T) {
	s := &noting{fail: errors.New("disk on fire")}
	app := built(t, func(c *dstream.Context) { dstream.To(stream[int](c), s) })
	run := dataset.Batch{App: 1, Time: 1000}
	_, err := runTasks(t, app, run, blocksOf(t, 1000, []int{1}))
	says(t, err, "to-0, partition 0: disk on fire")
	says(t, app.Outputs()[0].Commit(t.Context(), run, nil), "to-0: commit of batch 1000 ms: disk on fire")
	s.fail, s.large = nil, true
	_, err = runTasks(t, app, run, blocksOf(t, 1000, []int{1}))
	says(t, err, "to-0, partition 0", "receipt has 65537 bytes, at most 65536")
	_, err = build(t, func(c *dstream.Context) error { dstream.To[int](stream[int](c), nil); return nil })
	says(t, err, "dstream/sink_test.go:", "to: the sink is nil")
}
