package state_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/executor/state"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// chunks gives a chain as Restore takes it.
func chunks(all [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func checkpoint(t *testing.T, s *state.Store, part int, at job.Version, full bool, since id.Time) (all [][]byte) {
	t.Helper()
	err := s.Checkpoint(t.Context(), app, held(part, at), full, since, nil, func(c []byte, rows int64) error {
		all = append(all, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRestoredStateEqualsTheLiveOne(t *testing.T) { // rule 7
	s := newStore()
	long := strings.Repeat("x", 100<<10)
	var text []string
	for n := range 90 { // more than two chunks
		text = append(text, fmt.Sprint(long, n))
	}
	run(t, s, 0, zero, v(1000, 10), empty, plus(strings.Join(text, " ")))
	chain := checkpoint(t, s, 0, v(1000, 10), true, 0)
	if len(chain) < 2 {
		t.Fatalf("%d chunks, the test wants several", len(chain))
	}
	run(t, s, 0, v(1000, 10), v(2000, 11), nil, plus("a "+text[3]))
	run(t, s, 0, v(2000, 11), v(3000, 12), nil, plus("")) // nothing changes up to the second checkpoint
	chain = append(chain, checkpoint(t, s, 0, v(2000, 11), false, 1000)...)
	if none := checkpoint(t, s, 0, v(3000, 12), false, 2000); none != nil {
		t.Errorf("%d chunks without a change", len(none))
	}
	run(t, s, 0, v(3000, 12), v(4000, 13), nil, func(dataset.State) dataset.Delta {
		return executortest.Changes{{Word: text[0], Remove: true}, {Word: "b", N: 7}}
	})
	chain = append(chain, checkpoint(t, s, 0, v(4000, 13), false, 3000)...)

	table := executortest.NewTable()
	if err := state.Restore(app, held(0, v(4000, 13)), table, chunks(chain)); err != nil {
		t.Fatal(err)
	}
	live, _, release, err := s.Advance(t.Context(), app, held(0, v(4000, 13)), v(5000, 14), nil, plus(""))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if !slices.Equal(order(table), order(live.(*executortest.Table))) {
		t.Error("the restored state differs from the live one, or its order")
	}
}

func order(t *executortest.Table) (rows []string) {
	t.Each(func(w string, n int) { rows = append(rows, fmt.Sprint(w, "=", n)) })
	return rows
}

func TestImageOfAnEmptyPartitionIsAChunk(t *testing.T) {
	s := newStore()
	run(t, s, 0, zero, v(1000, 10), empty, plus(""))
	chain := checkpoint(t, s, 0, v(1000, 10), true, 0)
	if len(chain) != 1 {
		t.Fatalf("%d chunks, expected one: a partition without pieces would look lost", len(chain))
	}
	table := executortest.NewTable()
	if err := state.Restore(app, held(0, v(1000, 10)), table, chunks(chain)); err != nil || table.Len() != 0 {
		t.Errorf("%d rows, error %v", table.Len(), err)
	}
}

func TestChangesThatAreNotKnownAreRefused(t *testing.T) {
	s := newStore()
	run(t, s, 0, v(5000, 10), v(6000, 11), empty, plus("a")) // restored from a checkpoint at 5000
	err := s.Checkpoint(t.Context(), app, held(0, v(6000, 11)), false, 4000, nil, func([]byte, int64) error { return nil })
	wantFault(t, err, job.LostFault)
	if got := checkpoint(t, s, 0, v(6000, 11), false, 5000); len(got) != 1 {
		t.Errorf("%d chunks of changes after 5000, expected one", len(got))
	}
}

func TestCheckpointEndsWithItsTaskOrItsStore(t *testing.T) {
	s := newStore()
	run(t, s, 0, zero, v(1000, 10), empty, plus("a"))
	run(t, s, 0, v(1000, 10), v(2000, 11), nil, plus("a"))
	full := errors.New("no room")
	err := s.Checkpoint(t.Context(), app, held(0, v(1000, 10)), true, 0, nil, func([]byte, int64) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = s.Checkpoint(ctx, app, held(0, v(1000, 10)), true, 0, nil, func([]byte, int64) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	want(t, run(t, s, 0, v(2000, 11), v(3000, 12), nil, plus("b")), "a", "a", "b") // no reader was left behind
}
