//go:build failpoints

package failpoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxSleep bounds a wait: a longer one is a mistake in the plan.
const maxSleep = 10 * time.Minute

// plan is what happens at points.
type plan map[Point]*action

type action struct {
	exit   bool
	sleep  time.Duration // unless exit
	first  int64         // hit at which it acts
	always bool          // and at every later one
	hits   atomic.Int64
}

// parse reads a plan. An error names what is wrong, and what could have been there.
func parse(text string) (plan, error) {
	l := plan{}
	for _, part := range strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == '\n' }) {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, what, ok := strings.Cut(part, "=")
		at := Point(strings.TrimSpace(name))
		switch {
		case !ok:
			return nil, fmt.Errorf("%q: expected point=action[@hit]", part)
		case !slices.Contains(All(), at):
			return nil, fmt.Errorf("%q is no point; the points are %v", name, All())
		case l[at] != nil:
			return nil, fmt.Errorf("point %s is named twice", at)
		}
		a, err := parseAction(strings.TrimSpace(what))
		if err != nil {
			return nil, fmt.Errorf("point %s: %w", at, err)
		}
		l[at] = a
	}
	return l, nil
}

func parseAction(text string) (*action, error) {
	a := &action{first: 1}
	what, hit, counted := strings.Cut(text, "@")
	if counted {
		digits, always := strings.CutSuffix(hit, "+")
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("hit %q: expected a number from 1, with + for every later hit too", hit)
		}
		a.first, a.always = n, always
	}
	if what == "exit" {
		a.exit = true
		return a, nil
	}
	inner, ok := strings.CutPrefix(what, "sleep(")
	inner, closed := strings.CutSuffix(inner, ")")
	d, err := time.ParseDuration(inner)
	if !ok || !closed || err != nil || d < 0 || d > maxSleep {
		return nil, fmt.Errorf("action %q: expected exit, or sleep(DURATION) of at most %v", what, maxSleep)
	}
	a.sleep = d
	return a, nil
}
