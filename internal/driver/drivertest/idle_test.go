package drivertest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/raftstream/raftstream/fsm"
)

// Rule 9: a run of empty batches is one entry, for one application or many: the allocations of a moment share entries.
// The times of applications differ by milliseconds, so those of 100 come in a dozen entries a second. Nobody runs the batches here; their completions are another matter, since an executor
// reports them one after the other.
func TestAllocationsOfManyApplicationsShareEntries(t *testing.T) {
	const apps, seconds = 100, 20
	inBubble(t, func(c *cluster) {
		for n := range apps {
			c.propose(&fsm.ApplicationSubmitted{
				RequestID: fmt.Sprint(n), Name: fmt.Sprint(n), Program: "p", BatchMS: 1000, BlockMS: 50, Partitions: 1, Factor: 1,
				Build: "nobody's", NowMS: time.Now().UnixMilli(),
			})
		}
		time.Sleep(5 * time.Second)
		leader := c.leader()
		before := leader.raft.Stats()
		time.Sleep(seconds * time.Second)
		after := leader.raft.Stats()
		entries, commands := after.Entries-before.Entries, after.Commands-before.Commands
		t.Logf("%d applications without input: %d entries of %d commands in %d s", apps, entries, commands, seconds)
		if commands < apps*(seconds-1) {
			t.Errorf("%d commands, expected one for each batch", commands)
		}
		if entries > commands/5 {
			t.Errorf("%d entries for %d commands, expected at least five to an entry", entries, commands)
		}
	})
}
