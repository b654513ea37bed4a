package suite

import (
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
	"github.com/raftstream/raftstream/test/jepsen-style/report"
)

// What must hold of every run.
const (
	leastRate = 0.1              // of the rate that clients aim at, before the first fault
	grace     = 10 * time.Second // after a fault, in which clients may still not learn an outcome
)

// onPurpose is the error of operations that a workload broke off itself, to come again as a client that was lost would.
var onPurpose = regexp.MustCompile(regexp.QuoteMeta(history.ClientLost))

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
	for _, w := range r.o.Workloads {
		v.Results = append(v.Results, w.Check(r.workloadDir(w), folder)...)
	}
	v.Results = append(v.Results, checker.Ledger(folder)...)
	v.Results = append(v.Results, checker.LogScan(folder), checker.MinimumRate(folder, "", float64(r.o.Rate)*leastRate), checker.Unexplained(folder, grace, onPurpose))
	v.Results = append(v.Results, r.results...)
	v.judge(r.outcomes)
	v.TookMS = time.Since(r.began).Milliseconds()
	return v, report.Write(&report.Report{
		Title: v.title(), Verdict: string(v.Outcome), Reasons: v.Reasons, Facts: v.facts(names(r.o.Workloads)), Results: v.Results, Run: folder,
	})
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
