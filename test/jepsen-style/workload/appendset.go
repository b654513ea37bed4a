package workload

import (
	"path/filepath"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
)

// newAppendSet sends records that are all different through the whole pipeline into text files: each that was
// acknowledged is there once.
func newAppendSet() Workload {
	return &fed{
		name: "append-set",
		submit: func(e *Env) *raftstreamv1.SubmitRequest {
			return &raftstreamv1.SubmitRequest{
				Program: "grep", BatchMs: 500, BlockMs: 50,
				Params: map[string]string{"source": "ingest", "pattern": ".", "out": filepath.Join(e.Dir, outputsPrefix)},
			}
		},
		text:  func(uint64) text { return identity },
		check: func(v *evidence) []checker.Result { return append(v.once(), v.contents()) },
	}
}
