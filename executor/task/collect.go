package task

import (
	"fmt"
	"sync/atomic"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/dataset"
)

// collector gives what runs a launch of CollectTasks. Its tasks share the room that the order leaves them.
func collector(l *job.Launch, act dataset.Action, d dataset.Dataset) partition {
	used := new(atomic.Int64)
	q := dataset.Query{Count: l.Collect.Count, Limit: l.Collect.Limit}
	return func(t *task, res *job.TaskResult) error {
		res.Records = act.Read(t, d, res.Part, q, func(rows []byte) {
			t.alive()
			if n := used.Add(int64(len(rows))); n > l.Collect.Bytes {
				t.Fail(&job.TaskError{Fault: job.SizeFault, Text: fmt.Sprintf("%d bytes of records and more, with room for %d", n, l.Collect.Bytes)})
			}
			res.Rows = append(res.Rows, rows...)
		})
		return nil
	}
}
