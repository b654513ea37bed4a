package suite

import (
	"fmt"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
	"github.com/raftstream/raftstream/test/jepsen-style/programs"
	"github.com/raftstream/raftstream/test/jepsen-style/report"
	"github.com/raftstream/raftstream/test/jepsen-style/workload"
)

// What must hold of every run.
const (
	leastRate = 0.1              // of the rate that the clients of one workload aim at, before the first fault
	grace     = 10 * time.Second // after a fault, in which clients may still not learn an outcome
)

// onPurpose is the error of operations that a workload broke off itself, to come again as a client that was lost would.
var onPurpose = regexp.MustCompile(regexp.QuoteMeta(history.ClientLost))

// tripped is what nodes say of user code that fails as its workload wants it to.
var tripped = regexp.MustCompile(regexp.QuoteMeta("panic: " + programs.Tripped))

// verdict judges the run from its folder.
func (r *run) verdict() (Verdict, error) {
	v := Verdict{Dir: r.o.Dir, Seed: r.o.Seed, Nodes: r.o.Nodes, Layer: r.o.Layer, LeftOut: r.site.leftOut}
	events, err := history.Load(filepath.Join(r.o.Dir, "history.jsonl"))
	if err != nil {
		return v, err
	}
	if err := r.failovers(&v, events); err != nil {
		return v, err
	}
	folder := &checker.Run{Dir: r.o.Dir, Events: events, Nodes: r.cluster.Names(), Logs: r.cluster.Logs(), Ledgers: r.ledgers}
	growth, facts := leaks(r.o.Dir)
	v.Results = slices.Concat(checks(folder, r.o.Workloads, r.o.Rate), growth, r.results, r.replacements())
	if r.o.trims() {
		v.leaveTrimmed()
	}
	v.judge(r.outcomes)
	v.TookMS = time.Since(r.began).Milliseconds()
	return v, report.Write(&report.Report{
		Title: v.title(), Verdict: string(v.Outcome), Reasons: v.Reasons, Facts: append(v.facts(names(r.o.Workloads)), facts...), Results: v.Results, Run: folder,
	})
}

// checks holds what a folder has against what must hold of every run, and of the workloads in it.
func checks(run *checker.Run, workloads []workload.Workload, rate int) []checker.Result {
	var all []checker.Result
	for _, w := range workloads {
		all = append(all, checked("workload", w.Name(), func() []checker.Result { return w.Check(workloadDir(run.Dir, w), run) })...)
	}
	for _, c := range []struct {
		name  string
		check func() []checker.Result
	}{
		{"ledger", func() []checker.Result { return checker.Ledger(run) }},
		{"logs", func() []checker.Result { return []checker.Result{checker.LogScan(run, tripped)} }},
		{"minimum-rate", func() []checker.Result {
			return []checker.Result{checker.MinimumRate(run, "", float64(rate)/float64(len(workloads))*leastRate)}
		}},
		{"unexplained", func() []checker.Result { return []checker.Result{checker.Unexplained(run, grace, onPurpose)} }},
		{rareStates, func() []checker.Result { return []checker.Result{checker.States(run)} }},
	} {
		all = append(all, checked(c.name, "", c.check)...)
	}
	return all
}

// checked gives what a check finds. One that panics or finds nothing has not checked: it comes to Unknown.
func checked(name, workload string, check func() []checker.Result) (results []checker.Result) {
	unknown := func(format string, args ...any) []checker.Result {
		return []checker.Result{{Checker: name, Workload: workload, Verdict: checker.Unknown, Details: []string{fmt.Sprintf(format, args...)}}}
	}
	defer func() {
		if p := recover(); p != nil {
			results = unknown("it panicked: %v\n%s", p, debug.Stack())
		}
	}()
	if results = check(); len(results) == 0 {
		return unknown("nothing was checked")
	}
	return results
}

// failovers measures the gaps, by the ledger of the node that knows most.
func (r *run) failovers(v *Verdict, events []history.Event) error {
	if err := r.probe.write(filepath.Join(r.o.Dir, "sightings.jsonl")); err != nil {
		return err
	}
	var ledger []entry
	for _, path := range r.ledgers {
		l, err := readLedger(path)
		if err != nil {
			return err
		}
		if len(l) > len(ledger) {
			ledger = l
		}
	}
	v.Gaps = gaps(ledger, r.probe.seen, events)
	return nil
}

// quoted writes words as a shell reads them.
func quoted(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return strings.Join(out, " ")
}
