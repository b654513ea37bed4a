package suite

import (
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/chaos/schedule"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// came is the verdict of a run that came to the given states, each several times.
func came(to ...string) Verdict {
	counts := map[string]int64{"commands": 100}
	for _, name := range to {
		counts[name] = 3
	}
	return Verdict{Outcome: Green, Results: []checker.Result{
		{Checker: "ledger", Verdict: checker.Valid, Counts: map[string]int64{to[0]: 1}},
		{Checker: rareStates, Verdict: checker.Valid, Counts: counts},
	}}
}

func TestARareStateThatNoRunCameToIsAHole(t *testing.T) {
	all, required := checker.RareStates()
	missing := required[2]
	most := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == missing })
	luck := all[slices.IndexFunc(all, func(name string) bool { return !slices.Contains(required, name) })]
	sum := func(runs int, leftOut map[schedule.Kind]string, to []string) Summary {
		s := newSummary(1)
		for i := range runs {
			v := came(to...)
			if i > 0 {
				v = came(all[0])
			}
			v.LeftOut = leftOut
			s.add(v)
		}
		s.holes()
		return s
	}
	without := func(name string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == name })
	}
	s := sum(enoughRuns, nil, most)
	if text := s.Text(); s.Holes == nil || s.Holes.Verdict != checker.Invalid || strings.Count(text, "HOLE: ") != 1 || !strings.Contains(text, "HOLE: "+missing+" was never seen\n") {
		t.Errorf("%+v\n%s", s.Holes, text)
	}
	if s.States[missing] != 0 || s.States[all[0]] != enoughRuns || s.States[most[1]] != 1 || s.States["commands"] != 0 {
		t.Errorf("%v", s.States)
	}
	for name, s := range map[string]Summary{
		"all were seen":              sum(enoughRuns, nil, all),
		"what takes luck is missing": sum(enoughRuns, nil, without(luck)),
		"too few runs":               sum(enoughRuns-1, nil, most),
		"a kind is left out of all":  sum(enoughRuns, map[schedule.Kind]string{schedule.Cut: "no root"}, most),
	} {
		if text := s.Text(); strings.Contains(text, "HOLE") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestHolesAreJudgedOfRunsThatDrawFromEverything(t *testing.T) {
	all := ManyOptions{Workloads: workload.All()}
	some, kinds := all, all
	some.Workloads, kinds.Each.Kinds = some.Workloads[1:], []schedule.Kind{schedule.Kill}
	if !all.everything() || some.everything() || kinds.everything() {
		t.Errorf("%t, %t, %t, expected true, false, false", all.everything(), some.everything(), kinds.everything())
	}
}
