package workload

import (
	"testing"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

func TestAReadSeesAtLeastWhatWasAcknowledgedUpToItsIndex(t *testing.T) {
	// The second record was reported again, and acknowledged at 30, after its block, committed at 20, was cleaned.
	records := []*sent{{begun: 1, acked: 3, index: 10}, {begun: 2, acked: 9, index: 30}, {begun: 2, acked: 9}}
	for _, c := range []struct {
		index    uint64
		received int64
		want     checker.Verdict
	}{
		{9, 0, checker.Valid},
		{10, 1, checker.Valid},
		{10, 0, checker.Invalid},
		{20, 2, checker.Valid},
		{30, 2, checker.Valid},
		{30, 3, checker.Valid},
		{30, 1, checker.Invalid},
	} {
		r := &reads{Judge: checker.Judging("ledger reads", "ledger"), records: records}
		r.views = []view[history.Counts]{{value: history.Counts{Received: c.received}, index: c.index}}
		r.atIndex()
		if got := r.Result(); got.Verdict != c.want {
			t.Errorf("%d received at index %d: %+v, expected %v", c.received, c.index, got, c.want)
		}
	}
}
