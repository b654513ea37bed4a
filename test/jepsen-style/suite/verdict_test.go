package suite

import (
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/report"
)

// What cannot be judged because entries were removed on purpose is named, and everything else counts as ever.
func TestWhatWasTrimmedIsNamedAndTheRestCounts(t *testing.T) {
	v := Verdict{Results: []checker.Result{
		{Checker: "ledger", Verdict: checker.Unknown, Trimmed: true},
		{Checker: "totals", Workload: "counter", Verdict: checker.Unknown, Trimmed: true},
		{Checker: "exactly-once", Workload: "append-set", Verdict: checker.Valid},
		{Checker: "logs", Verdict: checker.Unknown},
	}}
	v.leaveTrimmed()
	v.judge(nil)
	if want := []string{"ledger", "counter: totals"}; !slices.Equal(v.Trimmed, want) {
		t.Errorf("left out %q, expected %q", v.Trimmed, want)
	}
	if v.Outcome != Incomplete || len(v.Results) != 2 || len(v.Reasons) != 1 || !strings.Contains(v.Reasons[0], "logs") {
		t.Errorf("%s of %d results: %q, expected incomplete for the logs alone", v.Outcome, len(v.Results), v.Reasons)
	}
	if facts := v.facts(nil); !slices.ContainsFunc(facts, func(f report.Fact) bool { return strings.Contains(f.Value, "counter: totals") }) {
		t.Errorf("the report does not name it: %v", facts)
	}
}
