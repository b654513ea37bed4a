package conformance_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/raftstream/raftstream/dstream/streamtest"
)

// rowInverse is the row of the specification's section 0 (what raftstream keeps, and where it differs on purpose) that
// says how inverse windows differ.
const rowInverse = "inverse window with a filter can crash a later batch; slide > window gives wrong sums: " +
	"a key without previous value and without new values is absent; slide > window of an inverse window is refused when the graph is built"

const (
	gapCase    = "derived - inverse window with slide > window over-counts the gap batches (Spark quirk)"
	filterCase = "derived - inverse window + filter: a key filtered while old values remain makes the next batch fail (Spark quirk)"
)

// exclusions are the table cases that do not hold here, with the row that excludes them. What holds instead is tested below.
var exclusions = map[string]string{
	gapCase:    rowInverse,
	filterCase: rowInverse,
}

func find(t *testing.T, name string) *table {
	t.Helper()
	cases := all(t)
	i := slices.IndexFunc(cases, func(c *table) bool { return c.name() == name })
	if i < 0 {
		t.Fatalf("there is no case %q", name)
	}
	return cases[i]
}

func TestInverseWindowsWithGapsAreRefused(t *testing.T) {
	c := find(t, gapCase)
	got, errs := run(t, c, c.Pipeline, nil)
	if len(got) > 0 || len(errs) != 1 || !strings.Contains(errs[0], "steps_test.go:") || !strings.Contains(errs[0], "slide 3s") {
		t.Errorf("got %v with %q, expected a refusal that names the slide and the line", got, errs)
	}
}

func TestFilteredKeyOfAnInverseWindowIsAbsent(t *testing.T) {
	c := find(t, filterCase)
	for _, restart := range []int{0, 1, 2, 3} {
		got, errs := run(t, c, c.Pipeline, []streamtest.Option{streamtest.RestartAfter(restart)})
		want := [][]string{{`["a",1]`}, {}, {}, {}}
		if len(errs) > 0 || !same(got, want, true) {
			t.Errorf("got %v with %q, expected %v", got, errs, want)
		}
	}
}
