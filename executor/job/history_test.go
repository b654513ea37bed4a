package job_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// pages answers with pages by their cursor, all of one checkpoint.
func pages(at id.Time) func(context.Context, id.Time) (*job.History, error) {
	all := map[id.Time]*job.History{
		0:  {Checkpoint: job.Checkpoint{Pieces: make([]job.Piece, 2)}, Next: -2},
		-2: {Checkpoint: job.Checkpoint{Pieces: make([]job.Piece, 1)}, Batches: []job.Version{{Time: 1}}, Next: 2},
		2:  {Batches: []job.Version{{Time: 2}}, Inputs: []job.Input{{Time: 2}}},
	}
	return func(_ context.Context, from id.Time) (*job.History, error) {
		page := *all[from]
		page.Checkpoint.Time = at
		return &page, nil
	}
}

func TestPagesOfAHistoryArePutTogether(t *testing.T) { // rule 7
	want := &job.History{
		Checkpoint: job.Checkpoint{Time: 7, Pieces: make([]job.Piece, 3)},
		Batches:    []job.Version{{Time: 1}, {Time: 2}}, Inputs: []job.Input{{Time: 2}},
	}
	got, err := job.CollectHistory(t.Context(), pages(7))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestHistoryIsOfOneCheckpoint(t *testing.T) { // rule 7
	asked := 0
	got, err := job.CollectHistory(t.Context(), func(ctx context.Context, from id.Time) (*job.History, error) {
		if asked++; asked < 3 {
			return pages(7)(ctx, from)
		}
		return pages(8)(ctx, from)
	})
	if err != nil || got.Checkpoint.Time != 8 || len(got.Checkpoint.Pieces) != 3 || len(got.Batches) != 2 {
		t.Errorf("got %+v, %v; expected all of the checkpoint at 8", got, err)
	}
}

func TestReadingOfAHistoryEnds(t *testing.T) {
	asked := 0
	for name, ask := range map[string]func(context.Context, id.Time) (*job.History, error){
		"another checkpoint each time": func(ctx context.Context, from id.Time) (*job.History, error) {
			asked++
			return pages(id.Time(asked))(ctx, from)
		},
		"pages without end": func(context.Context, id.Time) (*job.History, error) { return &job.History{Next: 1}, nil },
		"an error":          func(context.Context, id.Time) (*job.History, error) { return nil, errors.New("no driver") },
	} {
		if h, err := job.CollectHistory(t.Context(), ask); err == nil {
			t.Errorf("%s: got %+v, expected an error", name, h)
		}
	}
}
