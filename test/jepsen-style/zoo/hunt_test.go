//go:build bugzoo

package zoo

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	only   = flag.String("bug", ".*", "hunt the bugs whose whole name is matched by this expression")
	rotate = flag.Int("rotate", 0, "hunt this many bugs, chosen by -seed; 0: all")
	seed   = flag.Uint64("seed", 0, "of -rotate; 0: the time of the newest commit, or the day where there is no git")
	from   = flag.Int("from", int(Packages), "hunt the bugs of this layer and those above it only")
	upTo   = flag.Int("layers", int(Machines), "hunt the bugs of layers up to this one only")
	proven = flag.Bool("proven", false, "take it that the tests pass without any bug: for who mends an entry of the zoo")
	jobs   = flag.Int("jobs", 2, "tests that run at a time")
)

// TestEveryBugIsCaught plants each bug and expects its test to fail, for the reason given. A bug that is not caught is
// a hole in the tests.
func TestEveryBugIsCaught(t *testing.T) {
	bugs := chosen(t)
	h := &hunt{slots: make(chan struct{}, *jobs), passes: map[Test]func() error{}, caught: map[string]Caught{}}
	for _, b := range bugs {
		if h.passes[b.Catch] == nil {
			dir := t.TempDir()
			h.passes[b.Catch] = sync.OnceValue(func() error { return b.Catch.Pass(t.Context(), root, dir) })
		}
	}
	t.Run("bugs", func(t *testing.T) {
		for _, b := range bugs {
			t.Run(strings.ReplaceAll(b.String(), " ", "-"), func(t *testing.T) { h.one(t, &b) })
		}
	})
	fmt.Print(h.table())
}

func chosen(t *testing.T) []Bug {
	named, err := regexp.Compile("^(?:" + *only + ")$")
	if err != nil {
		t.Fatal(err)
	}
	bugs := slices.DeleteFunc(Bugs(), func(b Bug) bool {
		return !named.MatchString(b.Name) || int(b.Layer) < *from || int(b.Layer) > *upTo
	})
	if len(bugs) == 0 {
		t.Fatalf("no bug is called %q", *only)
	}
	if *rotate > 0 {
		by := cmp.Or(*seed, turn())
		rng := rand.New(rand.NewPCG(by, 0))
		rng.Shuffle(len(bugs), func(i, j int) { bugs[i], bugs[j] = bugs[j], bugs[i] })
		bugs = bugs[:min(*rotate, len(bugs))]
		t.Logf("%d bugs by -seed %d", len(bugs), by)
	}
	return bugs
}

// turn is the seed where none is given: every commit hunts bugs of its own, and the same ones whenever it is tested again.
func turn() uint64 {
	out, err := exec.Command("git", "log", "-1", "--format=%ct").Output()
	if at, bad := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 64); err == nil && bad == nil {
		return at
	}
	return uint64(time.Now().Unix() / (24 * 60 * 60))
}

// hunt is one run over many bugs.
type hunt struct {
	slots  chan struct{}
	passes map[Test]func() error // tests, each run once without a bug

	mu     sync.Mutex
	caught map[string]Caught
}

func (h *hunt) one(t *testing.T, b *Bug) {
	t.Parallel()
	h.slots <- struct{}{}
	defer func() { <-h.slots }()
	if *proven {
		// nothing to see first
	} else if err := h.passes[b.Catch](); errors.Is(err, ErrSkipped) {
		t.Skipf("LEFT OUT: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	c, err := b.Hunt(t.Context(), root, t.TempDir())
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(c.Output))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.caught[b.String()] = c
}

// said is a place in a test that says something, or why it ended.
var said = regexp.MustCompile(`_test\.go:\d+: |^panic: `)

// tail is what an output says first, and its end: it is long.
func tail(s string) string {
	lines := strings.Split(s, "\n")
	first := slices.Collect(func(yield func(string) bool) {
		for _, l := range lines {
			if said.MatchString(l) && !yield(l) {
				return
			}
		}
	})
	return strings.Join(slices.Concat(first[:min(20, len(first))], lines[max(0, len(lines)-20):]), "\n")
}

func (h *hunt) table() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%-45s %-5s %-60s %s\n", "bug", "layer", "caught by", "seconds")
	for _, name := range slices.Sorted(maps.Keys(h.caught)) {
		c := h.caught[name]
		by := c.Bug.Catch.Package + " " + strings.Join(functions(c.Bug.Catch.Run), " ")
		fmt.Fprintf(&s, "%-45s %-5v %-60s %.1f\n", c.Bug.Name, c.Bug.Layer, by, c.Took.Seconds())
	}
	fmt.Fprintf(&s, "%d bugs were caught\n", len(h.caught))
	return s.String()
}
