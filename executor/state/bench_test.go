package state_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/state"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// BenchmarkBatchOver1MKeys measures what the store adds to a batch over a partition of a million keys, one in a hundred
// of them touched: install what the last batch changed, make a delta, read everything. The table itself is the simplest
// one: what a real one costs is measured beside it.
func BenchmarkBatchOver1MKeys(b *testing.B) {
	const keys, touched = 1_000_000, 10_000
	word := make([]string, keys)
	all := make(executortest.Changes, keys)
	for i := range all {
		word[i] = fmt.Sprintf("key-%07d", i)
		all[i] = executortest.Change{Word: word[i], N: 1}
	}
	s := newStore()
	base, batch := job.Version{}, 0
	advance := func(changes executortest.Changes) (rows int) {
		batch++
		makes := v(id.Time(batch)*1000, id.Attempt(batch))
		table, _, release, err := s.Advance(context.Background(), app, held(0, base), makes, empty,
			func(dataset.State) dataset.Delta { return changes })
		if err != nil {
			b.Fatal(err)
		}
		table.(*executortest.Table).Each(func(string, int) { rows++ })
		release()
		base = makes
		return rows
	}
	advance(all)
	advance(nil)
	changes := make(executortest.Changes, touched)
	for b.Loop() {
		for i := range changes {
			changes[i] = executortest.Change{Word: word[(i*97+batch)%keys], N: batch}
		}
		if rows := advance(changes); rows != keys {
			b.Fatalf("%d rows", rows)
		}
	}
}

// BenchmarkCheckpoint1MKeys measures an image of a million keys in chunks, and its restoration.
func BenchmarkCheckpoint1MKeys(b *testing.B) {
	all := make(executortest.Changes, 1_000_000)
	for i := range all {
		all[i] = executortest.Change{Word: fmt.Sprintf("key-%07d", i), N: i}
	}
	s := newStore()
	_, _, release, err := s.Advance(context.Background(), app, held(0, zero), v(1000, 1), empty, func(dataset.State) dataset.Delta { return all })
	if err != nil {
		b.Fatal(err)
	}
	release()
	var chain [][]byte
	image := func() {
		chain = chain[:0]
		err := s.Checkpoint(context.Background(), app, held(0, v(1000, 1)), true, 0, nil, func(c []byte, _ int64) error {
			chain = append(chain, c)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("image", func(b *testing.B) {
		for b.Loop() {
			image()
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if err := state.Restore(app, held(0, v(1000, 1)), executortest.NewTable(), chunks(chain)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
