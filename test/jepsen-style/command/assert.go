package command

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/suite"
)

// assertion is one limit of flag --assert.
type assertion struct {
	text  string
	what  string
	op    string
	limit int64 // of gap in milliseconds
}

// gap is the assertion about failovers; the others are counts.
const (
	gap          = "gap"
	acknowledged = "acknowledged"
)

var counts = map[string]func(*suite.Verdict) int64{
	acknowledged:  func(v *suite.Verdict) int64 { return v.Acknowledged },
	"lost":        func(v *suite.Verdict) int64 { return v.Lost },
	"duplicated":  func(v *suite.Verdict) int64 { return v.Duplicated },
	"phantom":     func(v *suite.Verdict) int64 { return v.Phantom },
	"unexplained": func(v *suite.Verdict) int64 { return v.Unexplained },
}

// operators, those of two characters first.
var operators = []string{"<=", ">=", "<", ">", "="}

func parseAsserts(text string) ([]assertion, error) {
	var all []assertion
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		a, err := parseAssert(part)
		if err != nil {
			return nil, usagef("flag --assert: %q: %w", part, err)
		}
		all = append(all, a)
	}
	return all, nil
}

func parseAssert(part string) (a assertion, err error) {
	for _, op := range operators {
		what, limit, ok := strings.Cut(part, op)
		if !ok {
			continue
		}
		a = assertion{text: part, what: strings.TrimSpace(what), op: op}
		limit = strings.TrimSpace(limit)
		if a.what == gap {
			d, err := time.ParseDuration(limit)
			a.limit = d.Milliseconds()
			return a, err
		}
		if counts[a.what] == nil {
			return a, fmt.Errorf("%q, expected gap, lost, duplicated, phantom, unexplained or acknowledged", a.what)
		}
		a.limit, err = strconv.ParseInt(limit, 10, 64)
		return a, err
	}
	return a, fmt.Errorf("expected one of %s between a name and a limit", strings.Join(operators, " "))
}

// check gives the assertions that do not hold. One about gaps does not hold where none was measured.
func check(all []assertion, v suite.Verdict) []string {
	var broken []string
	for _, a := range all {
		if why, _ := a.broken(&v); why != "" {
			broken = append(broken, why)
		}
	}
	return broken
}

// broken says why an assertion does not hold, "" where it does, and whether that was measured.
func (a assertion) broken(v *suite.Verdict) (why string, measured bool) {
	if a.what != gap {
		if got := counts[a.what](v); !a.holds(got) {
			return fmt.Sprintf("%s: it is %d", a.text, got), true
		}
		return "", true
	}
	alone := slices.DeleteFunc(slices.Clone(v.Gaps), func(g suite.Gap) bool { return !g.Alone })
	if len(alone) == 0 {
		return a.text + ": no failover was measured that nothing else accompanied", false
	}
	if s := suite.SpreadOf(alone); !a.holds(s.Max) {
		return fmt.Sprintf("%s: %s", a.text, s), true
	}
	return "", true
}

func (a assertion) holds(got int64) bool {
	switch a.op {
	case "<":
		return got < a.limit
	case "<=":
		return got <= a.limit
	case ">":
		return got > a.limit
	case ">=":
		return got >= a.limit
	}
	return got == a.limit
}
