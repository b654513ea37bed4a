package executor_test

import (
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/internal/id"
)

// BenchmarkTwoStagesOfEightEmptyTasks measures what a batch costs when its tasks cost nothing: order, two stages of
// eight tasks on three executors of this process, report.
func BenchmarkTwoStagesOfEightEmptyTasks(b *testing.B) {
	graph := &executortest.WordCount{Reducers: 8, Depth: 1, Empty: 8}
	c := newCluster(b, 3, graph)
	at := id.Time(0)
	reported := 0
	for b.Loop() {
		at += 1000
		reported++
		c.driver.Send(c.nodes[0].store, c.batch(at, 50, 60))
		c.wait(func() bool { return c.driver.Reported() == reported })
	}
}
