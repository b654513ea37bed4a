package command

import (
	"testing"

	"github.com/raftstream/raftstream/test/jepsen-style/suite"
)

func TestIncompleteRunsFailASoakThatIsStrict(t *testing.T) {
	for name, c := range map[string]struct {
		sum           suite.Summary
		loose, strict bool
	}{
		"all green":      {suite.Summary{Runs: 3, Green: 3}, false, false},
		"one incomplete": {suite.Summary{Runs: 3, Green: 2, Incomplete: 1}, false, true},
		"one violated":   {suite.Summary{Runs: 3, Green: 2, Violated: 1}, true, true},
		"no run":         {suite.Summary{}, true, true},
	} {
		loose, strict := soakFlags{}, soakFlags{strict: true}
		if loose.fails(&c.sum) != c.loose || strict.fails(&c.sum) != c.strict {
			t.Errorf("%s: it fails: %t, strict: %t", name, loose.fails(&c.sum), strict.fails(&c.sum))
		}
	}
}
