package lineagetest

import "github.com/raftstream/raftstream/internal/dataset"

// KeptPart names a kept partition of a persisted dataset.
type KeptPart struct {
	Dataset dataset.ID
	Part    int
}

// Kept implements dataset.Task.
func (t *task) Kept(d dataset.Dataset, part int, _ bool) dataset.Kept {
	return kept{t.e, KeptPart{d.ID(), part}}
}

type kept struct {
	e    *Engine
	part KeptPart
}

func (k kept) Chunks() ([][]byte, bool) {
	chunks, ok := k.e.Keep[k.part]
	return chunks, ok
}

func (k kept) Room() int64 { return k.e.Room }

func (k kept) Put(chunks [][]byte) {
	if k.e.Keep != nil {
		k.e.Keep[k.part] = chunks
	}
}
