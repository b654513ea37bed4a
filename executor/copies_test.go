package executor_test

import (
	"slices"
	"testing"

	"github.com/raftstream/raftstream/executor/executortest"
	"github.com/raftstream/raftstream/executor/job"
	"github.com/raftstream/raftstream/internal/id"
)

func copied(c *cluster) (all []id.Block) {
	for _, m := range executortest.Of[*job.BlocksCopied](c.driver) {
		all = append(all, m.Blocks...)
	}
	return all
}

func TestBlocksAreCopiedFromTheirHoldersAndReported(t *testing.T) { // rule 5
	c := newCluster(t, 3, &executortest.WordCount{Reducers: 2, Depth: 1})
	one, two, here := c.put("a b", 1), c.put("c", 2), c.put("d", 0)
	gone := c.put("e", 1)
	gone.Stores = []id.Store{"nobody"}
	damaged := c.put("f", 1)
	damaged.CRC++ // the copy there is not the block that the ledger has
	c.driver.Send(c.nodes[0].store, &job.CopyBlocks{Epoch: c.driver.Epoch(), Blocks: []job.Block{one, gone, damaged, two, here}})
	c.wait(func() bool { return len(copied(c)) == 3 })
	if got := copied(c); !slices.Equal(got, []id.Block{one.ID, two.ID, here.ID}) {
		t.Errorf("copied are %v, expected those that somebody holds undamaged", got)
	}
	for _, b := range []job.Block{one, two, here} {
		if d, err := c.nodes[0].blocks.Get(b.ID); err != nil || d.CRC != b.CRC || d.Records != b.Records {
			t.Errorf("block %v: %+v, %v", b.ID, d, err)
		}
	}
	if _, err := c.nodes[0].blocks.Get(damaged.ID); err == nil {
		t.Error("a damaged copy was stored")
	}
	eventually(t, func() bool { return c.nodes[0].Status().Copies == 0 })
}

func TestCopyingEndsWithTheSession(t *testing.T) { // rule 3
	c := newCluster(t, 2, &executortest.WordCount{Reducers: 2, Depth: 1})
	b := c.put("a b", 1)
	c.driver.Send(c.nodes[0].store, &job.CopyBlocks{Epoch: c.driver.Epoch(), Blocks: []job.Block{b}})
	c.driver.End(c.nodes[0].store)
	c.wait(func() bool { return c.driver.Connected(c.nodes[0].store) != 0 })
	c.tell()
	c.driver.Send(c.nodes[0].store, &job.CopyBlocks{Epoch: c.driver.Epoch(), Blocks: []job.Block{b}})
	c.wait(func() bool { return slices.Contains(copied(c), b.ID) })
	eventually(t, func() bool { return c.nodes[0].Status().Copies == 0 })
}
