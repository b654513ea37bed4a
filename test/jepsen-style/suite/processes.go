package suite

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/raftstream/raftstream/chaos"
	"github.com/raftstream/raftstream/chaos/disk"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
)

// What the run itself finds of nodes' processes.
const (
	processes = "processes"
	replaced  = "replaced"
)

// standing is what is known of a node whose process ended.
type standing struct {
	mayEnd     bool // a fault of its disk is in effect
	damaged    bool // its disk holds what it must refuse
	starved    bool // it has next to no processor
	failpoints bool // it may end at one
}

func (r *run) standing(node string) standing {
	return standing{r.nemesis.MayEnd(node), r.nemesis.Damaged(node), r.nemesis.Starved(node), r.o.Node.Failpoints}
}

// meaning is what the end of a process by itself means.
type meaning int

const (
	surprise  meaning = iota
	explained         // by a fault, which starts the node again
	refusal           // of what was damaged before
)

// meaning tells it by the exit status.
func (s standing) meaning(status int) meaning {
	switch {
	case status == chaos.ExitFailpoint && s.failpoints, status == chaos.ExitRefused && s.mayEnd:
		return explained
	case status == chaos.ExitRefused && s.damaged:
		return refusal
	}
	return surprise
}

// disorder says what is wrong with the end of a process that was asked to leave in order; empty: nothing. What it finds on a
// damaged disk it may refuse at any time, and who has no processor has no time for order.
func (s standing) disorder(status int) string {
	switch {
	case status == 0 || s.meaning(status) != surprise || status == -1 && s.starved:
		return ""
	case status == -1:
		return "did not end in time and was killed"
	}
	return fmt.Sprintf("ended with status %d, expected 0", status)
}

// mostSurprises bounds how often a node is started again that ends by itself and nothing explains it. After that it is left
// alone until the faults are over: it would do nothing but end.
const mostSurprises = 5

// surprised counts a surprise of a node, and reports whether there were too many.
func (r *run) surprised(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.surprises == nil {
		r.surprises = make(map[string]int)
	}
	r.surprises[node]++
	return r.surprises[node] > mostSurprises
}

// ended hears of a process that ended although nobody ended it. What nothing explains is a violation; the node is started
// again, so that the rest can be judged. One that came late to what was damaged is given an empty disk, as an operator does.
func (r *run) ended(node string, status int) {
	known, when := r.standing(node), time.Since(r.began).Round(time.Millisecond)
	what := known.meaning(status)
	if what == explained {
		return
	}
	r.o.Say("%s ended by itself with status %d", node, status)
	if what == surprise {
		r.found(processes, checker.Invalid, "%s ended by itself with status %d, %v after the start; see logs/%s.log", node, status, when, node)
		if r.surprised(node) {
			r.o.Say("%s has ended by itself more than %d times: it is left alone until the faults are over", node, mostSurprises)
			return
		}
	}
	if what == refusal {
		if _, err := disk.Wipe(r.cluster.Dir(node)); err != nil {
			r.found(processes, checker.Invalid, "%s refused its damaged disk, which could not be replaced: %v", node, err)
		}
		r.nemesis.Replaced(node)
		r.replace(node, fmt.Sprintf("%v after the start", when))
	}
	if known.mayEnd {
		return // that fault starts it again
	}
	if err := r.cluster.Start(node); err != nil {
		r.found(processes, checker.Invalid, "%v", err)
	}
}

// left hears how a process ended that was asked to leave in order.
func (r *run) left(node string, status int) {
	if how := r.standing(node).disorder(status); how != "" {
		r.found(processes, checker.Invalid, "%s was asked to leave in order and %s, %v after the start; see logs/%s.log",
			node, how, time.Since(r.began).Round(time.Millisecond), node)
	}
}

// behaved notes what the faults tell of the nodes that they hit.
func (r *run) behaved() {
	for _, o := range r.outcomes {
		if o.Proof.Violation != "" {
			r.found(processes, checker.Invalid, "event %d (%s): %s", o.Event.ID, o.Event.Kind, o.Proof.Violation)
		}
		if o.Proof.Replaced > 0 {
			r.replace(strings.Join(o.Targets, ", "), fmt.Sprintf("at once after %s", o.Event.Kind))
		}
	}
}

// replace notes that a node was given an empty disk.
func (r *run) replace(node, when string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replaced = append(r.replaced, fmt.Sprintf("%s refused its damaged disk and was given an empty one, as an operator does, %s", node, when))
}

// replacements tells how many nodes were replaced: a fact, not a violation. There is none where nobody was.
func (r *run) replacements() []checker.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.replaced) == 0 {
		return nil
	}
	return []checker.Result{{
		Checker: replaced, Verdict: checker.Valid, Counts: map[string]int64{"nodes": int64(len(r.replaced))}, Details: r.replaced,
	}}
}

// noSpace is how a node says that its disk has none: the reserve is reached, or a write has failed.
var noSpace = regexp.MustCompile(`disk reserve|no space left on device`)

// refusals counts the lines of a log that tell of a disk without space.
func refusals(log string) (n int64, err error) {
	f, err := os.Open(log)
	if err != nil {
		return 0, fmt.Errorf("count what a node refused: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for in := bufio.NewReader(f); ; {
		line, err := in.ReadBytes('\n')
		if noSpace.Match(line) {
			n++
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("count what a node refused: %w", err)
		}
	}
}
