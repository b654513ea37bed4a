package coordinator_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

// Rule 8: a batch waits for a block, hears of another store that holds it, and goes on with what it has done.
func TestWaitingBatchTakesTheNewStoresOfItsBlocks(t *testing.T) {
	run(t, one(), func(t *testing.T, o *office) {
		o.on = func(_ context.Context, _ job.Peer, l *job.Launch, part int) *job.TaskError {
			if l.Kind == job.MapTasks && part == 1 && !slices.Contains(l.Inputs[0].Blocks[1].Stores, "s3") {
				return &job.TaskError{Fault: job.MissingFault, Text: "no holder answers"}
			}
			return nil
		}
		o.Order(order(1000, 5, 6, "s1", "gone"))
		rest(3 * time.Second)
		if all := o.Status(); len(all) != 1 || all[0].Waiting == "" {
			t.Fatalf("status is %+v, expected a batch that waits", all)
		}
		other := order(1000, 5, 6, "s1")
		o.Order(other) // other blocks for the same attempt: not what was allocated
		rest(2 * time.Second)
		if len(o.said()) != 0 {
			t.Fatalf("reports %v of a batch that waits", o.said())
		}
		o.Order(order(1000, 5, 6, "s1", "gone s3"))
		rest(2 * time.Second)
		expect(t, "reports", o.said(), []string{"1000/6"})
		for i, l := range o.launches {
			if len(l.Inputs[0].Blocks) != 2 {
				t.Errorf("launch %d has blocks %v, expected two", i, l.Inputs[0].Blocks)
			}
			if i > 1 && l.Kind == job.MapTasks && slices.Contains(l.Parts, 0) {
				t.Errorf("launch %d does partition 0 again", i)
			}
		}
	})
}

// A resumption that accepted loss has left blocks out: they stay out when a store comes back with them.
func TestBlocksGivenUpStayOut(t *testing.T) {
	run(t, one(), func(t *testing.T, o *office) {
		open := o.held()
		lossy := order(1000, 5, 6, "s1", "gone")
		lossy.AcceptLoss = true
		o.Order(lossy)
		rest(5 * time.Second)
		again := order(1000, 5, 6, "s1 s2", "gone s3")
		again.AcceptLoss = true
		o.Order(again)
		close(open)
		rest(5 * time.Second)
		expect(t, "reports", o.said(), []string{"1000/6"})
		last := o.launches[len(o.launches)-1].Inputs[0].Blocks
		if len(last) != 1 || !slices.Equal(last[0].Stores, []id.Store{"s1", "s2"}) {
			t.Errorf("the last launch has blocks %v, expected the first alone, with two stores", last)
		}
		if lost := o.reports[0].Lost; lost != 10 {
			t.Errorf("%d records are lost by the report, expected 10", lost)
		}
	})
}
