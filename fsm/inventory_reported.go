package fsm

import (
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// InventoryReported says which blocks and pieces of checkpoints a session's store holds, in parts from First to Last; with Last, what no part
// since First named is not held (rule 5). Result.Missing names those of this part that may be deleted.
type InventoryReported struct {
	Session     id.Session
	Blocks      []id.Block
	First, Last bool
}

// Kind gives the command's number.
func (*InventoryReported) Kind() Kind { return KindInventoryReported }

func inventoryReportedRow() row {
	return newRow("InventoryReported",
		func(c *InventoryReported) *ledgerpb.InventoryReported {
			return &ledgerpb.InventoryReported{
				Session: uint64(c.Session), First: c.First, Last: c.Last, Blocks: blockIDsToPB(c.Blocks),
			}
		},
		func(m *ledgerpb.InventoryReported) *InventoryReported {
			return &InventoryReported{
				Session: id.Session(m.GetSession()), First: m.GetFirst(), Last: m.GetLast(),
				Blocks: blockIDsFromPB(m.GetBlocks()),
			}
		},
		applyInventoryReported)
}

func applyInventoryReported(t *tx, c *InventoryReported) Result {
	s, ok := t.tracker.Session(c.Session)
	if !ok {
		return refuse("session %d is not open", c.Session)
	}
	if bad := checkRange("number of blocks in a part", int64(len(c.Blocks)), 0, MaxInventoryPart); bad != "" {
		return refuse("%s", bad)
	}
	r := t.done()
	r.Missing = t.blocks.Inventory(s.ID, s.Store, c.Blocks, c.First, c.Last, pieces{t})
	return r
}
