package suite

import (
	"fmt"
	"strings"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// rareStates is the name of the result that counts them.
const rareStates = "rare-states"

// enoughRuns is after how many runs a rare state that none has come to is told as a hole: what one run in ten comes to is
// missed by so many once in 24 times.
const enoughRuns = 30

func newSummary(seed uint64) Summary {
	s := Summary{Seed: seed, Faults: make(map[schedule.Kind]Count), States: make(map[string]int64), Trimmed: make(map[string]int)}
	all, _ := checker.RareStates()
	for _, name := range all {
		s.States[name] = 0
	}
	return s
}

// everything reports whether runs draw from all kinds of faults and from all workloads.
func (o *ManyOptions) everything() bool {
	return o.Each.Kinds == nil && len(o.Workloads) == len(workload.All())
}

// states takes what one run came to.
func (s *Summary) states(results []checker.Result) {
	for _, r := range results {
		if r.Checker != rareStates {
			continue
		}
		for name := range s.States {
			if r.Counts[name] > 0 {
				s.States[name]++
			}
		}
	}
}

// holes judges the states of runs that drew from everything. Where a kind of faults is left out of all of them, nothing is
// missing that they could have come to.
func (s *Summary) holes() {
	if s.Runs < enoughRuns || len(s.LeftOut) > 0 {
		return
	}
	_, required := checker.RareStates()
	r := checker.Required(s.States, required...)
	s.Holes = &r
}

// statesText tells people which rare states there were, and which there were not.
func (s *Summary) statesText() string {
	if s.Runs == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "rare states, and how many of %d runs came to them:\n", s.Runs)
	all, _ := checker.RareStates()
	for _, name := range all {
		fmt.Fprintf(&b, "  %4d  %s\n", s.States[name], name)
	}
	if s.Holes != nil {
		for _, hole := range s.Holes.Details {
			fmt.Fprintf(&b, "HOLE: %s\n", hole)
		}
	}
	return b.String()
}
