package checker

import (
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// blocksState is an application's ledger as clients see it: how many records are committed, and the highest index at which
// anything is known to have happened or to have been read.
type blocksState struct {
	index    uint64
	received int64
}

// blocksOp is an operation on it.
type blocksOp struct {
	read    bool
	index   uint64 // at which it happened; 0: not known
	records int64  // that are added, or that a read counts
	who     string
}

// Blocks looks whether the operations of a workload on the ledger of received records are linearizable: those that add
// records (history.Add, of whole ranges) and those that read their number (history.Read, at whoever leads). Each is one
// step, of one application; what took effect at a known index comes in the order of indexes, so that the search is short.
func Blocks(run *Run, workload, dir string) Result {
	j := judging("linearizable-blocks", workload)
	ops, err := history.Pair(run.Events)
	if err != nil {
		j.doubt("%v", err)
		return j.result()
	}
	partitions, err := blocksOps(history.Of(ops, workload))
	if err != nil {
		j.doubt("%v", err)
		return j.result()
	}
	return linear(j, dir, "linearizable-blocks", blocksModel(), partitions)
}

// recordID names what is added once, in however many operations it is sent.
type recordID struct {
	app, producer string
	first, last   uint64
}

// blocksOps translates operations, by application. Operations that send the same records are one: from the first
// invocation to the first return after which they are acknowledged.
func blocksOps(ops []history.Op) (map[string][]porcupine.Operation, error) {
	partitions := map[string][]porcupine.Operation{}
	places := map[recordID]int{} // in its partition
	settled := map[recordID]bool{}
	for i := range ops {
		o := &ops[i]
		switch o.Invoke.F {
		case history.Read:
			v, err := decode[history.Counts](o.Invoke.Index, o.Value())
			if err != nil {
				return nil, err
			}
			if o.Type() == history.OK && !v.Stale {
				in := blocksOp{read: true, index: o.End.RaftIndex, records: v.Received, who: "client"}
				key := appKey(v.App, v.ID)
				partitions[key] = append(partitions[key], timed(o, in, nil))
			}
		case history.Add:
			v, err := decode[history.Range](o.Invoke.Index, o.Value())
			if err != nil {
				return nil, err
			}
			if o.Type() == history.Fail || v.Last < v.First {
				continue
			}
			if !v.Whole {
				return nil, fmt.Errorf("event %d adds records %d to %d, which need not be taken as one: that is no one operation", o.Invoke.Index, v.First, v.Last)
			}
			key := appKey(v.App, v.ID)
			id := recordID{key, v.Producer, v.First, v.Last}
			at, again := places[id]
			if !again {
				in := blocksOp{index: o.End.RaftIndex, records: int64(v.Last - v.First + 1), who: v.Producer}
				places[id], settled[id] = len(partitions[key]), o.Type() == history.OK
				partitions[key] = append(partitions[key], timed(o, in, nil))
				continue
			}
			if o.Type() == history.OK && !settled[id] { // the index may be that of an acknowledgement after it
				settled[id] = true
				partitions[key][at].Return = o.Return()
			}
		}
	}
	return partitions, nil
}

func appKey(name string, id uint64) string {
	if id == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, id)
}

func blocksModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return blocksState{} },
		Step: func(state, input, _ any) (bool, any) {
			s, o := state.(blocksState), input.(blocksOp)
			if o.index != 0 && o.index < s.index {
				return false, s
			}
			s.index = max(s.index, o.index)
			if o.read {
				return o.records == s.received, s
			}
			s.received += o.records
			return true, s
		},
		DescribeOperation: func(input, _ any) string {
			o := input.(blocksOp)
			if o.read {
				return fmt.Sprintf("read %d at %d", o.records, o.index)
			}
			return fmt.Sprintf("%s adds %d at %d", o.who, o.records, o.index)
		},
		DescribeState: func(state any) string {
			s := state.(blocksState)
			return fmt.Sprintf("%d records at %d", s.received, s.index)
		},
	}
}
