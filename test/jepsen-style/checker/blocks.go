package checker

import (
	"errors"
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
	exact   bool   // else an addition happened at the index or before
	records int64  // that are added, or that a read counts
	who     string
}

// Blocks looks whether the operations of a workload on the ledger of received records are linearizable: those that add
// records (history.Add) and those that read their number (history.Read, at whoever leads). Each is one step, of one
// application; what took effect at a known index comes in the order of indexes, so that the search is short.
//
// Without entries that snapshots hold there is no verdict. Where the run has its whole ledger, that says which records were committed as one, and at which index, also of
// operations whose outcome no client knows. Without it ranges must be whole, and an acknowledgement's index is only the
// latest that the records can have been committed at: that of a block which is reported again when it is cleaned is new.
func Blocks(run *Run, workload, dir string) Result {
	j := Judging("linearizable-blocks", workload)
	ops, err := history.Pair(run.Events)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	c, err := readCommits(run)
	if errors.Is(err, errTrimmed) {
		j.Doubt("%v", err)
		return j.Result()
	}
	if err != nil {
		j.Found.Counts["without the ledger"] = 1
	}
	partitions, err := blocksOps(j, history.Of(ops, workload), c)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	return linear(j, dir, "linearizable-blocks", blocksModel(), partitions)
}

// recordID names what is added once, in however many operations it is sent.
type recordID struct {
	app, producer string
	first, last   uint64
}

// blocksOps translates operations, by application. What several operations send is one addition: from the first
// invocation to the first return after which it is acknowledged.
func blocksOps(j *Judge, ops []history.Op, c *commits) (map[string][]porcupine.Operation, error) {
	a := additions{j: j, commits: c, partitions: map[string][]porcupine.Operation{}, places: map[recordID]int{}, sent: map[recordID]bool{}}
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
				a.partitions[key] = append(a.partitions[key], timed(o, in, nil))
			}
		case history.Add:
			v, err := decode[history.Range](o.Invoke.Index, o.Value())
			if err != nil {
				return nil, err
			}
			if o.Type() == history.Fail || v.Last < v.First {
				continue
			}
			if err := a.take(o, &v); err != nil {
				return nil, err
			}
		}
	}
	return a.partitions, nil
}

// additions gathers what was added.
type additions struct {
	j          *Judge
	commits    *commits
	partitions map[string][]porcupine.Operation
	places     map[recordID]int  // in its partition
	sent       map[recordID]bool // its last record was, so that its invocation is known
}

// take adds what one operation sends.
func (a *additions) take(o *history.Op, v *history.Range) error {
	if a.commits == nil || v.ID == 0 {
		if !v.Whole {
			return fmt.Errorf("event %d adds records %d to %d, which need not be taken as one: that is no one operation", o.Invoke.Index, v.First, v.Last)
		}
		a.put(o, recordID{appKey(v.App, v.ID), v.Producer, v.First, v.Last}, o.End.RaftIndex, false, v.Last)
		return nil
	}
	next := v.First
	for _, k := range a.commits.of(v.ID, v.Producer, v.First, v.Last) {
		if o.Type() == history.OK && k.first > next {
			break
		}
		next = k.last + 1
		if o.Type() == history.OK && o.End.RaftIndex != 0 && o.End.RaftIndex < k.index {
			a.j.Bad("event %d: %s was acknowledged at index %d, and was committed at %d", o.End.Index, runOf(v.Producer, k.first, k.last), o.End.RaftIndex, k.index)
		}
		a.put(o, recordID{appKey(v.App, v.ID), v.Producer, k.first, k.last}, k.index, true, v.Last)
	}
	if o.Type() == history.OK && next <= v.Last {
		a.j.Bad("event %d: %s was acknowledged, and the ledger has nothing from %d on", o.End.Index, runOf(v.Producer, v.First, v.Last), next)
	}
	return nil
}

// put adds what is committed as one. It cannot be so before its last record was sent, and is so when any is acknowledged.
func (a *additions) put(o *history.Op, id recordID, index uint64, exact bool, upTo uint64) {
	ops := a.partitions[id.app]
	at, again := a.places[id]
	if !again {
		in := blocksOp{index: index, exact: exact, records: int64(id.last - id.first + 1), who: id.producer}
		at = len(ops)
		ops = append(ops, timed(o, in, nil))
		a.places[id], a.partitions[id.app] = at, ops
	}
	v := &ops[at]
	if in := v.Input.(blocksOp); again && !exact {
		in.index = 0 // the index may be that of an acknowledgement after it
		v.Input = in
	}
	if !a.sent[id] && upTo >= id.last {
		a.sent[id], v.Call = true, o.Start()
	}
	if o.Type() == history.OK {
		v.Return = min(v.Return, o.Return())
	}
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
			if o.read || o.exact {
				s.index = max(s.index, o.index)
			}
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
