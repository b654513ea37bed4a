package checker

import (
	"testing"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// sends adds an operation on records first to last of the good ledger's producer, which need not be one there.
func (s *story) sends(begin, end int64, of history.Type, index, first, last uint64) {
	v := history.Range{App: "a", ID: 5, Producer: "p", First: first, Last: last}
	s.op(begin, end, history.Add, v, of, index, v)
}

// The good ledger has records 1 to 10 at index 8, 11 to 15 at 9, 16 at 11 and 17 to 20 at 18.
func TestBlocksKnowsFromTheLedgerWhatWasCommittedWhen(t *testing.T) {
	tests := []struct {
		name, detail string
		want         Verdict
		tell         func(s *story)
	}{
		{"several blocks of one operation", "", Valid, func(s *story) {
			s.sends(0, 100, history.OK, 9, 1, 15)
			s.read(20, 30, 8, 10)
			s.read(40, 50, 10, 15)
		}},
		{"a block of several operations", "", Valid, func(s *story) {
			s.sends(0, 10, history.Info, 0, 1, 13)
			s.sends(20, 30, history.OK, 9, 14, 15)
			s.read(40, 50, 10, 15)
		}},
		{"a block is reported again much later", "", Valid, func(s *story) {
			s.sends(0, 100, history.OK, 17, 1, 10)
			s.read(20, 30, 8, 10)
			s.read(40, 50, 9, 10)
		}},
		{"a read before it and one behind it", "no order", Invalid, func(s *story) {
			s.sends(0, 100, history.OK, 17, 1, 10)
			s.read(20, 30, 8, 10)
			s.read(40, 50, 9, 0)
		}},
		{"a read that came too early for the index", "no order", Invalid, func(s *story) {
			s.sends(0, 100, history.OK, 8, 1, 10)
			s.read(20, 30, 7, 10)
		}},
		{"taken, and the read does not count it", "no order", Invalid, func(s *story) {
			s.sends(0, 10, history.Info, 0, 1, 10)
			s.read(20, 30, 10, 0)
			s.read(40, 50, 12, 0)
		}},
		{"not known, and the ledger does not have it", "", Valid, func(s *story) {
			s.sends(0, 10, history.Info, 0, 21, 30)
			s.read(20, 30, 24, 0)
		}},
		{"seen before it was sent", "no order", Invalid, func(s *story) {
			s.read(0, 10, 8, 10)
			s.sends(20, 30, history.OK, 8, 1, 10)
		}},
		{"acknowledged before it was committed", "committed at 18", Invalid, func(s *story) {
			s.sends(0, 10, history.OK, 12, 17, 20)
		}},
		{"acknowledged, and not in the ledger", "the ledger has nothing from 21 on", Invalid, func(s *story) {
			s.sends(0, 10, history.OK, 20, 17, 22)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &story{}
			tt.tell(s)
			run := writeDumps(t, map[string]*book{"n1": goodBook()})
			run.Events = s.run().Events
			expect(t, Blocks(run, "w", ""), tt.want, tt.detail)
		})
	}
}
