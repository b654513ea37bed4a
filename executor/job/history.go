package job

import (
	"context"
	"errors"

	"github.com/raftstream/raftstream/internal/id"
)

const (
	// historyRestarts bounds how often CollectHistory begins anew.
	historyRestarts = 5
	// historyPages bounds the pages of a history.
	historyPages = 10_000
)

var (
	// errHistoryMoved says that checkpoints were committed faster than a history could be read.
	errHistoryMoved = errors.New("the checkpoint changed while the history was read")
	// errHistoryLong says that the pages of a history do not end.
	errHistoryLong = errors.New("the history has too many pages")
)

// CollectHistory asks for all pages of a history and puts them together. All of them must be about one checkpoint: when
// another one is committed in between, it begins anew, and there is less to read.
func CollectHistory(ctx context.Context, ask func(ctx context.Context, from id.Time) (*History, error)) (*History, error) {
	for range historyRestarts {
		h, moved, err := collect(ctx, ask)
		if err != nil {
			return nil, err
		}
		if !moved {
			return h, nil
		}
	}
	return nil, errHistoryMoved
}

// collect reads a history once. It stops where a page is about another checkpoint.
func collect(ctx context.Context, ask func(ctx context.Context, from id.Time) (*History, error)) (h *History, moved bool, err error) {
	if h, err = ask(ctx, 0); err != nil {
		return nil, false, err
	}
	for range historyPages {
		if h.Next == 0 {
			return h, false, nil
		}
		page, err := ask(ctx, h.Next)
		if err != nil {
			return nil, false, err
		}
		if page.Checkpoint.Time != h.Checkpoint.Time || page.Checkpoint.Attempt != h.Checkpoint.Attempt {
			return nil, true, nil
		}
		h.Checkpoint.Pieces = append(h.Checkpoint.Pieces, page.Checkpoint.Pieces...)
		h.Batches = append(h.Batches, page.Batches...)
		h.Inputs = append(h.Inputs, page.Inputs...)
		h.Next = page.Next
	}
	return nil, false, errHistoryLong
}
