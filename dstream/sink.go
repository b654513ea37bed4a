package dstream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/dataset"
)

// To writes every batch of s to a sink: each partition where it is computed, then one commit of the batch. How often
// which runs, and how that becomes exactly once, is said at connector.Sink.
func To[T any](s *DStream[T], sink connector.Sink[T]) {
	o := s.output("to")
	if sink == nil {
		s.c.fail("to", errors.New("the sink is nil"))
		return
	}
	s.c.blame.method("to", sink, "Write")
	s.c.blame.method("to", sink, "Commit")
	s.c.outputs = append(s.c.outputs, sinkOutput[T]{o, sink})
}

type sinkOutput[T any] struct {
	output
	sink connector.Sink[T]
}

func (o sinkOutput[T]) Run(t dataset.Task, d dataset.Dataset, part int) []byte {
	seq, whole := node[T](t, d).Read(t, part)
	receipt, err := o.sink.Write(t.Context(), o.partition(t, d, part), seq)
	if err == nil && len(receipt) > connector.MaxReceipt {
		err = fmt.Errorf("the sink's receipt has %d bytes, at most %d are kept", len(receipt), connector.MaxReceipt)
	}
	if err != nil {
		t.Fail(fmt.Errorf("%s, partition %d: %w", o.name, part, err))
	}
	whole()
	return slices.Clone(receipt) // the sink may use its buffer again
}

// Commit gives the sink copies of the receipts: it may be called again with the same ones.
func (o sinkOutput[T]) Commit(ctx context.Context, b dataset.Batch, receipts [][]byte) error {
	own := make([][]byte, len(receipts))
	for i, r := range receipts {
		own[i] = slices.Clone(r)
	}
	if err := o.sink.Commit(ctx, connector.Batch{Output: o.name, Time: b.Time.Time()}, own); err != nil {
		return fmt.Errorf("%s: commit of batch %d ms: %w", o.name, int64(b.Time), err)
	}
	return nil
}
