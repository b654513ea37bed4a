package command

import (
	"errors"
	"testing"

	"github.com/raftstream/raftstream/test/jepsen-style/suite"
)

func TestAssertionsHoldOrSayWhy(t *testing.T) {
	v := suite.Verdict{Acknowledged: 100, Lost: 1, Gaps: []suite.Gap{{MS: 900, Alone: true}, {MS: 4000}}}
	for text, broken := range map[string]int{
		"": 0, "gap<2s": 0, "gap<=900ms": 0, "gap<900ms": 1, "lost=0": 1, "lost=1, duplicated=0": 0, "acknowledged>=100": 0, "acknowledged>100": 1, "lost=0,gap<1ms": 2,
	} {
		all, err := parseAsserts(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := check(all, v); len(got) != broken {
			t.Errorf("%q: %q, expected %d that do not hold", text, got, broken)
		}
	}
	all, err := parseAsserts("gap<2s")
	if err != nil || len(check(all, suite.Verdict{})) != 1 {
		t.Errorf("%v: a gap that was never measured holds", err)
	}
}

func TestWrongAssertionsAreWrongUsage(t *testing.T) {
	for _, text := range []string{"gap", "gap<fast", "lots=0", "lost=none", "=3"} {
		_, err := parseAsserts(text)
		var s interface{ ExitStatus() int }
		if !errors.As(err, &s) || s.ExitStatus() != statusUsage {
			t.Errorf("%q: %v, expected wrong usage", text, err)
		}
	}
}
