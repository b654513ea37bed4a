package job

import (
	"context"
	"errors"

	"github.com/raftstream/raftstream/internal/id"
)

// historyRestarts bounds how often CollectHistory begins anew.
const historyRestarts = 5

var (
	// errHistoryMoved says that checkpoints were committed faster than a history could be read.
	errHistoryMoved = errors.New("the checkpoint changed while the history was read")
	// errHistoryStands says that a page did not lead on.
	errHistoryStands = errors.New("a page of the history ends before it begins")
)

// CollectHistory asks for all pages of a history and puts them together. All of them must be about one checkpoint: when
// another one is committed in between, it begins anew, and there is less to read.
func CollectHistory(ctx context.Context, ask func(ctx context.Context, from id.Time) (*History, error)) (*History, error) {
	for range historyRestarts {
		h, err := ask(ctx, 0)
		for err == nil && h.Next != 0 {
			var page *History
			if page, err = ask(ctx, h.Next); err != nil {
				break
			}
			if page.Next != 0 && page.Next <= h.Next {
				return nil, errHistoryStands
			}
			if page.Checkpoint.Time != h.Checkpoint.Time || page.Checkpoint.Attempt != h.Checkpoint.Attempt {
				h = nil
				break
			}
			h.Batches = append(h.Batches, page.Batches...)
			h.Inputs = append(h.Inputs, page.Inputs...)
			h.Next = page.Next
		}
		if err != nil || h != nil {
			return h, err
		}
	}
	return nil, errHistoryMoved
}
