package suite

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

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
	v.Results = append(v.Results, r.results...)
	v.judge(r.outcomes)
	v.TookMS = time.Since(r.began).Milliseconds()
	return v, nil
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
