package job

import (
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
)

// Partition names what a partition of a dataset holds. Two processes that come to the same name compute the same
// records: Content is a hash of all that the dataset is computed from, its lineage and what its inputs were allocated, so
// that runs of a batch that read other blocks (resume --accept-loss) have other names.
type Partition struct {
	App     id.App
	Dataset dataset.ID
	Part    int
	Content uint64
}
