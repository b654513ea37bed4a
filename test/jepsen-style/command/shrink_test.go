package command

import (
	"errors"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/test/jepsen-style/suite"
)

// A shrunk schedule fails by what was measured: one without a failover would fail a limit of gap as surely as a slow one.
func TestARunFailsForShrinkByWhatWasMeasured(t *testing.T) {
	slow := []suite.Gap{{MS: 3000, Alone: true}}
	for name, c := range map[string]struct {
		v       suite.Verdict
		asserts string
		fails   bool
	}{
		"green":                            {suite.Verdict{Outcome: suite.Green}, "", false},
		"violated":                         {suite.Verdict{Outcome: suite.Violated}, "", true},
		"incomplete":                       {suite.Verdict{Outcome: suite.Incomplete}, "", false},
		"green, and slow":                  {suite.Verdict{Outcome: suite.Green, Gaps: slow}, "gap<2s", true},
		"green, and quick enough":          {suite.Verdict{Outcome: suite.Green, Gaps: slow}, "gap<4s", false},
		"green, without a failover":        {suite.Verdict{Outcome: suite.Green}, "gap<2s", false},
		"without a failover, unexplained":  {suite.Verdict{Outcome: suite.Green, Unexplained: 1}, "gap<2s,unexplained=0", true},
		"incomplete, and slow":             {suite.Verdict{Outcome: suite.Incomplete, Gaps: slow}, "gap<2s", true},
		"slow while something else is bad": {suite.Verdict{Outcome: suite.Green, Gaps: []suite.Gap{{MS: 9000}}}, "gap<2s", false},
	} {
		all, err := parseAsserts(c.asserts)
		if err != nil {
			t.Fatal(err)
		}
		if why := failure(c.v, all); (why != "") != c.fails {
			t.Errorf("%s: %q, expected it to fail: %t", name, why, c.fails)
		}
	}
}

func TestShrinkTakesNoLimitThatShorterRunsBreak(t *testing.T) {
	for _, text := range []string{"acknowledged>=100", "gap<2s,acknowledged>1", "gap<fast"} {
		cmd := Chaos()
		cmd.SetArgs([]string{"shrink", "--assert", text, t.TempDir()})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		var s interface{ ExitStatus() int }
		if err := cmd.Execute(); !errors.As(err, &s) || s.ExitStatus() != statusUsage || !strings.Contains(err.Error(), "flag --assert") {
			t.Errorf("%q: %v, expected wrong usage", text, err)
		}
	}
}
